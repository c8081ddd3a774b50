"""The report's tables: methods, systems on tasks, remarks and failures."""

from collections.abc import Sequence
from typing import Any

from jaxpeft.study import chart, names
from jaxpeft.study.answer import interval, points, share
from jaxpeft.study.cells import NOTHING, Cell, Table, in_numbers, numbers, on_scale, or_nothing, strip_of
from jaxpeft.study.diagnostics import Remark
from jaxpeft.study.findings import LEVEL, Findings, MethodFindings, Row, TaskFindings, other_scores, reference_title
from jaxpeft.study.paper_table import TABLE, paper_score
from jaxpeft.study.store import Run
from jaxpeft.study.systems import test_scores


def methods_table(found: Findings) -> Table:
    """Each method against the reference."""
    reference = reference_title(found)
    headings = ["Method", "Difference in points", "95 % interval", "Better", "Worse", "Not told apart"]
    headings += ["Trained parameters", "Training time", "Operations", "Bytes on disk"]
    columns = ["method", "difference", "low", "high", "p", "better", "worse", "pairs"]
    raw: list[list[Any]] = [[*columns, "trainable", "train_s", "flops", "bytes"]]
    shown = [value for one in found.methods for value in numbers(one.difference) if value is not None]
    scale = min(0.0, *shown), max(0.0, *shown)
    rows = []
    for one in found.methods:
        gap = one.difference
        counts = (one.better, one.worse, one.pairs - one.better - one.worse)
        rows.append(
            [
                Cell(one.title),
                Cell(
                    points(gap.value), number=True, strong=gap.low is not None and (gap.low > 0 or (gap.high or 0) < 0)
                ),
                Cell(interval(gap) or NOTHING, number=True, strip=strip_of(gap, 0.0, scale)),
                *(Cell(str(count), number=True) for count in counts),
                *(Cell(or_nothing(ratio, share), number=True) for ratio in _ratios(one)),
            ]
        )
        raw.append([one.title, *numbers(gap), gap.p, one.better, one.worse, one.pairs, *_ratios(one)])
    caption = (
        f"Each method against {reference}, over the models and tasks that have both: the mean difference of the tasks’ "
        "scores in hundredths, bold where its interval leaves 0 out; in how many pairs a paired test finds it better "
        f"or worse; and what it takes of {reference}’s parameters, time, operations and bytes."
    )
    return Table("methods", caption, headings, rows, raw)


def task_table(one: TaskFindings, currency: str) -> Table:
    """The systems of one task, the highest score first."""
    metric, scale, several = names.metric(one.task.metric), _scale(one), len(one.rows) > 1
    paper = _paper_column(one)
    priced = any(row.cost.money is not None for row in one.rows)
    headings = ["System", f"{metric}, test", "95 % interval", "Against the highest", "Trained", "Training"]
    headings += ["Memory", "On disk", *([currency] if priced else []), "Seeds"]
    headings += ["Paper", "Ours, so counted"] if paper else []
    raw: list[list[Any]] = [
        ["model", "method", "metric", "score", "low", "high", "p_of_highest_over_it", "best", "majority", "seeds"]
        + ["trainable_params", "train_s", "peak_bytes", "bytes", "flops", *([f"cost_{currency}"] if priced else [])]
        + (["paper", "paper_metric", "ours_so_counted"] if paper else [])
    ]
    rows = []
    for row in one.rows:
        cells = [
            Cell(row.system.method_title, below=names.model(row.system.model)),
            Cell(f"{row.score.value:.3f}", number=True, best=row.best),
            Cell(
                in_numbers(row.score), number=True, strip=strip_of(row.score, one.majority, scale) if several else None
            ),
            Cell(_standing(row, one.rows)),
            Cell(or_nothing(row.cost.trained, chart.count), number=True),
            Cell(or_nothing(row.cost.seconds, chart.seconds), number=True),
            Cell(or_nothing(row.cost.memory_bytes, chart.size), number=True),
            Cell(or_nothing(row.cost.storage_bytes, chart.size), number=True),
            *([Cell(or_nothing(row.cost.money, "{:.2g}".format), number=True)] if priced else []),
            Cell(str(row.score.seeds), number=True),
        ]
        cost = row.cost
        line = [row.system.model, row.system.method_title, one.task.metric, *numbers(row.score), row.lead]
        line += [int(row.best), one.majority, row.score.seeds]
        line += [cost.trained, cost.seconds, cost.memory_bytes, cost.storage_bytes, cost.flops]
        line += [cost.money] if priced else []
        if paper:
            theirs, ours = paper[id(row)]
            cells += [Cell(or_nothing(value, "{:.3f}".format), number=True) for value in (theirs, ours)]
            line += [theirs, TABLE[one.task.name].metric, ours]
        rows.append(cells)
        raw.append(line)
    return Table(f"task_{one.task.slug}", _task_caption(one, bool(paper)), headings, rows, raw)


