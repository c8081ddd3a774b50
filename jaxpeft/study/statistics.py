"""What a study's scores support: a system's score over seeds and patients, and differences of systems.

A system (a model, a method, its settings) is trained with S seeds, and every trained model is tested on some
patients. Its score would vary over other patients and over other seeds, and an interval holds both:

- patients  every run is scored on resamples of the patients that it was tested on, and runs tested on the same
            ones on the same resamples, so that the mean over seeds of these draws varies as the mean score
            would over other patients, and what is hard for two systems cancels out of their difference;
- seeds     the scores of S seeds vary among themselves by s^2, of which a part is chance of the patients: what
            one trained model gets right and the other does not. The draws know it: (V1 - Vm) S / (S - 1), with V1
            the variance of a single run's draws and Vm that of their mean. The rest, over S, is the variance that
            other seeds would add to the mean.

A weighted sum of systems is drawn as the sum of their draws, and each draw gets a deviate for the seeds: of Student's
t, scaled by what the seeds add to the sum, with the degrees of freedom that variances estimated from S scores each
leave it (Satterthwaite 1946). Of a system with one seed nothing is known about other seeds: the interval is over
patients alone, and `seeds` says so.

`tests/study/test_statistics.py` simulates it: intervals hold the truth about 95 times in a hundred, and of two equally
good systems one is called better about one time in twenty.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxpeft.tasks.clusters import with_interval
from jaxpeft.tasks.comparison import p_value

RESAMPLES = 1000  # of the patients, for every run


@dataclasses.dataclass(frozen=True)
class Sample:
    """The scores of one system on one task: a run a seed."""

    values: np.ndarray  # [S]
    drawn: np.ndarray | None  # [S, RESAMPLES], NaN where undefined; None where a run's predictions are not to be had

    @property
    def seeds(self) -> int:
        """How many runs there are."""
        return len(self.values)


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores."""

    value: float
    low: float | None  # of 95 %; None where there are no draws
    high: float | None
    p: float | None  # two-sided, that the value be 0
    seeds: int  # of the system with the fewest: with 1, other seeds are not in the interval


def estimate(*terms: tuple[float, Sample], seed: int = 0) -> Estimate:
    """The weighted sum of mean scores: `estimate((1, first))`, or `estimate((1, second), (-1, first))`."""
    value = float(sum(weight * sample.values.mean() for weight, sample in terms))
    seeds = min(sample.seeds for _, sample in terms)
    means = [(weight, sample.drawn.mean(axis=0)) for weight, sample in terms if sample.drawn is not None]
    if len(means) < len(terms):
        return Estimate(value, None, None, None, seeds)
    drawn = np.sum([weight * mean for weight, mean in means], axis=0) + _deviates(terms, seed)
    interval = with_interval(value, drawn)
    return Estimate(value, interval["low"], interval["high"], p_value(drawn), seeds)


def _deviates(terms: Sequence[tuple[float, Sample]], seed: int) -> np.ndarray | float:
    """What other seeds would add to a sum of mean scores: deviates [RESAMPLES], or 0 where nothing is known of it."""
    parts = [(weight**2 * _variance_by_seeds(sample), sample.seeds) for weight, sample in terms if sample.seeds > 1]
    variance = sum(part for part, _ in parts)
    if not variance:
        return 0.0
    from scipy.special import stdtrit  # slow to import

    freedom = variance**2 / sum(part**2 / (seeds - 1) for part, seeds in parts)
    resamples = max(sample.drawn.shape[1] for _, sample in terms if sample.drawn is not None)
    shares = (np.random.default_rng(seed).permutation(resamples) + 0.5) / resamples
    deviates: np.ndarray = np.sqrt(variance) * stdtrit(freedom, shares)
    return deviates


def _variance_by_seeds(sample: Sample) -> float:
    """The variance that other seeds would give the mean score, beyond what resampled patients give it."""
    if sample.drawn is None or np.isnan(sample.drawn).all(axis=1).any():
        return 0.0
    single, mean = np.nanvar(sample.drawn, axis=1).mean(), np.var(_known(sample.drawn.mean(axis=0)))
    by_patients = (single - mean) * sample.seeds / (sample.seeds - 1)
    return float(max(sample.values.var(ddof=1) - max(by_patients, 0.0), 0.0) / sample.seeds)


def _known(values: np.ndarray) -> np.ndarray:
    known = values[~np.isnan(values)]
    return known if len(known) else np.zeros(1)


def best_of(samples: Sequence[Sample]) -> tuple[int, list[float | None]]:
    """The place of the highest mean score, and the p-value of its lead over each of the others (None: untested).

    It is the best for sure, as far as seeds and patients go, only where every p is below 0.05. Of two equally good
    systems one comes to that one time in twenty, of more less often.
    """
    best = int(np.argmax([sample.values.mean() for sample in samples]))
    leads = [
        None if place == best else estimate((1.0, samples[best]), (-1.0, sample)).p
        for place, sample in enumerate(samples)
    ]
    return best, leads
