"""Cluster bootstrap of the classification scores: every resample scored with weights, many at once.

- Accuracy, F1, calibration error and Brier score are functions of sums over rows, so each cluster is
  summed once and all resamples are one matrix product.
- AUROC and average precision depend on ranks, which weights do not change: each class is sorted once,
  and cumulative counts in that order give the rows above, below and tied with each positive.
"""

import dataclasses

import numpy as np

from jaxpeft.tasks.clusters import draws, mean_of_defined, ratio, sum_by_cluster

ECE_BINS = 15
_FIXED_POINT = 2.0**30  # sums of multiples of 2^-30 are exact in float64, so no BLAS can change a bit by its order


def ranked_classes(classes: int, positive: int = 1) -> list[int]:
    """The classes that AUROC and average precision run over: the positive one of two, else each against the rest."""
    return [positive] if classes == 2 else list(range(classes))


def calibration_bins(confidences: np.ndarray) -> np.ndarray:
    """The calibration bin of each confidence: `ECE_BINS` of equal width over (0, 1], closed on the right."""
    bins: np.ndarray = np.clip(np.ceil(confidences * ECE_BINS).astype(np.int64) - 1, 0, ECE_BINS - 1)
    return bins


def brier_terms(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Squared distance [N] from the probabilities to the one-hot label, all zeros for an unseen one (Brier 1950)."""
    one_hot = labels[:, None] == np.arange(probabilities.shape[1])
    terms: np.ndarray = np.square(probabilities - one_hot).sum(axis=1)
    return terms


def bootstrap_scores(
    labels: np.ndarray, probabilities: np.ndarray, cluster: np.ndarray, *, resamples: int, seed: int, positive: int = 1
) -> dict[str, np.ndarray]:
    """Each metric's value [resamples] in each resample of the clusters, NaN where it is undefined.

    labels [N] (-1 = unseen in training), probabilities [N, C] and cluster [N] are as in
    `classification_scores`; the scores of a resample are those of its rows repeated.
    """
    classes = probabilities.shape[1]
    sums = sum_by_cluster(_columns(labels, probabilities), cluster)
    ranked = ranked_classes(classes, positive)
    rankings = [_Ranking.of(labels == index, probabilities[:, index], cluster) for index in ranked]
    parts = [
        _scores_of_sums(sums @ counts, classes) | _rank_scores(rankings, counts)
        for counts in draws(sums.shape[1], resamples=resamples, seed=seed, cells=len(labels))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _columns(labels: np.ndarray, probabilities: np.ndarray) -> list[np.ndarray]:
    """What the scores are sums of, 3 C + ECE_BINS + 2 columns [N].

    In this order: support, predicted and correct rows a class, confidence gap a calibration bin,
    Brier terms, rows. `_scores_of_sums` reads their sums.
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
    return [*columns, brier, np.ones(len(labels))]


def _scores_of_sums(sums: np.ndarray, classes: int) -> dict[str, np.ndarray]:
    """The scores [R] of R resamples from the sums [3 C + ECE_BINS + 2, R] over their rows."""
    support, predicted, correct, gaps, (brier, rows) = np.split(sums, np.cumsum([classes] * 3 + [ECE_BINS]))
    f1 = ratio(2 * correct, support + predicted)  # NaN for a class that does not occur
    return {
        "accuracy": correct.sum(axis=0) / rows,
        "f1_macro": mean_of_defined(f1),
        "f1_micro": 2 * correct.sum(axis=0) / (support + predicted).sum(axis=0),
        "f1_weighted": ratio((np.nan_to_num(f1) * support).sum(axis=0), support.sum(axis=0)),
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
        auroc = ratio((weight * wins).sum(axis=0), 2 * positives * negatives)
        precision = np.nan_to_num(ratio(true, found))  # nothing found: nothing drawn here, so a weight of 0
        average_precision = ratio((weight * precision).sum(axis=0), positives)
        average_precision[negatives == 0] = np.nan
        return auroc, average_precision


def _rank_scores(rankings: list[_Ranking], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Macro AUROC and macro average precision [R] over the classes for which they are defined."""
    auroc, average_precision = zip(*(ranking.scores(counts) for ranking in rankings), strict=True)
    return {
        "auroc_macro": mean_of_defined(np.stack(auroc)),
        "auprc_macro": mean_of_defined(np.stack(average_precision)),
    }


def _running_total(counts: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, ... N rows of [N, R], as [N + 1, R]."""
    total = np.zeros((len(counts) + 1, counts.shape[1]))
    np.cumsum(counts, axis=0, out=total[1:])
    return total
