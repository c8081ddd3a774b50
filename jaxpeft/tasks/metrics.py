"""Scores of a classifier with 95 % intervals, and what the majority answer would have scored.

What each metric means here, C classes seen in training (a label outside them is -1, "unseen", and
counts as a wrong row: it lowers accuracy and the precision of the class predicted for it):

- accuracy      correct rows / all rows.
- f1_*          over the known classes that occur as a label or a prediction of the split, as
                `sklearn.metrics.f1_score(labels=those)`. Without unseen labels f1_micro is the accuracy;
                with them it is higher, since they have no class of their own to be missed in.
- auroc_macro   mean of one class against the rest, over the classes with both positives and negatives;
                of two classes, the second one's.
- auprc_macro   likewise, average precision (no interpolation).
- ece           expected calibration error of the answer's probability, 15 bins of equal width over (0, 1].
- brier         mean over rows of the sum over classes of (probability - one-hot)^2, from 0 to 2; the
                one-hot of an unseen label is all zeros. For two classes it is twice the binary score.

A score that the split does not define (AUROC of one class) is None, never a number.
"""

import dataclasses
import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from jaxpeft.errors import InputError
from jaxpeft.tasks.bootstrap import bootstrap_scores, brier_terms, calibration_bins, ranked_classes
from jaxpeft.tasks.clusters import Scores, cluster_of_rows, with_interval

METRIC_NAMES = (
    "accuracy",
    "f1_macro",
    "f1_micro",
    "f1_weighted",
    "auroc_macro",
    "auprc_macro",
    "ece",
    "brier",
)


@dataclasses.dataclass(frozen=True)
class ClassificationScores(Scores):
    """The scores of one split."""

    unseen: int  # rows whose label training lacks
    # name, support, predicted, precision, recall, f1, auroc, auprc of each class
    per_class: list[dict[str, str | int | float | None]]
    confusion: np.ndarray  # [C, C] label by prediction; a last row for unseen labels where there are any

    def report(self) -> dict[str, Any]:
        """Those of `Scores`, `unseen_label_rows`, `per_class` and `confusion`."""
        own = {"unseen_label_rows": self.unseen, "per_class": self.per_class, "confusion": self.confusion.tolist()}
        return super().report() | own


def classification_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    positive: int = 1,
) -> ClassificationScores:
    """Score probabilities [N, C] against labels [N] (-1 = unseen in training), C = len(names).

    The intervals are 95 % percentile bootstrap intervals over `groups` [N] (each row on its own when
    None; Efron and Tibshirani 1993, ch. 13); resamples that leave a metric undefined are left out of
    it. `resamples=0`, or a single cluster, gives no interval (None). The same arguments give the same
    bits. Of two classes AUROC and average precision are those of `positive`. Raises InputError for no rows
    or probabilities that are not finite.
    """
    labels, probabilities = _checked(labels, probabilities, names)
    cluster = cluster_of_rows(groups, len(labels))
    clusters = int(cluster.max()) + 1
    rankings = _rank_scores(labels, probabilities)
    values = _point_values(labels, probabilities, rankings, positive)
    drawn: dict[str, np.ndarray] = {}
    if resamples > 0 and clusters > 1:
        drawn = bootstrap_scores(labels, probabilities, cluster, resamples=resamples, seed=seed, positive=positive)
    confusion = _confusion(labels, probabilities)
    return ClassificationScores(
        metrics={name: with_interval(values[name], drawn.get(name)) for name in METRIC_NAMES},
        drawn=drawn,
        clusters=clusters,
        unseen=int((labels < 0).sum()),
        per_class=_per_class(confusion, names, rankings),
        confusion=confusion,
    )


