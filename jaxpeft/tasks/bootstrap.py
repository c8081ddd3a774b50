"""Cluster bootstrap of the classification scores: every resample scored with weights, many at once.

A resample draws clusters (patients, documents) with replacement, as many as there are; a row then
counts as often as its cluster was drawn. Resamples stay matrices of counts: no row is copied.

- Accuracy, F1, calibration error and Brier score are functions of sums over rows, so each cluster is
  summed once and all resamples are one matrix product.
- AUROC and average precision depend on ranks, which weights do not change: each class is sorted once,
  and cumulative counts in that order give the rows above, below and tied with each positive.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

ECE_BINS = 15
_CELLS = 2**21  # rows x resamples held at once: 16 MiB an array
_FIXED_POINT = 2.0**30  # sums of multiples of 2^-30 are exact in float64, so no BLAS can change a bit by its order


def ranked_classes(classes: int) -> list[int]:
    """The classes that AUROC and average precision run over: the second of two, else each against the rest."""
    return [1] if classes == 2 else list(range(classes))


def calibration_bins(confidences: np.ndarray) -> np.ndarray:
    """The calibration bin of each confidence: `ECE_BINS` of equal width over (0, 1], closed on the right."""
    bins: np.ndarray = np.clip(np.ceil(confidences * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins


def brier_terms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance [N] from the probabilities to the one-hot label, all zeros for an unseen one (Brier 1950)."""
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    terms: np.ndarray = np.square(probabilities - one_hot).sum(axis=1)
    return terms


