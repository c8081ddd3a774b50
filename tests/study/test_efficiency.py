"""The paper's composite score by its records, and what our own promises."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.study.efficiency import (
    WEIGHTS,
    Costs,
    costs,
    efficiency,
    paper_efficiency,
    price_of,
    relative_cost,
    skill,
)
from jaxpeft.study.store import Run

# Recorded in the paper's public repository: time scaled to [0, 1], score. Parameters are those of
# test_parameter_counts: trained without the classifier (DistilBERT's pre_classifier counts as trained), and all.
RECORDED = {
    ("TinyBioBERT", "lora"): (0.0037, 59_904, 13_874_762, 1.0),
    ("BioDistilBERT", "lora"): (0.08093, 221_184 + 590_592, 66_955_010, 0.954669),
    ("BioMobileBERT", "lora"): (0.104588, 221_184, 24_582_914, 0.9489),
    ("TinyBioBERT", "full"): (0, 13_874_136, 13_874_762, 0.9391),
    ("BioMobileBERT", "full"): (0.026974, 24_581_888, 24_582_914, 0.8764),
    ("BioBERT", "lora"): (0.288868, 294_912, 108_311_810, 0.8517),
    ("BioDistilBERT", "full"): (0.012326, 66_953_472, 66_955_010, 0.6881),
    ("BioBERT", "full"): (0.089036, 108_310_272, 108_311_810, 0.4595),
    ("Llama-2-7b", "lora"): (1, 4_194_304, 6_607_351_808, 0.0),
}


def test_the_papers_nine_scores_are_reproduced():
    times, trained, totals, scores = zip(*RECORDED.values(), strict=True)
    assert paper_efficiency(times, trained, totals) == pytest.approx(scores, abs=1e-4)


def test_the_papers_score_depends_on_who_else_is_there():
    times, trained, totals, scores = zip(*RECORDED.values(), strict=True)
    without = paper_efficiency(times[:-1], trained[:-1], totals[:-1])
    assert max(abs(a - b) for a, b in zip(without, scores[:-1], strict=True)) > 0.1
    assert paper_efficiency([1, 1], [2, 2], [3, 3]) == [0.0, 0.0]


amounts = st.floats(1e-6, 1e12)
systems = st.builds(Costs, money=amounts, memory_bytes=amounts, storage_bytes=amounts, seconds=amounts)
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
    reference = Costs(money=2.0, memory_bytes=8e9, storage_bytes=4e8)
    half = Costs(money=1.0, memory_bytes=4e9, storage_bytes=2e8)
    assert relative_cost(reference, reference) == pytest.approx(1)
    assert efficiency(1.0, 0.5, half, reference) == pytest.approx(2)
    assert efficiency(0.4, 0.5, half, reference) == 0  # worse than the majority answer
    assert relative_cost(half, reference, {"money": 1.0}) == pytest.approx(0.5)


def test_an_unknown_cost_leaves_the_score_unknown():
    reference = Costs(money=2.0, memory_bytes=8e9, storage_bytes=4e8)
    assert efficiency(0.9, 0.5, Costs(money=1.0, storage_bytes=1e6), reference) is None
    assert relative_cost(Costs(money=1.0), reference, {"money": 1.0, "memory_bytes": 0.0}) == pytest.approx(0.5)


def test_weights_and_scores_without_sense_are_named():
    reference = Costs(money=2.0)
    with pytest.raises(InputError, match="prestige are no costs"):
        relative_cost(reference, reference, {"prestige": 1.0})
    for bad in ({"money": -1.0, "seconds": 2.0}, {"money": 0.0}, {}):
        with pytest.raises(InputError, match="not all of them 0"):
            relative_cost(reference, reference, bad)
    with pytest.raises(InputError, match="expected scores from 0 to 1"):
        skill(1.2, 0.5)


def test_costs_of_a_run_are_its_results(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"12345")
    result = {
        "timing": {"train_s": 360.0},
        "steps": 40,
        "tested_step": 10,
        "trainable_params": 7,
        "memory": {"peak_bytes": 99, "device": "NVIDIA H100 80GB HBM3 x 1"},
    }
    found = costs(Run("a", {}, tmp_path, {}, json.loads(json.dumps(result)), None), {"a100": 1.0, "h100": 3.0})
    assert found == Costs(
        seconds=360.0,
        seconds_to_best=90.0,
        money=pytest.approx(0.3),
        memory_bytes=99,
        storage_bytes=5,
        trained=7,
    )
    assert costs(Run("b", {}, tmp_path / "none", {}, {}, None), {}) == Costs()
    assert price_of("cpu x 1", {"h100": 3.0}) is None
