"""The paper's composite efficiency of the systems that it compared, where a study has them on the paper's own corpus.

Beside it stands the paper's, recomputed from its records over the same systems: the score of a system depends on who
else is compared, and minima and maxima of scaled times are those of the times.
"""

import dataclasses

from jaxpeft.study import chart, names
from jaxpeft.study.cells import Cell, Table
from jaxpeft.study.efficiency import paper_efficiency
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.palette import Figure, Palette
from jaxpeft.study.palette import Table as Rows
from jaxpeft.study.paper_table import COMPOSITE, COMPOSITE_TASK
from jaxpeft.study.rows import ROW, label_rows

FEWEST = 3  # of two systems one has 0 and the other 1, whatever they cost

Amounts = tuple[float, float, float]  # seconds to the best score, parameters trained without the head, all parameters
Compared = tuple[Row, Amounts, float, float]  # a system, its costs, its composite, and the paper's


def compared_with_paper(found: Findings) -> tuple[TaskFindings, list[Compared]] | None:
    """The paper's systems on its task, by its protocol if the study has that; None where there are too few."""
    tasks = [one for one in found.tasks if one.task.name == COMPOSITE_TASK and not one.task.synthetic]
    for one in sorted(tasks, key=lambda one: one.task.protocol != "paper"):
        known = [row for row in one.rows if not row.system.settings and _key(row) in COMPOSITE]
        told = [(row, amounts) for row in known if (amounts := _amounts(row))]
        if len(told) >= FEWEST:
            rows, ours = zip(*told, strict=True)
            theirs = [dataclasses.astuple(COMPOSITE[_key(row)])[:3] for row in rows]
            scores = (paper_efficiency(*zip(*costs, strict=True)) for costs in (ours, theirs))
            return one, sorted(zip(rows, ours, *scores, strict=True), key=lambda line: -line[2])
    return None


def composite_table(one: TaskFindings, compared: list[Compared]) -> Table:
    """Each system's composite, the paper's, and what they are made of."""
    headings = ["System", "Composite", "Paper", "Time to the best score", "Trained without the head", "All parameters"]
    raw: Rows = [["model", "method", "composite", "paper", "seconds_to_best", "trained_without_head", "total_params"]]
    rows = []
    for row, amounts, ours, theirs in compared:
        shown = [show(value) for show, value in zip((chart.seconds, chart.count, chart.count), amounts, strict=True)]
        rows.append([Cell(row.system.method_title, below=names.model(row.system.model))])
        rows[-1] += [Cell(text, number=True) for text in (f"{ours:.3f}", f"{theirs:.3f}", *shown)]
        raw.append([row.system.model, row.system.method_title, ours, theirs, *amounts])
    caption = (
        f"{one.task.title}: the paper’s composite (arXiv 2402.10597) is time to the best validation score, parameters "
        f"trained and all parameters, each scaled from 0 to 1 over these {len(compared)} systems, averaged and turned "
        "round, so that it knows nothing of quality and changes with who is compared; the paper’s is made of its "
        "records of the same systems."
    )
    return Table("paper_composite", caption, headings, rows, raw)


def composite_figure(one: TaskFindings, compared: list[Compared], palette: Palette) -> Figure:
    """Ours and the paper's, a row for each system."""
    labels = [row.system.title for row, *_ in compared]
    told = "; ".join(
        f"{name} {ours:.3f}, paper {theirs:.3f}" for name, (*_, ours, theirs) in zip(labels, compared, strict=True)
    )
    title = f"{one.task.title}: the paper’s composite efficiency"
    with chart.drawing("paper-composite", title, f"{told}.", 0.8 + ROW * len(compared)) as made:
        for place, (row, _, ours, theirs) in enumerate(compared):
            colour = palette.colour(row.system.method)
            made.axes.plot([ours, theirs], [place + 0.2] * 2, color=colour, linewidth=1.2, alpha=0.5)
            made.axes.plot(ours, place + 0.2, "o", color=colour, markersize=6.5)
            made.axes.plot(theirs, place + 0.2, "o", color=chart.PAPER, markeredgecolor=colour, markeredgewidth=1.5)
        made.axes.set(xlim=(-0.05, 1.05), title=one.task.title, xlabel="composite efficiency")
        label_rows(made.axes, labels)
    table: Rows = [["model", "method", "composite", "paper"]]
    table += [[row.system.model, row.system.method_title, ours, theirs] for row, _, ours, theirs in compared]
    lede = "A full dot is this study’s, a hollow one the paper’s over the same systems. Further right is cheaper."
    keys = palette.keys(row.system for row, *_ in compared)
    return Figure("paper_composite_dots", "The paper’s composite", lede, [made.svg], keys, table)


def _key(row: Row) -> tuple[str, str]:
    return row.system.ref, row.system.method


def _amounts(row: Row) -> Amounts | None:
    seconds, trained, total = row.cost.seconds_to_best, row.cost.trained_without_head, row.cost.total
    return None if seconds is None or trained is None or total is None else (seconds, trained, total)
