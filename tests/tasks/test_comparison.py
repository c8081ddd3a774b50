"""Paired differences: of the right things, as narrow as pairing makes them, and seldom significant by chance."""

import json

import numpy as np
import pytest

from jaxpeft.tasks.comparison import p_value, paired_differences
from jaxpeft.tasks.metrics import METRIC_NAMES, classification_scores


def binary(right, labels):
    """Probabilities whose answer is right where `right` is."""
    answers = np.where(right, labels, 1 - labels)
    return np.where(answers[:, None] == [0, 1], 0.8, 0.2)


def scored(right, labels, groups=None, **settings):
    return classification_scores(labels, binary(right, labels), ["a", "b"], groups, **settings)


def test_a_run_against_itself_differs_by_nothing_with_p_of_one():
    rng = np.random.default_rng(0)
    scores = scored(rng.random(50) < 0.7, rng.integers(0, 2, 50))
    found = paired_differences(scores, scores)
    assert tuple(found) == METRIC_NAMES
    for row in found.values():
        assert (row["difference"], row["low"], row["high"], row["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_the_difference_is_second_minus_first_on_the_same_resamples():
    rng = np.random.default_rng(1)
    labels, groups = rng.integers(0, 2, 300), rng.integers(0, 120, 300)
    right = rng.random(300) < 0.7
    better = right | (rng.random(300) < 0.2)
    first, second = (scored(one, labels, groups.tolist(), seed=4) for one in (right, better))
    found = paired_differences(first, second)["accuracy"]
    assert found["difference"] == pytest.approx(better.mean() - right.mean())
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups.tolist()))}
    cluster = np.array([numbers[group] for group in groups.tolist()])
    gain, rows = (np.bincount(cluster, weights=one) for one in (better.astype(float) - right, np.ones(300)))
    drawn = np.random.default_rng(4).integers(0, len(numbers), size=(1000, len(numbers)))
    expected = gain[drawn].sum(axis=1) / rows[drawn].sum(axis=1)
    assert [found["low"], found["high"]] == pytest.approx(np.percentile(expected, [2.5, 97.5]))
    assert found["p"] == pytest.approx(2 / 1001)  # never worse in any resample
    json.dumps(found, allow_nan=False)


def test_pairing_makes_the_interval_narrower_than_either_score():
    rng = np.random.default_rng(2)
    labels, hard = rng.integers(0, 2, 400), rng.random(400) < 0.3
    first, second = (scored(~hard ^ (rng.random(400) < 0.02), labels) for _ in range(2))
    found = paired_differences(first, second)["accuracy"]
    alone = first.metrics["accuracy"]
    assert found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])


def test_what_is_undefined_in_one_has_no_difference():
    scores = scored(np.array([True, True, False]), np.array([1, 1, 1]))
    row = paired_differences(scores, scores)["auroc_macro"]
    assert row == dict.fromkeys(("first", "second", "difference", "low", "high", "p"))
    single = scored(np.array([True, False]), np.array([0, 1]), ["p", "p"])  # one patient: nothing to resample
    assert paired_differences(single, single)["accuracy"]["p"] is None


def test_p_counts_both_tails_ties_and_the_data_themselves():
    assert p_value(np.array([-1.0] * 3 + [2.0] * 96)) == pytest.approx(2 * 4 / 100)
    assert p_value(np.array([-2.0] * 96 + [1.0] * 3)) == pytest.approx(2 * 4 / 100)
    assert p_value(np.array([0.0] * 5 + [1.0] * 94)) == pytest.approx(2 * 6 / 100)
    assert p_value(np.array([0.0, 0.0, np.nan])) == 1.0
    assert p_value(np.array([np.nan])) is None


def test_scores_of_other_rows_are_refused():
    few, more = (scored(np.ones(rows, bool), np.arange(rows) % 2) for rows in (4, 6))
    with pytest.raises(ValueError, match="4 clusters against 6"):
        paired_differences(few, more)
