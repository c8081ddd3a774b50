"""A quick look at what benchmarks/coverage.py measures at length."""

import numpy as np
import pytest

from benchmarks import coverage

SETTINGS = {"simulations": 60, "resamples": 200}


def test_95_percent_intervals_hold_the_truth_about_95_percent_of_the_time():
    found = coverage.interval_coverage(200, seed=0, **SETTINGS)
    assert found.keys() == {"accuracy", "auroc_macro"}
    assert all(0.88 <= share <= 0.99 for share in found.values())


@pytest.mark.parametrize("simulate", [coverage.classifiers, coverage.taggers])
def test_equal_systems_are_told_apart_about_one_time_in_twenty(simulate):
    found = coverage.false_positives(simulate, 100, seed=1, **SETTINGS)
    assert 0.01 <= np.mean(list(found.values())) <= 0.1


def test_the_simulations_truth_is_that_of_a_large_split():
    (scores,) = coverage.classifiers(np.random.default_rng(0), 30_000, systems=1, resamples=0, seed=0)
    for name, truth in coverage.TRUTH.items():
        assert scores.metrics[name]["value"] == pytest.approx(truth, abs=0.006)
