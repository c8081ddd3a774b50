"""The pictures of a workdir: how training went, what is taken for what, and what the probabilities are worth."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxpeft.tasks.bootstrap import ECE_BINS, calibration_bins, ranked_classes
from jaxpeft.tasks.metrics import expected_calibration_error
from jaxpeft.training.canvas import BLUE, CURVES, GREY, ORANGE, canvas, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    with canvas((7.0, 5.0 if scores else 3.2), path) as figure:
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
    shown = [shortened(name) for name in names]
    rows = shown + ["(not in training)"] * (len(confusion) - classes)
    cell = 0.85 if classes <= 8 else 0.5  # inches; a letter takes about 0.08
    slanted = max(map(len, shown)) > cell / 0.09
    margin = 0.08 * max(map(len, rows))
    size = (
        max(3.0, cell * classes) + margin + 1.7,
        max(2.0, cell * len(rows)) + (0.7 * margin if slanted else 0.3) + 0.8,
    )
    with canvas(size, path) as figure:
        axes = figure.subplots()
        share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
        image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
        _write_counts(axes, confusion, share, size=9.5 if classes <= 8 else 7.0)
        _name_cells(axes, shown, rows, slanted)
        axes.set_title(title)
        bar = figure.colorbar(image, ax=axes, shrink=0.8, label="share of the label's rows")
        bar.outline.set_visible(False)


def roc_curves(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], positive: int, path: str | Path, title: str
) -> None:
    """Draw sensitivity against false alarms of each class against the rest as a PNG; of two, of the positive one.

    labels [N] (-1 = unseen in training), probabilities [N, C]. The eight classes with the most rows have a colour
    and their AUROC, the others are grey; classes that all rows or none have are left out.
    """
    from sklearn.metrics import roc_auc_score, roc_curve

    with canvas((6.6, 4.6), path) as figure:
        axes = _square(figure, title, "share of the other rows taken for it", "share of its rows found")
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=":")
        for name, members, scores, style in _ranked(labels, probabilities, names, positive):
            false, found, _ = roc_curve(members, scores)
            axes.plot(false, found, label=f"{name}  {roc_auc_score(members, scores):.3f}", **style)
        _legend(axes, "AUROC", (1.02, 0.0))


def precision_recall_curves(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], positive: int, path: str | Path, title: str
) -> None:
    """Draw precision against recall of each class against the rest as a PNG; arguments as in `roc_curves`.

    A dotted line is the share of a class's rows: the precision of drawing lots.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve

    with canvas((6.6, 4.6), path) as figure:
        axes = _square(figure, title, "recall", "precision")
        for name, members, scores, style in _ranked(labels, probabilities, names, positive):
            precision, recall, _ = precision_recall_curve(members, scores)
            area = average_precision_score(members, scores)
            axes.plot(recall, precision, drawstyle="steps-post", label=f"{name}  {area:.3f}", **style)
            axes.axhline(members.mean(), linestyle=":", **{**style, "linewidth": 0.8})
        _legend(axes, "average precision", (1.02, 0.0))


def reliability_diagram(labels: np.ndarray, answers: Mapping[str, np.ndarray], path: str | Path, title: str) -> None:
    """Draw accuracy against confidence, and how often each confidence occurs, as a PNG.

    labels [N] (-1 = unseen in training); `answers` are probabilities [N, C] under the name of how they were made.
    The bins are those of the calibration error, which stands beside each name; a bin's point is at its mean.
    """
    with canvas((5.4, 5.6), path) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        above.set_title(title)
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1.0, linestyle=":")
        for (name, probabilities), colour in zip(answers.items(), CURVES, strict=False):
            confidence, accuracy, share = _reliability(labels, probabilities)
            error = expected_calibration_error(labels, probabilities)
            above.plot(confidence, accuracy, color=colour, marker="o", markersize=4, label=f"{name}  {error:.3f}")
            below.stairs(share, np.linspace(0, 1, ECE_BINS + 1), color=colour)
        above.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), ylabel="share of right answers")
        below.set(xlabel="confidence of the answer", ylabel="share of rows", ylim=(0, None))
        _legend(above, "calibration error", "upper left")