def glance_table(found: Findings) -> Table | None:
    """Every system on every task; None where there is one task."""
    tasks = [one for one in found.tasks if one.rows]
    if len(tasks) < 2:
        return None
    systems = list(dict.fromkeys((row.system.model, row.system.method_title) for one in tasks for row in one.rows))
    cells = {
        (row.system.model, row.system.method_title, one.task.slug): (row, _glance(one, row))
        for one in tasks
        for row in one.rows
    }
    rows = []
    raw: list[list[Any]] = [["model", "method", *(one.task.slug for one in tasks)]]
    for model, method in sorted(systems, key=lambda system: [one[0] for one in systems].index(system[0])):
        found_cells = [cells.get((model, method, one.task.slug)) for one in tasks]
        rows.append([Cell(method, below=names.model(model))])
        rows[-1] += [cell[1] if cell else Cell(NOTHING, number=True) for cell in found_cells]
        raw.append([model, method, *(cell[0].score.value if cell else None for cell in found_cells)])
    floors = [one.majority for one in tasks]
    rows.append([Cell("Without a model")])
    rows[-1] += [Cell(or_nothing(floor, "{:.3f}".format), number=True) for floor in floors]
    raw.append(["", "without a model", *floors])
    headings = ["System", *(f"{one.task.title}, {names.metric(one.task.metric)}" for one in tasks)]
    caption = (
        "Mean score over seeds on the test split. Bold: ahead of every other system of its column, each by a paired "
        "test at 5 %. The darker, the nearer to the column’s highest."
    )
    return Table("glance", caption, headings, rows, raw)


def _glance(one: TaskFindings, row: Row) -> Cell:
    values = [other.score.value for other in one.rows]
    width = max(values) - min(values)
    tint = (row.score.value - min(values)) / width if width else 0.0
    return Cell(f"{row.score.value:.3f}", number=True, best=row.best, tint=tint)


def other_scores_table(one: TaskFindings) -> Table | None:
    """Every score that all systems of a task have; None where that is the one of the main table."""
    scores = [other_scores(row) for row in one.rows]
    shared = [name for name in scores[0] if name in names.METRICS and all(name in found for found in scores)]
    if len(shared) < 2:
        return None
    rows = [
        [Cell(row.system.method_title, below=names.model(row.system.model))]
        + [Cell(f"{found[name]:.3f}", number=True) for name in shared]
        for row, found in zip(one.rows, scores, strict=True)
    ]
    raw: list[list[Any]] = [["model", "method", *shared]]
    raw += [
        [row.system.model, row.system.method_title, *(found[name] for name in shared)]
        for row, found in zip(one.rows, scores, strict=True)
    ]
    caption = f"{one.task.title}: all scores on the test split, means over seeds."
    headings = ["System", *(names.metric(name) for name in shared)]
    return Table(f"scores_{one.task.slug}", caption, headings, rows, raw)


def remarks_table(remarks: Sequence[Remark]) -> Table:
    """What looks wrong, run by run."""
    alike: dict[tuple[str, str, str], list[str]] = {}
    for one in remarks:
        alike.setdefault((one.kind, one.seen, one.advice), []).append(one.run)
    rows = [
        [Cell(text) for text in (kind, _listed(names), seen, advice)] for (kind, seen, advice), names in alike.items()
    ]
    raw: list[list[Any]] = [["run", "kind", "seen", "advice"]]
    raw += [[one.run, one.kind, one.seen, one.advice] for one in remarks]
    caption = "What looks wrong in single runs, by their losses, scores and errors, and what to try."
    return Table("diagnostics", caption, ["Remark", "Runs", "Seen", "What to try"], rows, raw)


