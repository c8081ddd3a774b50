"""Figures of one row a system: what a further task costs, and calibration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxpeft.study import chart, names
from jaxpeft.study.costs import mean_of
from jaxpeft.study.findings import Findings, Row, TaskFindings, of_the_same_systems
from jaxpeft.study.palette import Figure, Palette, Table
from jaxpeft.study.systems import System

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW = 0.36  # inches of a row with its name above it


def reuse(found: Findings, palette: Palette) -> Figure | None:
    """What one more task on the same base costs, in bytes and in seconds: means over the tasks."""
    systems = []
    for rows in _rows_of_shared_tasks(found):
        sizes = [row.cost.storage_bytes for row in rows if row.cost.storage_bytes]
        times = [row.cost.seconds for row in rows if row.cost.seconds]
        if sizes and times:
            systems.append((rows[0].system, mean_of(sizes) or 0.0, mean_of(times) or 0.0, len(rows)))
    if len({system.method for system, *_ in systems}) < 2:
        return None
    systems.sort(key=lambda one: -one[1])
    drawings = [
        _draw_bars("reuse-bytes", "Bytes on disk a further task", [(s, b) for s, b, _, _ in systems], palette, True),
        _draw_bars("reuse-seconds", "Training time a further task", [(s, t) for s, _, t, _ in systems], palette, False),
    ]
    table: Table = [["model", "method", "bytes", "train_s", "tasks"]]
    table += [[system.model, system.method_title, size, time, tasks] for system, size, time, tasks in systems]
    return Figure(
        "reuse",
        "What a further task on one base costs",
        "The base is stored once. A method adds its adapter and head to it for each task; full fine-tuning adds a "
        "whole model. Means over the tasks on which most systems of a base were trained.",
        drawings,
        palette.keys(system for system, *_ in systems),
        table,
    )


def _rows_of_shared_tasks(found: Findings) -> list[list[Row]]:
    """The rows of each system, of the tasks that have the most systems of its model: the same ones for all."""
    systems: dict[System, list[Row]] = {}
    for model in dict.fromkeys(row.system.model for one in found.averaged_tasks for row in one.rows):
        tasks = [[row for row in one.rows if row.system.model == model] for one in found.averaged_tasks]
        for rows in of_the_same_systems(tasks, lambda rows: frozenset(row.system for row in rows)):
            for row in rows:
                systems.setdefault(row.system, []).append(row)
    return list(systems.values())


def _draw_bars(name: str, title: str, bars: list[tuple[System, float]], palette: Palette, in_bytes: bool) -> str:
    show = chart.size if in_bytes else chart.seconds
    several = len({system.model for system, _ in bars}) > 1
    labels = [
        f"{system.method_title}, {names.model(system.model)}" if several else system.method_title for system, _ in bars
    ]
    told = "; ".join(f"{label} {show(value)}" for label, (_, value) in zip(labels, bars, strict=True))
    with chart.drawing(name, title, f"{told}.", height=0.6 + ROW * len(bars)) as made:
        axes, largest = made.axes, max(value for _, value in bars)
        for place, (system, value) in enumerate(bars):
            axes.barh(place + 0.2, value, height=0.4, color=palette.colour(system.method))
            axes.annotate(
                show(value), (value, place + 0.2), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8
            )
        if in_bytes:
            axes.set_xscale("log")
            axes.set_xlim(min(value for _, value in bars) / 3, largest * 8)
            axes.set_xlabel("logarithmic scale")
        else:
            axes.set_xlim(0, largest * 1.25)
        axes.set(title=title, xticks=[])
        axes.minorticks_off()
        label_rows(axes, labels)
        axes.spines["bottom"].set_visible(False)
    return made.svg


def calibration(found: Findings, palette: Palette) -> Figure | None:
    """The calibration error of each classifier as trained, and with one temperature fitted on validation."""
    drawings, systems = [], []
    table: Table = [["task", "model", "method", "ece", "ece_after_temperature", "seeds"]]
    for one in found.tasks:
        errors = [(row, *both) for row in one.rows if (both := _calibration_errors(row)) is not None]
        if not errors:
            continue
        drawings.append(_draw_calibration(one, errors, palette))
        systems += [row.system for row, _, _ in errors]
        table += [
            [one.task.slug, row.system.model, row.system.method_title, before, after, row.sample.seeds]
            for row, before, after in errors
        ]
    if not drawings:
        return None
    return Figure(
        "calibration",
        "Calibration",
        "How far confidence lies from accuracy on the test split, on average: a full dot as trained, a hollow one with "
        "a single temperature fitted on validation. Further left is better.",
        drawings,
        palette.keys(systems),
        table,
    )


def _calibration_errors(row: Row) -> tuple[float, float] | None:
    found = []
    for run in row.cell.runs:
        test = (((run.result or {}).get("calibration") or {}).get("test") or {}).get("ece") or {}
        if test.get("before") is not None and test.get("after") is not None:
            found.append((test["before"], test["after"]))
    if not found:
        return None
    return sum(before for before, _ in found) / len(found), sum(after for _, after in found) / len(found)


def _draw_calibration(one: TaskFindings, errors: list[tuple[Row, float, float]], palette: Palette) -> str:
    several = len({row.system.model for row, _, _ in errors}) > 1
    labels = [row.system.title if several else row.system.method_title for row, _, _ in errors]
    told = "; ".join(f"{name} {old:.3f}, then {new:.3f}" for name, (_, old, new) in zip(labels, errors, strict=True))
    title = f"{one.task.title}: calibration error, as trained and with a temperature"
    with chart.drawing(f"calibration-{one.task.slug}", title, f"{told}.", 0.8 + ROW * len(errors)) as made:
        for place, (row, before, after) in enumerate(errors):
            colour = palette.colour(row.system.method)
            made.axes.plot([before, after], [place + 0.2] * 2, color=colour, linewidth=1.2, alpha=0.5)
            made.axes.plot(before, place + 0.2, "o", color=colour, markersize=6.5)
            made.axes.plot(after, place + 0.2, "o", color=chart.PAPER, markeredgecolor=colour, markeredgewidth=1.5)
        most = max(max(before, after) for _, before, after in errors)
        made.axes.set(xlim=(0, 1.08 * most or 1.0), title=one.task.title, xlabel="calibration error")
        label_rows(made.axes, labels)
    return made.svg


def label_rows(axes: "Axes", labels: Sequence[str]) -> None:
    """A name above each of the rows 0, 1, ... from the top, where even a long one has room."""
    for place, label in enumerate(labels):
        axes.annotate(
            label, (0, place - 0.03), xycoords=("axes fraction", "data"), xytext=(3, 0), textcoords="offset points",
            va="bottom", fontsize=8, color=chart.INK,
        )  # fmt: skip
    axes.set(ylim=(len(labels) - 0.4, -0.65), yticks=[])
    axes.grid(axis="y", visible=False)
