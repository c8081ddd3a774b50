"""The cluster bootstrap: which rows belong together, how they are redrawn, and what becomes of it.

A resample draws clusters (patients, documents) with replacement, as many as there are; a row then
counts as often as its cluster was drawn. No row is copied: a resample is a column of counts, and a
score that is a function of sums over rows needs each cluster's sums only once, so that all resamples
are one matrix product. The same seed draws the same resamples of the same clusters, whatever is
scored on them, which is what makes comparisons of two systems paired.
"""

import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Self

import numpy as np

FEW_CLUSTERS = 100  # below this percentile intervals are noticeably too narrow
_CELLS = 2**21  # numbers held at once: 16 MiB an array

Score = dict[str, float | None]  # value, low, high
ScoresOfSums = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Scores:
    """The scores of one split with 95 % intervals."""

    metrics: dict[str, Score]  # name -> value, low, high; None where undefined
    drawn: dict[str, np.ndarray]  # name -> its value in each resample, NaN where undefined; empty without resamples
    clusters: int  # patients, documents or rows: what the intervals resample

    @property
    def few_clusters(self) -> bool:
        """Too few clusters for the intervals to be trusted."""
        return self.clusters < FEW_CLUSTERS

    def beside(self, metrics: dict[str, Score], drawn: dict[str, np.ndarray] | None = None) -> Self:
        """These scores and others of the same rows."""
        return dataclasses.replace(self, metrics=self.metrics | metrics, drawn=self.drawn | (drawn or {}))

    def report(self) -> dict[str, Any]:
        """What result.json and evaluations/<split>.json say of them."""
        return {"metrics": self.metrics, "few_clusters": self.few_clusters, "clusters": self.clusters}


def cluster_of_rows(groups: Sequence[Hashable] | None, rows: int) -> np.ndarray:
    """The cluster number of each row, counted from 0 in order of appearance: its group, or itself without groups."""
    if groups is None:
        return np.arange(rows)
    if len(groups) != rows:
        raise ValueError(f"{len(groups)} groups for {rows} rows")
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def draws(clusters: int, *, resamples: int, seed: int, cells: int) -> Iterator[np.ndarray]:
    """How often each cluster is drawn, as float64 [clusters, r], for r resamples at a time.

    `cells` is what one resample needs in memory: it decides r, and changes no draw.
    """
    rng = np.random.default_rng(seed)
    step = max(1, _CELLS // cells)
    for start in range(0, resamples, step):
        count = min(step, resamples - start)
        drawn = rng.integers(0, clusters, size=(count, clusters))
        flat = (drawn * count + np.arange(count)[:, None]).ravel()
        yield np.bincount(flat, minlength=clusters * count).reshape(clusters, count).astype(np.float64)


def sum_by_cluster(columns: Sequence[np.ndarray], cluster: np.ndarray) -> np.ndarray:
    """Each column [N] summed over the rows of each cluster: [columns, clusters]."""
    clusters = int(cluster.max()) + 1
    return np.stack([np.bincount(cluster, weights=column, minlength=clusters) for column in columns])


def score_sums(sums: np.ndarray, scores_of_sums: ScoresOfSums, *, resamples: int, seed: int) -> Scores:
    """Scores that are functions of sums over rows, and their intervals.

    sums [..., clusters] are whole numbers, each cluster's share; `scores_of_sums` takes [..., R] to name -> [R],
    NaN where undefined.
    """
    clusters = sums.shape[-1]
    values = scores_of_sums(sums.sum(axis=-1, keepdims=True))
    drawn = resampled(sums, scores_of_sums, resamples=resamples, seed=seed)
    metrics = {name: with_interval(defined(value[0]), drawn.get(name)) for name, value in values.items()}
    return Scores(metrics, drawn, clusters)


def resampled(sums: np.ndarray, scores_of_sums: ScoresOfSums, *, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Each score in each resample of the clusters, as in `score_sums`; empty where there is nothing to redraw."""
    clusters = sums.shape[-1]
    if resamples == 0 or clusters < 2:
        return {}
    cells = clusters + sums.size // clusters
    parts = [scores_of_sums(sums @ counts) for counts in draws(clusters, resamples=resamples, seed=seed, cells=cells)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def with_interval(value: float | None, drawn: np.ndarray | None) -> Score:
    """The value with the 2.5th and 97.5th percentile of what the resamples gave, undefined ones left out."""
    kept = np.empty(0) if drawn is None else drawn[~np.isnan(drawn)]
    if value is None or not len(kept):
        return {"value": value, "low": None, "high": None}
    low, high = np.percentile(kept, [2.5, 97.5])
    return {"value": value, "low": float(low), "high": float(high)}


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    quotient = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=quotient, where=denominator > 0)
    return quotient


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """The mean over the first axis of what is not NaN, NaN where nothing is."""
    known = ~np.isnan(values)
    return ratio(np.where(known, values, 0.0).sum(axis=0), known.sum(axis=0))


def defined(value: float) -> float | None:
    """A plain float for JSON, None in place of NaN."""
    return None if np.isnan(value) else float(value)