def _listed(runs: Sequence[str], most: int = 5) -> str:
    return ", ".join(runs) if len(runs) <= most else f"{', '.join(runs[:most])} and {len(runs) - most} more"


def failed_table(runs: Sequence[Run], longest: int = 400) -> Table:
    """The runs that failed, each with its error."""
    told = [run.error or "" for run in runs]
    told = [error if len(error) <= longest else f"{error[: longest - 1]}…" for error in told]
    who = [", ".join(f"{axis} {value}" for axis, value in run.axes.items() if value is not None) for run in runs]
    rows = [[Cell(run.id), Cell(axes), Cell(error)] for run, axes, error in zip(runs, who, told, strict=True)]
    raw: list[list[Any]] = [["run", "axes", "error"]]
    raw += [[run.id, axes, error] for run, axes, error in zip(runs, who, told, strict=True)]
    return Table("failed", "Runs that failed, and why.", ["Run", "Axes", "Error"], rows, raw)


def _task_caption(one: TaskFindings, paper: bool) -> str:
    tested = f"{one.clusters} test patients, documents or rows. " if one.clusters else ""
    dotted = (
        " (dotted)"
        if len(one.rows) > 1 and one.majority is not None and on_scale(one.majority, _scale(one)) is not None
        else ""
    )
    floor = "" if one.majority is None else f"Without a model {one.majority:.3f} is reached{dotted}. "
    marked = "Bold: ahead of every other system by a paired test at 5 %. " if any(row.best for row in one.rows) else ""
    source = ""
    if paper:
        column = TABLE[one.task.name]
        source = (
            f"Paper: {names.metric(column.metric)}, {column.statistic} (arXiv 2402.10597); beside it ours by the same "
            "count, the median over seeds. "
        )
    return f"{tested}{floor}{marked}{source}".strip()


def _standing(row: Row, rows: Sequence[Row]) -> str:
    """How a system stands to the one with the highest score, the first."""
    if len(rows) == 1:
        return NOTHING
    if row.best:
        return "best"
    if row.lead is None:
        return "highest" if row is rows[0] and row.score.low is not None else "untested"
    chance = f"p = {row.lead:.2f}" if row.lead >= 0.045 else f"p = {row.lead:.3f}"
    return f"not told apart, {chance}" if row.lead >= LEVEL else f"lower, {'p < 0.01' if row.lead < 0.01 else chance}"


def _paper_column(one: TaskFindings) -> dict[int, tuple[float | None, float | None]] | None:
    """The paper's score and ours by its count, for each row (by id); None beside a twin and where there is none.

    The paper has one setting of each method: where a study has several, which of them is the paper's it does not say.
    """
    if one.task.synthetic or one.task.name not in TABLE:
        return None
    metric = TABLE[one.task.name].metric
    found = {}
    for row in one.rows:
        scores = sorted(test_scores(run)[metric]["value"] for run in row.cell.runs if metric in test_scores(run))
        middle = len(scores) // 2
        median = None
        if scores:
            median = scores[middle] if len(scores) % 2 else (scores[middle - 1] + scores[middle]) / 2
        theirs = None if row.system.settings else paper_score(one.task.name, row.system.ref, row.system.method)
        found[id(row)] = (theirs, median)
    return found if any(theirs is not None for theirs, _ in found.values()) else None


def _scale(one: TaskFindings) -> tuple[float, float]:
    """From the lowest to the highest that the strips of a task show: its intervals, and a floor that is near."""
    shown = [value for row in one.rows for value in numbers(row.score) if value is not None]
    low, high = min(shown), max(shown)
    near = one.majority is not None and low > one.majority > low - (high - low) / 2
    return (one.majority or 0.0) if near else low, high


def _ratios(one: MethodFindings) -> tuple[float | None, ...]:
    return one.trained, one.seconds, one.flops, one.storage_bytes
