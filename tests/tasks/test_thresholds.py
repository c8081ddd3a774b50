"""Thresholds at a chosen sensitivity."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.tasks.thresholds import scores_at, threshold_for, threshold_report


def columns(scores):
    return np.stack([1 - np.asarray(scores), np.asarray(scores)], axis=1)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=30),
    st.sampled_from([0.01, 0.07, 0.5, 0.8, 0.9, 0.95, 1.0]),
)
def test_the_threshold_is_the_highest_that_reaches_the_sensitivity(rows, sensitivity):
    scores, positive = np.array([score for score, _ in rows]) / 9, np.array([one for _, one in rows])
    found = threshold_for(sensitivity, positive, scores)
    if not positive.any():
        assert found is None
        return

    def reached(threshold):
        return (scores[positive] >= threshold).mean()

    assert reached(found) >= sensitivity - 1e-9
    assert all(reached(higher) < sensitivity - 1e-9 for higher in scores[scores > found])


def test_rounding_does_not_ask_for_one_row_too_many():
    scores = np.arange(100) / 100
    assert threshold_for(0.07, np.ones(100, bool), scores) == scores[-7]  # 0.07 * 100 > 7 in floats


def test_counts_by_hand_and_the_threshold_itself_is_positive():
    positive = np.array([True, True, True, False, False])
    found = scores_at(0.5, positive, np.array([0.5, 0.9, 0.4, 0.6, 0.1]), None).metrics
    assert [found[name]["value"] for name in ("sensitivity", "specificity", "ppv", "npv")] == [
        2 / 3,
        1 / 2,
        2 / 3,
        1 / 2,
    ]
    assert found["sensitivity"]["low"] < 2 / 3 < found["sensitivity"]["high"]


def test_what_has_no_rows_is_undefined():
    found = scores_at(0.5, np.array([False, False]), np.array([0.1, 0.2]), None).metrics
    assert found["sensitivity"] == found["ppv"] == {"value": None, "low": None, "high": None}
    assert found["specificity"]["value"] == found["npv"]["value"] == 1.0


def test_intervals_resample_groups():
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 5)
    scores = rng.random(100)[patient]
    positive = np.ones(500, bool)

    def width(groups):
        score = scores_at(0.3, positive, scores, groups).metrics["sensitivity"]
        return score["high"] - score["low"]

    assert width(patient.tolist()) == pytest.approx(5**0.5 * width(None), rel=0.25)


def test_chosen_on_validation_measured_on_test():
    validation = np.array([1, 1, 1, 1, 1, 0]), columns([0.9, 0.8, 0.7, 0.6, 0.2, 0.1])
    test = np.array([1, 1, 0, -1]), columns([0.65, 0.3, 0.6, 0.05])
    found = threshold_report(validation, test, None, ["calm", "storm"], sensitivities=[0.8, 1.0])
    assert [(point["aimed_at"], point["threshold"]) for point in found] == [(0.8, 0.6), (1.0, 0.2)]
    first = {name: score["value"] for name, score in found[0]["test"].items()}
    # the unseen label is not positive, and rightly not taken for it
    assert first == {"sensitivity": 0.5, "specificity": 0.5, "ppv": 0.5, "npv": 0.5}
    assert {(point["positive"], point["positive_rows"]) for point in found} == {("storm", 2)}
    json.dumps(found, allow_nan=False)


def test_either_class_may_be_the_positive_one():
    labels, chances = np.array([1, 1, 0, 0, 0]), columns([0.9, 0.2, 0.3, 0.1, 0.6])
    second = threshold_report((labels, chances), (labels, chances), None, ["a", "b"])
    turned = 1 - labels, chances[:, ::-1]
    assert threshold_report(turned, turned, None, ["b", "a"], positive=0) == second


def test_no_positives_no_threshold_and_other_than_two_classes_none_at_all():
    rows = np.array([0, 0]), columns([0.2, 0.3])
    assert threshold_report(rows, rows, None, ["a", "b"], sensitivities=[0.9]) == [
        {"positive": "b", "positive_rows": 0, "aimed_at": 0.9, "threshold": None, "test": None}
    ]
    three = np.array([0, 1]), np.full((2, 3), 1 / 3)
    assert threshold_report(three, three, None, ["a", "b", "c"]) is None
