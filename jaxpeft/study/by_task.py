"""The figure of quality by task: where a method does well, and where it does not."""

from collections.abc import Sequence

from jaxpeft.study import chart, names
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.palette import Figure, Palette, Table
from jaxpeft.study.rows import ROW, label_rows

APART = 0.16  # of a row, between the systems of a task


def by_task(found: Findings, palette: Palette) -> Figure | None:
    """Scores of one metric, a row a task and a drawing a model; None where no model has two tasks of one metric."""
    drawings, systems = [], []
    table: Table = [["task", "model", "method", "metric", "score", "low", "high", "majority", "seeds"]]
    for metric in dict.fromkeys(one.task.metric for one in found.tasks):
        for model in found.models:
            tasks = [(one, [row for row in one.rows if row.system.model == model]) for one in found.tasks]
            tasks = [(one, rows) for one, rows in tasks if rows and one.task.metric == metric]
            if len(tasks) < 2:
                continue
            drawings.append(_draw(f"by-task-{metric}-{palette.models.index(model)}", model, tasks, palette))
            systems += [row.system for _, rows in tasks for row in rows]
            for one, rows in tasks:
                for row in rows:
                    score = row.score
                    who = [one.task.slug, model, row.system.method_title, metric]
                    table.append([*who, score.value, score.low, score.high, one.majority, score.seeds])
    if not drawings:
        return None
    lede = "Each task has runs of its own; bars are intervals of 95 %, a tick is what is reached without a model."
    return Figure("by_task", "Quality by task", lede, drawings, palette.keys(systems), table)


def _draw(name: str, model: str, tasks: Sequence[tuple[TaskFindings, list[Row]]], palette: Palette) -> str:
    metric = names.metric(tasks[0][0].task.metric)
    title = f"{names.model(model)}: {metric} by task"
    told = "; ".join(
        f"{one.task.title}: " + ", ".join(f"{row.system.method_title} {row.score.value:.3f}" for row in rows)
        for one, rows in tasks
    )
    most = max(len(rows) for _, rows in tasks)
    with chart.drawing(name, title, f"{told}.", 0.8 + ROW * len(tasks) * (1 + APART * most)) as made:
        axes = made.axes
        for place, (one, rows) in enumerate(tasks):
            ordered = sorted(rows, key=lambda row: palette.methods.index(row.system.method))
            for number, row in enumerate(ordered):
                y = place + 0.12 + 0.4 * number / max(most - 1, 1)  # under the task’s name
                colour, score = palette.colour(row.system.method), row.score
                if score.low is not None and score.high is not None:
                    axes.plot([score.low, score.high], [y, y], color=colour, linewidth=1.4, alpha=0.55)
                axes.plot(score.value, y, palette.marker(row.system), color=colour, markersize=5.5)
            if one.majority is not None:
                axes.plot([one.majority] * 2, [place + 0.05, place + 0.58], color=chart.MUTED, linewidth=0.8)
        label_rows(axes, [one.task.title for one, _ in tasks])
        axes.set(title=names.model(model), xlabel=metric)
    return made.svg