def type_scores(rows: Sequence[Mapping[str, Any]], path: str | Path, title: str) -> None:
    """Draw the strict F1 of each type of entity with its interval as a PNG, the most frequent type on top.

    `rows` are those of `EntityScores.per_class`. Types without a gold or predicted entity have no point.
    """
    rows = sorted(rows, key=lambda row: row["support"])
    places = np.arange(len(rows))
    with canvas((6.6, 1.3 + 0.3 * max(len(rows), 2)), path) as figure:
        axes = figure.subplots()
        for place, row in zip(places, rows, strict=True):
            if row["f1_low"] is not None:
                axes.plot([row["f1_low"], row["f1_high"]], [place, place], color=BLUE, linewidth=2.0, alpha=0.5)
            if row["f1"] is not None:
                axes.plot(row["f1"], place, color=BLUE, marker="o", markersize=6)
        axes.set_yticks(places, [f"{shortened(row['name'])}  {row['support']}" for row in rows])
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.7, len(rows) - 0.3), title=title, xlabel="strict F1, 95 %")
        axes.grid(axis="x")


PICTURES: Mapping[str, Callable[..., None]] = {  # what `Task.pictures` names -> what draws it
    "confusion": confusion_matrix,
    "roc": roc_curves,
    "precision_recall": precision_recall_curves,
    "calibration": reliability_diagram,
    "types": type_scores,
}


def _draw_losses(axes: "Axes", steps: np.ndarray, losses: np.ndarray) -> None:
    """The logged losses, light, under their smoothed course."""
    axes.set_title("Training loss")
    axes.plot(steps, losses, color=BLUE, alpha=0.3, linewidth=1.0)
    axes.plot(steps, _smoothed(losses), color=BLUE, linewidth=2.0, marker="o" if len(losses) == 1 else None)
    axes.grid(axis="y")
    axes.margins(x=0.02)


def _draw_scores(axes: "Axes", steps: np.ndarray, scores: np.ndarray, metric: str) -> None:
    """The validation scores, with the best one named."""
    best = int(scores.argmax())
    axes.set_title(f"Validation {metric}")
    axes.plot(steps, scores, color=ORANGE, linewidth=2.0, marker="o", markersize=4)
    axes.plot(
        steps[best], scores[best], color=ORANGE, marker="o", markersize=9, markerfacecolor="white", markeredgewidth=2
    )
    right_half = steps[best] > (steps[0] + steps[-1]) / 2
    axes.annotate(
        f"{scores[best]:.3f} at step {steps[best]:.0f}",
        (steps[best], scores[best]),
        xytext=(5 if right_half else -5, 9),  # on the side where no other point can be
        textcoords="offset points",
        ha="right" if right_half else "left",
        va="bottom",
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


def _ranked(
    labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str], positive: int
) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, Any]]]:
    """Name, membership [N], score [N] and line style of each class with rows in it and others, the largest first."""
    shown = [index for index in ranked_classes(len(names), positive) if 0 < (labels == index).sum() < len(labels)]
    shown.sort(key=lambda index: -(labels == index).sum())
    for place, index in enumerate(shown):
        coloured = place < len(CURVES)
        colour, width = (CURVES[place], 1.8) if coloured else ("#C8CCD0", 0.8)
        style = {"color": colour, "linewidth": width, "zorder": 2 + 1 / (1 + place)}  # large classes over small ones
        name = shortened(names[index]) if coloured else "_"  # matplotlib leaves such names out of legends
        yield name, labels == index, probabilities[:, index], style


def _reliability(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean confidence and accuracy of each bin that is not empty, and the share of rows of every bin."""
    confidence = probabilities.max(axis=1)
    bins = calibration_bins(confidence)
    columns = (np.ones(len(labels)), confidence, probabilities.argmax(axis=1) == labels)
    rows, sure, right = (np.bincount(bins, weights=column, minlength=ECE_BINS) for column in columns)
    some = rows > 0
    return sure[some] / rows[some], right[some] / rows[some], rows / len(labels)


def _square(figure: "Figure", title: str, across: str, up: str) -> "Axes":
    """Axes for two shares."""
    axes = figure.subplots()
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel=across, ylabel=up, title=title)
    axes.grid()
    return axes


def _legend(axes: "Axes", title: str, place: Any) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(title=title, loc=place, frameon=False, fontsize=8, title_fontsize=8)


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
