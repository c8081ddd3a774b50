"""Two systems on the same rows: the difference of each score, its interval, and whether it may be chance.

Both systems are scored on the same resamples of the clusters (patients, documents), so what makes a row hard
for both cancels out. The interval holds the middle 95 % of the differences; the p-value is the largest error
at which a two-sided interval of this kind would still hold 0 (Efron and Tibshirani 1993, sections 13.3 and
15.4): twice the share of differences on the rarer side of 0, 0 itself counting on both. It asks whether this
score would differ on other patients of this kind; that the two be exchangeable in all else, as a permutation
test supposes, is not asked. It is one p-value for each score and corrects for nothing.

In simulations of two equally good systems (benchmarks/coverage.py) p is below 0.05 about one time in twenty
from 100 clusters on.
"""

import numpy as np

from jaxpeft.tasks.clusters import Scores, with_interval

Difference = dict[str, float | None]  # first, second, difference, low, high, p


def paired_differences(first: Scores, second: Scores) -> dict[str, Difference]:
    """Second minus first, for every metric that both have.

    Both must be of the same rows in the same order and clusters, with the same resamples and seed. Where a score
    is undefined so is its difference (None).
    """
    if first.clusters != second.clusters:
        raise ValueError(f"{first.clusters} clusters against {second.clusters}: the rows are not the same")
    return {name: _difference(name, first, second) for name in first.metrics if name in second.metrics}


def _difference(name: str, first: Scores, second: Scores) -> Difference:
    ours, theirs = first.metrics[name]["value"], second.metrics[name]["value"]
    gap = None if ours is None or theirs is None else theirs - ours
    drawn = second.drawn[name] - first.drawn[name] if name in first.drawn and name in second.drawn else None
    score = with_interval(gap, drawn)
    return {
        "first": ours,
        "second": theirs,
        "difference": gap,
        "low": score["low"],
        "high": score["high"],
        "p": None if gap is None or drawn is None else p_value(drawn),
    }


def p_value(differences: np.ndarray) -> float | None:
    """The two-sided p-value of resampled differences [R], NaN where undefined; None when all are.

    The observed data count as one more resample on the rarer side, so that p is never 0.
    """
    kept = differences[~np.isnan(differences)]
    if not len(kept):
        return None
    rarer = min((kept <= 0).sum(), (kept >= 0).sum())
    return min(1.0, 2 * (1 + int(rarer)) / (1 + len(kept)))
