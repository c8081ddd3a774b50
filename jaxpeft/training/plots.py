"""The two pictures of a workdir: how training went, and what is taken for what.

matplotlib takes half a second to import, so it is imported where it draws, and only through its object
API: no pyplot, no window, no global state left changed.
"""

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 150
# Okabe and Ito's palette, told apart by colour-blind readers.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#5F6670"
_LONGEST_NAME = 24  # characters of a label on an axis
_STYLE = {
    "font.size": 9.5,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelcolor": GREY,
    "axes.edgecolor": "#B5BAC0",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "grid.color": "#E6E8EB",
    "text.parse_math": False,  # a label may hold a dollar sign
}


def learning_curve(records: Sequence[Mapping[str, Any]], path: str | Path, metric: str = "f1_macro") -> None:
    """Draw the training loss, and `metric` on validation where it was measured, over steps, as a PNG.

    `records` are the objects of metrics.jsonl: `step`, mostly `loss`, sometimes `validation`
    ({metric: value}). A step logged twice, after a resume, counts once, as it was logged last.
    """
    losses = {record["step"]: record["loss"] for record in records if record.get("loss") is not None}
    scores = {
        record["step"]: record["validation"][metric]
        for record in records
        if (record.get("validation") or {}).get(metric) is not None
    }
    with _canvas((7.0, 5.0 if scores else 3.2), path) as figure:
        axes = figure.subplots(2 if scores else 1, 1, sharex=True, squeeze=False)[:, 0]
        _draw_losses(axes[0], *_sorted_columns(losses))
        if scores:
            _draw_scores(axes[1], *_sorted_columns(scores), metric)
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.get_major_locator().set_params(integer=True)


def confusion_matrix(confusion: np.ndarray, names: Sequence[str], path: str | Path, title: str) -> None:
    """Draw counts [C or C + 1, C] of label by prediction as a PNG, shaded by the share of each row.

    A row past the last name holds the labels that training lacks.
    """
    confusion, classes = np.asarray(confusion), len(names)
    shown = [_shortened(name) for name in names]
    rows = shown + ["(not in training)"] * (len(confusion) - classes)
    cell = 0.85 if classes <= 8 else 0.5  # inches; a letter takes about 0.08
    slanted = max(map(len, shown)) > cell / 0.09
    margin = 0.08 * max(map(len, rows))
    size = (
        max(3.0, cell * classes) + margin + 1.7,
        max(2.0, cell * len(rows)) + (0.7 * margin if slanted else 0.3) + 0.8,
    )
    with _canvas(size, path) as figure:
        axes = figure.subplots()
        share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
        _write_counts(axes, confusion, share, size=9.5 if classes <= 8 else 7.0)
        _name_cells(axes, shown, rows, slanted)
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the label's rows")
        bar.outline.set_visible(False)


@contextlib.contextmanager
def _canvas(size: tuple[float, float], path: str | Path) -> Iterator["Figure"]:
    """A figure of `size` inches in our style, whatever the user's matplotlibrc says, saved to `path` on leaving."""
    with _without_font_cache_warning():
        from matplotlib import style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
        figure.savefig(path, dpi=DPI, bbox_inches="tight", pad_inches=0.12)


@contextlib.contextmanager
def _without_font_cache_warning() -> Iterator[None]:
    """Keep matplotlib's import quiet where HOME is read-only: its font cache then goes to a temporary folder."""
    logger = logging.getLogger("matplotlib")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _draw_losses(axes: "Axes", steps: np.ndarray, losses: np.ndarray) -> None:
    """The logged losses, light, under their smoothed course."""
    axes.set_title("Training loss")
    axes.plot(steps, losses, color=BLUE, alpha=0.3, linewidth=1.0)
    axes.plot(steps, _smoothed(losses), color=BLUE, linewidth=2.0, marker="o" if len(losses) == 1 else None)
    axes.grid(axis="y")
    axes.margins(x=0.02)


def _draw_scores(axes: "Axes", steps: np.ndarray, scores: np.ndarray, metric: str) -> None:
    """The validation scores, with the best one named."""
    falling = metric in ("ece", "brier")  # the lower, the better
    best = int(scores.argmin() if falling else scores.argmax())
    axes.set_title(f"Validation {metric}")
    axes.plot(steps, scores, color=ORANGE, linewidth=2.0, marker="o", markersize=4)
    axes.plot(
        steps[best], scores[best], color=ORANGE, marker="o", markersize=9, markerfacecolor="white", markeredgewidth=2
    )
    right_half = steps[best] > (steps[0] + steps[-1]) / 2
    axes.annotate(
        f"{scores[best]:.3f} at step {steps[best]:.0f}",
        (steps[best], scores[best]),
        xytext=(5 if right_half else -5, -9 if falling else 9),  # on the side where no other point can be
        textcoords="offset points",
        ha="right" if right_half else "left",
        va="top" if falling else "bottom",
        color=GREY,
    )
    axes.grid(axis="y")
    axes.margins(x=0.02, y=0.25)


def _name_cells(axes: "Axes", columns: Sequence[str], rows: Sequence[str], slanted: bool) -> None:
    """Names along both sides, and white lines between the cells."""
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_yticks(range(len(rows)), rows)
    axes.set_xticks(range(len(columns)), columns)
    if slanted:
        axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.tick_params(which="both", length=0)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.spines[:].set_visible(False)


def _write_counts(axes: "Axes", confusion: np.ndarray, share: np.ndarray, size: float) -> None:
    """The count in each cell, dark on light and light on dark, a zero faint."""
    for (row, column), count in np.ndenumerate(confusion):
        colour = "white" if share[row, column] > 0.5 else "#1B2733" if count else "#A9B0B8"
        axes.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=size)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """A centred running mean over about a tenth of the values, of what there is at both ends and around NaNs."""
    reach = math.ceil(len(values) / 20) if len(values) > 10 else 0
    finite = np.isfinite(values)
    totals = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    counts = np.cumsum(np.concatenate([[0], finite]))
    first = np.maximum(np.arange(len(values)) - reach, 0)
    last = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    count = counts[last] - counts[first]
    mean = np.full(len(values), np.nan)
    np.divide(totals[last] - totals[first], count, out=mean, where=count > 0)
    return mean


def _sorted_columns(points: Mapping[int, float]) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values as two arrays, by step."""
    steps = sorted(points)
    return np.array(steps, dtype=np.float64), np.array([points[step] for step in steps], dtype=np.float64)


def _shortened(name: str) -> str:
    """A label that fits on an axis."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
