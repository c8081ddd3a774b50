"""Operating points of a classifier of two classes: the threshold that reaches a sensitivity, and its price.

Of two classes one is positive, the same as for AUROC. A threshold is chosen on validation and applied to
test, where the sensitivity may then differ from the one aimed at: that is the honest figure.
"""

import math
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from jaxpeft.tasks.clusters import Scores, cluster_of_rows, ratio, score_sums, sum_by_cluster

SENSITIVITIES = (0.8, 0.9, 0.95)


def threshold_for(sensitivity: float, positive: np.ndarray, scores: np.ndarray) -> float | None:
    """The highest threshold at which that share of the positive rows is at it or above; None without a positive row.

    positive bool [N], scores [N], 0 < sensitivity <= 1.
    """
    falling = np.sort(scores[positive])[::-1]
    if not len(falling):
        return None
    needed = math.ceil(sensitivity * len(falling) - 1e-9)  # 0.07 of 100 is 7, not 7.000000000000001
    return float(falling[max(needed, 1) - 1])


def scores_at(
    threshold: float,
    positive: np.ndarray,
    scores: np.ndarray,
    groups: Sequence[Hashable] | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """sensitivity, specificity, ppv and npv of the answer `scores >= threshold`, for positive bool [N], scores [N].

    The intervals resample `groups` as in `classification_scores`; they take the threshold as given.
    """
    answers = scores >= threshold
    columns = [answers & positive, ~answers & positive, answers & ~positive, ~answers & ~positive]
    sums = sum_by_cluster(columns, cluster_of_rows(groups, len(scores)))
    return score_sums(sums, _scores_of_sums, resamples=resamples, seed=seed)


def threshold_report(
    validation: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    groups: Sequence[Hashable] | None,
    names: Sequence[str],
    *,
    positive: int = 1,
    sensitivities: Sequence[float] = SENSITIVITIES,
    resamples: int = 1000,
) -> list[dict[str, Any]] | None:
    """What each sensitivity costs: chosen on `validation`, measured on `test`; None for other than two classes.

    Both are labels [N] and probabilities [N, C]; `groups` are those of test. A row of an unseen label is not
    positive. Each object has `positive` (its name), `positive_rows` (of test), `aimed_at`, `threshold` (None where
    validation has no positive row) and, under `test`, value, low and high of `scores_at`.
    """
    if validation[1].shape[1] != 2:
        return None
    about = {"positive": names[positive], "positive_rows": int((test[0] == positive).sum())}
    points: list[dict[str, Any]] = []
    for sensitivity in sensitivities:
        threshold = threshold_for(sensitivity, validation[0] == positive, validation[1][:, positive])
        point: dict[str, Any] = {**about, "aimed_at": sensitivity, "threshold": threshold, "test": None}
        if threshold is not None:
            labels, probabilities = test
            found = scores_at(threshold, labels == positive, probabilities[:, positive], groups, resamples=resamples)
            point["test"] = found.metrics
        points.append(point)
    return points


def _scores_of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    found, missed, false_alarms, passed = sums
    return {
        "sensitivity": ratio(found, found + missed),
        "specificity": ratio(passed, passed + false_alarms),
        "ppv": ratio(found, found + false_alarms),
        "npv": ratio(passed, passed + missed),
    }
