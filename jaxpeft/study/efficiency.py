"""Two scores of what a system gives for its cost: the paper's composite, and one that stands by itself.

The paper's (Taylor et al. 2024, arXiv 2402.10597) scales each cost to [0, 1] over the systems plotted, so the largest
system always has 0 and some system 1, and adding one changes every score. It is here to reproduce the paper's figures.

Ours is skill over cost, each against something fixed:

    skill = (quality - chance) / (1 - chance), at least 0      quality in [0, 1], chance: the majority answer's
    cost  = product of (cost_k / reference_k) ^ (weight_k / sum of weights)
    score = skill / cost

The reference is one named system, whose cost is therefore 1: a score of 2 is the skill of a perfect system at half of
the reference's cost. Costs enter as ratios because they have different units, and multiply because a system that is
half as dear in every respect should count twice. It follows that nobody's score depends on who else is compared, that
a lower cost or a higher quality never lowers a score, and that the order of two systems does not depend on the
reference. Money, memory and storage weigh the same; time and operations are told beside them and weigh nothing unless
asked to: an hour's price is in the money already.
"""

import math
from collections.abc import Mapping, Sequence

from jaxpeft.errors import InputError
from jaxpeft.study.costs import AMOUNTS, Cost

WEIGHTS: Mapping[str, float] = {"money": 1.0, "memory_bytes": 1.0, "storage_bytes": 1.0}


def relative_cost(system: Cost, reference: Cost, weights: Mapping[str, float] = WEIGHTS) -> float | None:
    """The weighted geometric mean of cost over reference; None where a cost that weighs is unknown of either.

    Raises InputError for weights that are not of costs, negative, or all 0.
    """
    if unknown := sorted(weights.keys() - set(AMOUNTS)):
        raise InputError(f"weights: {', '.join(unknown)} are no costs; there are {', '.join(AMOUNTS)}")
    total = sum(weights.values())
    if min(weights.values(), default=0) < 0 or not 0 < total < math.inf:
        raise InputError(f"weights: {dict(weights)}, expected numbers from 0, not all of them 0")
    logarithm = 0.0
    for name, weight in weights.items():
        ours, theirs = getattr(system, name), getattr(reference, name)
        if weight == 0:
            continue
        if not ours or not theirs or ours < 0 or theirs < 0:  # nothing costs nothing: an absent figure is unknown
            return None
        logarithm += weight / total * (math.log(ours) - math.log(theirs))
    return math.exp(logarithm)


def skill(quality: float, chance: float) -> float:
    """The share of the way from the majority answer's score to 1 that a score has gone, at least 0."""
    if not (0 <= quality <= 1 and 0 <= chance < 1):
        raise InputError(f"quality {quality} and chance {chance}: expected scores from 0 to 1, chance below 1")
    return max(0.0, (quality - chance) / (1 - chance))


def efficiency(
    quality: float, chance: float, system: Cost, reference: Cost, weights: Mapping[str, float] = WEIGHTS
) -> float | None:
    """Skill over relative cost; None where a cost is unknown. Raises InputError."""
    cost = relative_cost(system, reference, weights)
    return None if cost is None else skill(quality, chance) / cost


def paper_efficiency(times: Sequence[float], trained: Sequence[float], totals: Sequence[float]) -> list[float]:
    """The paper's composite of each system: min-max of -(mean of three min-max scaled costs), over these systems.

    Args:
        times: seconds to the evaluation with the best validation AUROC, evaluations taken out.
        trained: parameters trained without the head. totals: all parameters.
    """
    scaled = [_min_max(values) for values in (times, trained, totals)]
    return _min_max([-sum(system) / 3 for system in zip(*scaled, strict=True)])


def _min_max(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