def majority_scores(train_labels: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> dict[str, float | None]:
    """The metrics of the constant answer: the most frequent training class, at the training frequencies.

    train_labels [M] and labels [N] as in `classification_scores`. Every row ties, so AUROC is 0.5 and
    average precision is the share of positives.
    """
    counts = np.bincount(train_labels[train_labels >= 0], minlength=len(names))
    labels, probabilities = _checked(labels, np.tile(counts / counts.sum(), (len(labels), 1)), names)
    return _point_values(labels, probabilities, _rank_scores(labels, probabilities))


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The mean over rows of |accuracy - confidence| of the row's bin, for labels [N] and probabilities [N, C]."""
    predictions, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    gaps = np.bincount(calibration_bins(confidences), weights=(predictions == labels) - confidences)
    return float(np.abs(gaps).sum() / len(labels))


def _checked(labels: np.ndarray, probabilities: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The labels as int64 and probabilities as float64, once their shapes and values make sense."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, dtype=np.float64)
    if probabilities.shape != (len(labels), len(names)):
        raise ValueError(f"probabilities are {probabilities.shape}, expected {(len(labels), len(names))}")
    if not len(labels):
        raise InputError("there are no rows to score: the split is empty")
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise InputError(
            f"the model's probabilities are not finite in {bad} of {len(labels)} rows: "
            "lower train.learning_rate, or set model.dtype to float32"
        )
    if labels.min() < -1 or labels.max() >= len(names):
        raise ValueError(f"labels lie in [{labels.min()}, {labels.max()}], expected [-1, {len(names) - 1}]")
    return labels.astype(np.int64), probabilities


def _rank_scores(labels: np.ndarray, probabilities: np.ndarray) -> list[tuple[float | None, float | None]]:
    """AUROC and average precision of each class against the rest, None without positives or negatives."""
    from sklearn.metrics import average_precision_score, roc_auc_score  # 2 s to import

    scores: list[tuple[float | None, float | None]] = []
    for index in range(probabilities.shape[1]):
        positive, score = labels == index, probabilities[:, index]
        if positive.all() or not positive.any():
            scores.append((None, None))
        else:
            scores.append((float(roc_auc_score(positive, score)), float(average_precision_score(positive, score))))
    return scores


def _point_values(
    labels: np.ndarray,
    probabilities: np.ndarray,
    rankings: list[tuple[float | None, float | None]],
    positive: int = 1,
) -> dict[str, float | None]:
    """Each metric on all rows, None where it is undefined."""
    predictions = probabilities.argmax(axis=1)
    ranked = [rankings[index] for index in ranked_classes(len(rankings), positive)]
    return {
        "accuracy": float((predictions == labels).mean()),
        **_f1_scores(labels, predictions),
        "auroc_macro": _mean([auroc for auroc, _ in ranked]),
        "auprc_macro": _mean([average_precision for _, average_precision in ranked]),
        "ece": expected_calibration_error(labels, probabilities),
        "brier": float(brier_terms(labels, probabilities).mean()),
    }


def _f1_scores(labels: np.ndarray, predictions: np.ndarray) -> dict[str, float | None]:
    """Macro, micro and weighted F1 over the known classes that occur."""
    from sklearn.metrics import f1_score

    known = np.union1d(labels[labels >= 0], predictions)
    scores: dict[str, float | None] = {}
    with warnings.catch_warnings():
        # Many classes in a small split are no mistake here.
        warnings.filterwarnings("ignore", message="The number of unique classes is greater", category=UserWarning)
        for average in ("macro", "micro", "weighted"):
            value = f1_score(labels, predictions, labels=known, average=average, zero_division=0.0)
            scores[f"f1_{average}"] = float(value)
    if (labels < 0).all():
        scores["f1_weighted"] = None  # no row to weight a class by
    return scores


def _confusion(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Rows counted by label and prediction: [C, C], or [C + 1, C] with unseen labels last."""
    classes = probabilities.shape[1]
    row = np.where(labels < 0, classes, labels)
    counts = np.bincount(row * classes + probabilities.argmax(axis=1), minlength=(classes + 1) * classes)
    table = counts.reshape(classes + 1, classes)
    return table if table[classes].any() else table[:classes]


def _per_class(
    confusion: np.ndarray, names: Sequence[str], rankings: list[tuple[float | None, float | None]]
) -> list[dict[str, str | int | float | None]]:
    """One row a class: counts, precision, recall, F1, AUROC and average precision, None where undefined."""
    rows: list[dict[str, str | int | float | None]] = []
    for index, (name, (auroc, average_precision)) in enumerate(zip(names, rankings, strict=True)):
        correct = int(confusion[index, index])
        support, predicted = int(confusion[index].sum()), int(confusion[:, index].sum())
        rows.append(
            {
                "name": name,
                "support": support,
                "predicted": predicted,
                "precision": correct / predicted if predicted else None,
                "recall": correct / support if support else None,
                "f1": 2 * correct / (support + predicted) if support + predicted else None,
                "auroc": auroc,
                "auprc": average_precision,
            }
        )
    return rows


def _mean(values: list[float | None]) -> float | None:
    """The mean of what is defined, None where nothing is."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None
