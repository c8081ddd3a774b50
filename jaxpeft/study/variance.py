"""Which of the settings that a grid varies explain how its scores differ: shares of their variance.

Where every combination of L1 x L2 x ... levels was trained with S seeds, the squares about the mean of all scores fall
apart, without overlap, into a part of each factor, a part of all that factors do together beyond that (interactions)
and a part within combinations, which is the seeds'. Each but the last also has what seeds do to means: as often as it
has degrees of freedom, the mean square of the seeds. That is deducted (epsilon squared, Kelley 1935), so that a factor
without effect has 0 on average, and a share may be a little below it; eta squared is the share before. The shares
have the sum 1. With one seed what seeds and interactions do is one part, and is deducted as the seeds' would be.

An interval is a bootstrap over patients and seeds: every run's score on the same resample of the test patients, and
in each combination a resample of its seeds' deviations from their mean, widened by S / (S - 1), which is the part of
their variance that resampling S of S loses. Resampled scores vary by chance twice over, so the draws of a share are
moved to where it was found.

`tests/study/test_variance.py` simulates it: shares are right on average, and intervals hold them.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxpeft.study.statistics import RESAMPLES
from jaxpeft.tasks.clusters import with_interval


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the variance."""

    freedom: int  # degrees of it
    share: float  # of all squares, what chance gives it deducted
    low: float | None  # of 95 %; None where there is nothing to draw
    high: float | None
    eta_squared: float  # of all squares, as they are


@dataclasses.dataclass(frozen=True)
class Parts:
    """One part a factor, then their interactions and the seeds; `groups` overlap with these."""

    factors: list[Part]
    interactions: Part | None  # None with one seed, where they are in `rest`
    rest: Part  # the seeds, with one seed also the interactions
    groups: list[Part]


def decompose(
    scores: np.ndarray, drawn: np.ndarray | None, groups: Sequence[np.ndarray] = (), *, seed: int = 0
) -> Parts | None:
    """The parts of scores [L1, L2, ..., S], of two factors or more; None where all scores are equal.

    `drawn` are the scores on resampled patients [L1, L2, ..., S, RESAMPLES]. Each of `groups` [L1, L2, ...] numbers
    combinations that have something in common, from 0.
    """
    if np.ptp(scores) <= 1e-9:
        return None
    shares, etas, freedom = (found[..., 0] for found in _shares(scores[..., None], groups))
    redrawn = _redrawn(scores, drawn, seed)
    draws = [None] * len(shares) if redrawn is None else _shares(redrawn, groups)[0]
    parts = []
    for one_freedom, share, eta, draw in zip(freedom, shares, etas, draws, strict=True):
        moved = None if draw is None else np.clip(draw - np.nanmean(draw) + share, 0, 1)
        found = with_interval(float(share), moved)
        parts.append(Part(int(one_freedom), float(share), found["low"], found["high"], float(eta)))
    factors, several = scores.ndim - 1, scores.shape[-1] > 1
    first_group = factors + 1 + several
    interactions = parts[factors] if several else None
    return Parts(parts[:factors], interactions, parts[first_group - 1], parts[first_group:])


def _shares(scores: np.ndarray, groups: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of scores [L1, ..., S, B] the shares [parts, B], those before chance is deducted, and the degrees of freedom."""
    exclusive, freedom = _squares(scores)
    noise, total = exclusive[-1] / freedom[-1], sum(exclusive)
    chance = [degrees * noise for degrees in freedom]
    chance[-1] = chance[-1] - sum(freedom) * noise  # what the others lose is the seeds'
    of_groups = [_between(scores, group) for group in groups]
    squares = np.stack([*exclusive, *(found for found, _ in of_groups)])
    chance += [degrees * noise for _, degrees in of_groups]
    degrees = np.array([*freedom, *(one for _, one in of_groups)])[:, None]
    with np.errstate(invalid="ignore", divide="ignore"):  # of a resample in which all scores are equal
        return (squares - np.stack(chance)) / total, squares / total, degrees


def _squares(scores: np.ndarray) -> tuple[list[np.ndarray], list[int]]:
    """Squares [B] and degrees of freedom of each factor, of the interactions and, of several, of the seeds."""
    *levels, seeds, _ = scores.shape
    axes, runs = tuple(range(len(levels))), math.prod(levels) * seeds
    cells = scores.mean(axis=-2)  # [L1, ..., B]
    cells = cells - cells.mean(axis=axes)
    squares = []
    for axis, count in enumerate(levels):
        means = cells.mean(axis=tuple(other for other in axes if other != axis))  # [L, B]
        squares.append(runs / count * np.square(means).sum(axis=0))
    freedom = [count - 1 for count in levels]
    squares.append(seeds * np.square(cells).sum(axis=axes) - sum(squares))
    freedom.append(math.prod(levels) - 1 - sum(freedom))
    if seeds > 1:
        within = scores - scores.mean(axis=-2, keepdims=True)
        squares.append(np.square(within).sum(axis=(*axes, -2)))
        freedom.append(runs - math.prod(levels))
    return squares, freedom


def _between(scores: np.ndarray, group: np.ndarray) -> tuple[np.ndarray, int]:
    """Squares [B] and degrees of freedom between groups [L1, ...] of combinations."""
    cells = scores.mean(axis=-2)
    cells = cells - cells.mean(axis=tuple(range(group.ndim)))
    of_each = [cells[group == number] for number in range(int(group.max()) + 1)]  # [combinations, B] each
    squares = sum(len(one) * np.square(one.mean(axis=0)) for one in of_each)
    return scores.shape[-2] * np.asarray(squares), len(of_each) - 1


def _redrawn(scores: np.ndarray, drawn: np.ndarray | None, seed: int) -> np.ndarray | None:
    """The scores [L1, ..., S, RESAMPLES] over other patients and other seeds; None where neither can be drawn."""
    seeds = scores.shape[-1]
    if drawn is None and seeds == 1:
        return None
    found = np.repeat(scores[..., None], RESAMPLES, axis=-1) if drawn is None else drawn
    if seeds == 1:
        return found
    means = found.mean(axis=-2, keepdims=True)
    chosen = np.random.default_rng(seed).integers(seeds, size=found.shape)
    deviations: np.ndarray = np.take_along_axis(found - means, chosen, axis=-2)
    return means + math.sqrt(seeds / (seeds - 1)) * deviations
