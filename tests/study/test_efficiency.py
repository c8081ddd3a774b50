"""The paper's composite score by its records, and what our own promises."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.study.costs import Cost
from jaxpeft.study.efficiency import WEIGHTS, efficiency, paper_efficiency, relative_cost, skill
from jaxpeft.study.paper_table import COMPOSITE

COSTS = list(COMPOSITE.values())
TIMES, TRAINED, TOTALS = ([getattr(one, name) for one in COSTS] for name in ("time", "trained", "total"))
SCORES = [one.score for one in COSTS]


def test_the_papers_nine_scores_are_reproduced():
    assert len(COSTS) == 9
    assert paper_efficiency(TIMES, TRAINED, TOTALS) == pytest.approx(SCORES, abs=1e-4)


def test_the_papers_score_depends_on_who_else_is_there():
    without = paper_efficiency(TIMES[:-1], TRAINED[:-1], TOTALS[:-1])
    assert max(abs(a - b) for a, b in zip(without, SCORES[:-1], strict=True)) > 0.1
    assert paper_efficiency([1, 1], [2, 2], [3, 3]) == [0.0, 0.0]


amounts = st.floats(1e-6, 1e12)
systems = st.builds(Cost, money=amounts, memory_bytes=amounts, storage_bytes=amounts, seconds=amounts)
shares = st.floats(0, 1)
chances = st.floats(0, 0.99)
weights = st.fixed_dictionaries({name: st.floats(0.1, 10) for name in WEIGHTS})


@given(shares, chances, systems, systems, weights, st.sampled_from(list(WEIGHTS)), st.floats(0.01, 1))
def test_cheaper_is_never_worse(quality, chance, system, reference, weights, name, factor):
    cheaper = dataclasses.replace(system, **{name: getattr(system, name) * factor})
    before = efficiency(quality, chance, system, reference, weights)
    assert efficiency(quality, chance, cheaper, reference, weights) >= before * (1 - 1e-9)


@given(shares, shares, chances, systems, systems)
def test_better_is_never_worse(one, other, chance, system, reference):
    low, high = sorted((one, other))
    assert efficiency(high, chance, system, reference) >= efficiency(low, chance, system, reference)


@given(st.lists(systems, min_size=2, max_size=2), systems, systems)
def test_the_order_of_two_does_not_depend_on_the_reference(two, reference, other):
    ratios = [
        efficiency(0.8, 0.5, two[0], against) / efficiency(0.8, 0.5, two[1], against) for against in (reference, other)
    ]
    assert ratios[0] == pytest.approx(ratios[1], rel=1e-6)


def test_the_reference_costs_one_and_half_of_everything_counts_twice():
    reference = Cost(money=2.0, memory_bytes=8e9, storage_bytes=4e8)
    half = Cost(money=1.0, memory_bytes=4e9, storage_bytes=2e8)
    assert relative_cost(reference, reference) == pytest.approx(1)
    assert efficiency(1.0, 0.5, half, reference) == pytest.approx(2)
    assert efficiency(0.4, 0.5, half, reference) == 0  # worse than the majority answer
    assert relative_cost(half, reference, {"money": 1.0}) == pytest.approx(0.5)


def test_an_unknown_cost_leaves_the_score_unknown():
    reference = Cost(money=2.0, memory_bytes=8e9, storage_bytes=4e8)
    assert efficiency(0.9, 0.5, Cost(money=1.0, storage_bytes=1e6), reference) is None
    assert relative_cost(Cost(money=1.0), reference, {"money": 1.0, "memory_bytes": 0.0}) == pytest.approx(0.5)


def test_weights_and_scores_without_sense_are_named():
    reference = Cost(money=2.0)
    with pytest.raises(InputError, match="prestige are no costs"):
        relative_cost(reference, reference, {"prestige": 1.0})
    for bad in ({"money": -1.0, "seconds": 2.0}, {"money": 0.0}, {}):
        with pytest.raises(InputError, match="not all of them 0"):
            relative_cost(reference, reference, bad)
    with pytest.raises(InputError, match="expected scores from 0 to 1"):
        skill(1.2, 0.5)
