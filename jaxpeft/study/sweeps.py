"""Figures of what a study sweeps: rank, examples a class, and seconds of training."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxpeft.study import chart, names
from jaxpeft.study.findings import Findings, Point, TaskFindings
from jaxpeft.study.palette import Figure, Palette, Table, draw_point, log_axis, majority_line
from jaxpeft.study.store import Run
from jaxpeft.training.workdir import Workdir

_WORDS = {
    "rank": ("Rank", "rank of the adapter", "Whether a larger adapter buys anything; bars are intervals of 95 %."),
    "few_shot": ("Few examples", "training examples a class", "What each method makes of few labelled examples."),
    "seconds": ("Under a time budget", "seconds of training", "The score that each budget of training time reaches."),
}


def curves(found: Findings, palette: Palette, axis: str) -> Figure | None:
    """Quality against the values of a swept axis, a line for each model and method; None where it is not swept."""
    title, _, lede = _WORDS[axis]
    drawings, systems = [], []
    table: Table = [["task", "model", "method", axis, "metric", "score", "low", "high", "seeds"]]
    for one in found.tasks:
        points = one.curves.get(axis, [])
        several = len({point.cell.system.method for point in points}) > 1
        by_model = _by(points, lambda point: point.cell.system.model) if several else {"": points} if points else {}
        for model, shown in by_model.items():
            drawings.append(_draw_curves(one, shown, palette, axis, model))
        systems += [point.cell.system for point in points]
        for point in points:
            system, score = point.cell.system, point.score
            who = [one.task.slug, system.model, system.method_title, point.value]
            table.append([*who, one.task.metric, score.value, score.low, score.high, score.seeds])
    return Figure(axis, title, lede, drawings, palette.keys(systems), table) if drawings else None


def _draw_curves(one: TaskFindings, points: Sequence[Point], palette: Palette, axis: str, model: str) -> str:
    """The curves of one task: all models' of a single method, or all methods' of the `model`."""
    label, metric = _WORDS[axis][1], names.metric(one.task.metric)
    lines = list(_by(points, lambda point: point.cell.system).values())
    told = "; ".join(
        f"{line[0].cell.system.title}: " + ", ".join(f"{point.score.value:.3f} at {point.value:g}" for point in line)
        for line in lines
    )
    title = f"{one.task.title}\n{names.model(model)}" if model else one.task.title
    name = f"{axis}-{one.task.slug}" + (f"-{palette.models.index(model)}" if model else "")
    with chart.drawing(name, f"{title.replace(chr(10), ', ')}: {metric} against {label}", f"{told}.") as made:
        axes, everything = made.axes, [point.score for point in one.curves[axis]]
        for place, line in enumerate(lines):
            system, aside = line[0].cell.system, 1.05 ** (place - (len(lines) - 1) / 2)  # so that bars stand apart
            colour, xs = palette.colour(system.method), [point.value * aside for point in line]
            axes.plot(xs, [point.score.value for point in line], color=colour, linewidth=1.3)
            for x, point in zip(xs, line, strict=True):
                draw_point(axes, x, point.score, colour, palette.marker(system))
        values = [point.value for point in points]
        log_axis(axes, values, chart.few(values, 6), "{:g}".format)
        low = min(score.value if score.low is None else score.low for score in everything)
        high = max(score.value if score.high is None else score.high for score in everything)
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))  # the same for all drawings of a task
        majority_line(axes, one)
        axes.set(title=title, xlabel=label, ylabel=metric)
    return made.svg


def _by(points: Sequence[Point], key: Callable[[Point], Any]) -> dict[Any, list[Point]]:
    groups: dict[Any, list[Point]] = {}
    for point in points:
        groups.setdefault(key(point), []).append(point)
    return groups


def budget(found: Findings, palette: Palette) -> Figure | None:
    """Quality under budgets of training time; with one budget, how validation rises on the way to it."""
    several = curves(found, palette, "seconds")
    if several is not None:
        return several
    drawings, systems = [], []
    table: Table = [["task", "model", "method", "run", "train_s", "metric", "validation_score"]]
    for one in found.tasks:
        runs = [(row.system, run) for row in one.rows for run in row.cell.runs if _budget_of(run) is not None]
        courses = [(system, run, course) for system, run in runs if (course := _course(run, one.task.metric))]
        if not courses:
            continue
        metric = names.metric(one.task.metric)
        told = "; ".join(f"{system.title} ends at {course[-1][1]:.3f}" for system, _, course in courses)
        title = f"{one.task.title}: validation {metric} against seconds of training"
        with chart.drawing(f"seconds-{one.task.slug}", title, f"{told}.") as made:
            for system, _, course in courses:
                xs, ys = zip(*course, strict=True)
                colour, marker = palette.colour(system.method), palette.marker(system)
                made.axes.plot(xs, ys, marker=marker, color=colour, linewidth=1.2, markersize=4)
            made.axes.set(title=one.task.title, xlabel="seconds of training", ylabel=f"{metric}, validation")
        drawings.append(made.svg)
        systems += [system for system, _, _ in courses]
        for system, run, course in courses:
            who = [one.task.slug, system.model, system.method_title, run.id]
            table += [[*who, seconds, one.task.metric, score] for seconds, score in course]
    if not drawings:
        return None
    lede = "Validation score over training time, compilation and evaluation left out; a line is a seed."
    return Figure("seconds", "Under a time budget", lede, drawings, palette.keys(systems), table)


def _budget_of(run: Run) -> float | None:
    seconds = (run.config.get("train") or {}).get("seconds")
    return float(seconds) if isinstance(seconds, int | float) else None


def _course(run: Run, metric: str) -> list[tuple[float, float]]:
    """Seconds of training and validation score at each evaluation; steps are taken to be equally long."""
    result = run.result or {}
    steps, seconds = result.get("steps"), (result.get("timing") or {}).get("train_s")
    if not steps or seconds is None:
        return []
    return [
        (record["step"] / steps * seconds, score)
        for record in Workdir(run.workdir).read_metrics()
        if (score := (record.get("validation") or {}).get(metric)) is not None
    ]
