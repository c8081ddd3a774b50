"""Intervals and paired tests over seeds and patients, held to simulations in which the truth is known."""

import numpy as np
import pytest

from jaxpeft.study.statistics import Sample, best_of, estimate

PATIENTS, RESAMPLES, SIMULATIONS = 120, 400, 200
DRAWN = [  # the resamples of three test sets
    np.random.default_rng(seed).multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=RESAMPLES) / PATIENTS
    for seed in range(3)
]


def simulate(rng, seeds, *, systems=2, by_seed=0.1, ahead=0.0, same_patients=True):
    """Systems whose true score is 0 (the first's `ahead`): patients are hard for all, seeds and runs err on their own.

    With `same_patients` all runs are tested on the same ones, else each seed of both systems on its own.
    """
    tests = 1 if same_patients else seeds
    hard = rng.normal(size=(tests, PATIENTS))
    samples = []
    for system in range(systems):
        own = hard + 0.3 * rng.normal(size=(tests, PATIENTS))  # patients that are hard for this system
        runs = np.broadcast_to(own, (seeds, PATIENTS)) + 0.7 * rng.normal(size=(seeds, PATIENTS))
        runs = runs + by_seed * rng.normal(size=(seeds, 1)) + (ahead if system == 0 else 0.0)
        drawn = np.stack([DRAWN[seed % tests] @ runs[seed] for seed in range(seeds)])
        samples.append(Sample(runs.mean(axis=1), drawn))
    return samples


@pytest.mark.parametrize(
    ("seeds", "by_seed", "same_patients"), [(1, 0.0, True), (3, 0.0, True), (3, 0.15, True), (3, 0.1, False)]
)
def test_intervals_hold_the_truth_and_equal_systems_seldom_differ(seeds, by_seed, same_patients):
    rng = np.random.default_rng(seeds)
    held = differ = 0
    for _ in range(SIMULATIONS):
        first, second = simulate(rng, seeds, by_seed=by_seed, same_patients=same_patients)
        found = estimate((1.0, first))
        held += found.low <= 0 <= found.high
        differ += estimate((1.0, first), (-1.0, second)).p < 0.05
    assert 0.90 <= held / SIMULATIONS <= 0.99
    assert 0.01 <= differ / SIMULATIONS <= 0.085


def test_patients_alone_would_call_equal_systems_different():
    rng, differ = np.random.default_rng(0), 0
    for _ in range(50):
        first, second = simulate(rng, 3, by_seed=0.3)
        alone = [Sample(sample.values[:1], sample.drawn.mean(axis=0, keepdims=True)) for sample in (first, second)]
        differ += estimate((1.0, alone[0]), (-1.0, alone[1])).p < 0.05
    assert differ / 50 > 0.3  # what the part for seeds is there to prevent


def test_one_of_two_equal_systems_is_best_about_one_time_in_twenty_and_of_four_less_often():
    rng = np.random.default_rng(1)

    def share(systems):
        found = [best_of(simulate(rng, 3, systems=systems)) for _ in range(SIMULATIONS)]
        return sum(all(p < 0.05 for p in leads if p is not None) for _, leads in found) / SIMULATIONS

    assert 0.01 <= share(2) <= 0.085
    assert share(4) <= 0.05


def test_a_system_that_is_better_is_found():
    rng = np.random.default_rng(2)
    first, second = simulate(rng, 3, by_seed=0.05, ahead=0.5)
    best, leads = best_of([second, first])
    assert best == 1
    assert leads[1] is None
    assert leads[0] < 0.05
    assert estimate((1.0, first), (-1.0, second)).low > 0


def test_a_mean_over_pairs_is_narrower_than_one_pair():
    rng = np.random.default_rng(3)
    pairs = [simulate(rng, 3) for _ in range(6)]
    one = estimate((1.0, pairs[0][0]), (-1.0, pairs[0][1]))
    all_of_them = estimate(*[term for a, b in pairs for term in ((1 / 6, a), (-1 / 6, b))])
    assert all_of_them.high - all_of_them.low < one.high - one.low


def test_without_draws_there_is_a_score_and_no_interval():
    known = simulate(np.random.default_rng(4), 2)[0]
    found = estimate((1.0, Sample(np.array([0.4, 0.6]), None)), (-1.0, known))
    assert found.value == pytest.approx(0.5 - known.values.mean())
    assert (found.low, found.high, found.p) == (None, None, None)


def test_undefined_draws_are_left_out():
    drawn = np.full((2, 100), np.nan)
    assert estimate((1.0, Sample(np.array([0.4, 0.6]), drawn))).low is None
    drawn[:, :50] = np.random.default_rng(0).normal(0.5, 0.01, size=(2, 50))
    found = estimate((1.0, Sample(np.array([0.4, 0.6]), drawn)))
    assert found.low < 0.5 < found.high