def cluster_of_rows(groups: Sequence[Hashable] | None, rows: int) -> np.ndarray:
    """The cluster number of each row, counted from 0 in order of appearance: its group, or itself without groups."""
    if groups is None:
        return np.arange(rows)
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def bootstrap_scores(
    labels: np.ndarray, probabilities: np.ndarray, cluster: np.ndarray, *, resamples: int, seed: int
) -> dict[str, np.ndarray]:
    """Each metric's value [resamples] in each resample of the clusters, NaN where it is undefined.

    labels [N] (-1 = unseen in training), probabilities [N, C] and cluster [N] are as in
    `classification_scores`; the scores of a resample are those of its rows repeated.
    """
    clusters = int(cluster.max()) + 1
    sums = _sums_by_cluster(labels, probabilities, cluster, clusters)
    rankings = [
        _Ranking.of(labels == index, probabilities[:, index], cluster)
        for index in ranked_classes(probabilities.shape[1])
    ]
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // len(labels))
    parts = []
    for start in range(0, resamples, step):
        counts = _draw(clusters, min(step, resamples - start), rng)
        parts.append(_scores_of_sums(sums @ counts, probabilities.shape[1]) | _rank_scores(rankings, counts))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draw(clusters: int, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each cluster is drawn in each resample, as float64 [clusters, resamples]."""
    drawn = rng.integers(0, clusters, size=(resamples, clusters))
    cells = drawn * resamples + np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=clusters * resamples).reshape(clusters, resamples).astype(np.float64)


def _sums_by_cluster(labels: np.ndarray, probabilities: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """What the scores are made of, summed over each cluster's rows: [3 C + ECE_BINS + 2, clusters].

    In this order: support, predicted and correct rows a class, confidence gap a calibration bin,
    Brier terms, rows. `_scores_of_sums` reads it back.
    """
    predictions, confidences = probabilities.argmax(axis=1), probabilities.max(axis=1)
    correct = predictions == labels
    gaps = np.round((correct - confidences) * _FIXED_POINT) / _FIXED_POINT
    brier = np.round(brier_terms(labels, probabilities) * _FIXED_POINT) / _FIXED_POINT
    bins, classes = calibration_bins(confidences), range(probabilities.shape[1])
    columns = [labels == index for index in classes]
    columns += [predictions == index for index in classes]
    columns += [correct & (labels == index) for index in classes]
    columns += [np.where(bins == index, gaps, 0.0) for index in range(ECE_BINS)]
    columns += [brier, np.ones(len(labels))]
    return np.stack([np.bincount(cluster, weights=column, minlength=clusters) for column in columns])


def _scores_of_sums(sums: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The scores [R] of R resamples from the sums [3 C + ECE_BINS + 2, R] over their rows."""
    support, predicted, correct, gaps, (brier, rows) = np.split(sums, np.cumsum([classes] * 3 + [ECE_BINS]))
    f1 = _ratio(2 * correct, support + predicted)  # NaN for a class that does not occur
    return {
        "accuracy": correct.sum(axis=0) / rows,
        "f1_macro": _mean_of_defined(f1),
        "f1_micro": 2 * correct.sum(axis=0) / (support + predicted).sum(axis=0),
        "f1_weighted": _ratio((np.nan_to_num(f1) * support).sum(axis=0), support.sum(axis=0)),
        "ece": np.abs(gaps).sum(axis=0) / rows,
        "brier": brier / rows,
    }


@dataclasses.dataclass(frozen=True)
class _Ranking:
    """One class against the rest, sorted by falling score: N rows, of which P are positive.

    A positive's tie block is [first, last) among all rows and [first_positive, last_positive) among
    the positive ones.
    """

    cluster: np.ndarray  # [N]
    positive_cluster: np.ndarray  # [P]
    first: np.ndarray  # [P]
    last: np.ndarray
    first_positive: np.ndarray
    last_positive: np.ndarray

    @classmethod
    def of(cls, positive: np.ndarray, scores: np.ndarray, cluster: np.ndarray) -> "_Ranking":
        """Sort rows [N] by score and find the tie block of each positive one."""
        order = np.argsort(-scores, kind="stable")
        falling = -scores[order]
        of_positives = falling[positive[order]]
        return cls(
            cluster=cluster[order],
            positive_cluster=cluster[order][positive[order]],
            first=np.searchsorted(falling, of_positives, side="left"),
            last=np.searchsorted(falling, of_positives, side="right"),
            first_positive=np.searchsorted(of_positives, of_positives, side="left"),
            last_positive=np.searchsorted(of_positives, of_positives, side="right"),
        )

    def scores(self, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """AUROC [R] and average precision [R] under cluster counts [G, R]; NaN without a positive or a negative."""
        rows_above = _running_total(counts[self.cluster])  # [N + 1, R]
        weight = counts[self.positive_cluster]  # [P, R]
        positives_above = _running_total(weight)  # [P + 1, R]
        positives = positives_above[-1]
        negatives = rows_above[-1] - positives
        found, true = rows_above[self.last], positives_above[self.last_positive]  # [P, R]: at this score or above it
        not_below = found - true
        above = rows_above[self.first] - positives_above[self.first_positive]
        wins = 2 * negatives - not_below - above  # twice the negatives below, a tied one counting half (Mann-Whitney)
        auroc = _ratio((weight * wins).sum(axis=0), 2 * positives * negatives)
        precision = np.nan_to_num(_ratio(true, found))  # nothing found: nothing drawn here, so a weight of 0
        average_precision = _ratio((weight * precision).sum(axis=0), positives)
        average_precision[negatives == 0] = np.nan
        return auroc, average_precision


def _rank_scores(rankings: list[_Ranking], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Macro AUROC and macro average precision [R] over the classes for which they are defined."""
    auroc, average_precision = zip(*(ranking.scores(counts) for ranking in rankings), strict=True)
    return {
        "auroc_macro": _mean_of_defined(np.stack(auroc)),
        "auprc_macro": _mean_of_defined(np.stack(average_precision)),
    }


def _running_total(counts: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... N rows of [N, R], as [N + 1, R]."""
    total = np.zeros((len(counts) + 1, counts.shape[1]))
    np.cumsum(counts, axis=0, out=total[1:])
    return total


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def _mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is not NaN, NaN where nothing is."""
    defined = ~np.isnan(values)
    return _ratio(np.where(defined, values, 0.0).sum(axis=0), defined.sum(axis=0))
