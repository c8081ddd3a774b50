"""Point values and intervals of a classifier's scores, against scikit-learn and against plain reasoning."""

import json
import math
import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.tasks.metrics import METRIC_NAMES, classification_scores, majority_scores


@st.composite
def scored_splits(draw):
    """Labels with unseen and missing classes, and probabilities on a coarse grid, so that many tie."""
    classes, rows = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.choice(np.arange(-1, classes - draw(st.integers(0, 1))), size=rows)
    weights = rng.integers(1, draw(st.sampled_from([3, 50])), size=(rows, classes)).astype(np.float64)
    return labels, weights / weights.sum(axis=1, keepdims=True)


def names_of(classes):
    return [f"class {index}" for index in range(classes)]


def point(labels, probabilities):
    scores = classification_scores(labels, probabilities, names_of(probabilities.shape[1]), None, resamples=0)
    return {name: score["value"] for name, score in scores.metrics.items()}


def one_against_rest(metric, labels, probabilities):
    """The metric of each class with both positives and negatives; of two classes, of the second only."""
    columns = [1] if probabilities.shape[1] == 2 else range(probabilities.shape[1])
    both = [column for column in columns if 0 < (labels == column).sum() < len(labels)]
    return [metric(labels == column, probabilities[:, column]) for column in both]


@given(scored_splits())
def test_point_values_are_those_of_scikit_learn(split):
    labels, probabilities = split
    predictions, found = probabilities.argmax(axis=1), point(labels, probabilities)
    occurring = sorted(set(labels[labels >= 0]) | set(predictions))
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(labels, predictions))
    with warnings.catch_warnings(action="ignore"):
        f1 = {
            average: sklearn.metrics.f1_score(labels, predictions, labels=occurring, average=average)
            for average in ("macro", "micro", "weighted")
        }
    assert found["f1_macro"] == pytest.approx(f1["macro"])
    assert found["f1_micro"] == pytest.approx(f1["micro"])
    assert found["f1_weighted"] == (pytest.approx(f1["weighted"]) if (labels >= 0).any() else None)
    for name, metric in (
        ("auroc_macro", sklearn.metrics.roc_auc_score),
        ("auprc_macro", sklearn.metrics.average_precision_score),
    ):
        classes = one_against_rest(metric, labels, probabilities)
        assert found[name] == (pytest.approx(np.mean(classes)) if classes else None)


@given(scored_splits())
@settings(max_examples=30, deadline=None)
def test_without_unseen_labels_f1_micro_is_accuracy_and_brier_is_scikit_learns(split):
    labels, probabilities = split
    labels, probabilities = labels[labels >= 0], probabilities[labels >= 0]
    if not len(labels):
        return
    found = point(labels, probabilities)
    assert found["f1_micro"] == pytest.approx(found["accuracy"])
    expected = sklearn.metrics.brier_score_loss(
        labels, probabilities, labels=range(probabilities.shape[1]), scale_by_half=False
    )
    assert found["brier"] == pytest.approx(expected)


def test_calibration_error_and_brier_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.91, 0.09], [0.4, 0.6], [0.65, 0.35]])
    found = point(np.array([0, 1, 1, -1]), probabilities)
    # Bins: (12/15, 13/15] none; (13/15, 14/15] holds the first two, (8/15, 9/15] the third, (9/15, 10/15] the last.
    assert found["ece"] == pytest.approx((abs(1 - 1.81) + abs(1 - 0.6) + abs(0 - 0.65)) / 4)
    assert found["brier"] == pytest.approx((2 * 0.01 + 2 * 0.91**2 + 2 * 0.16 + 0.65**2 + 0.35**2) / 4)


def test_an_unseen_label_is_a_wrong_row_but_no_class():
    probabilities = np.array([[0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    scores = classification_scores(np.array([0, 1, -1]), probabilities, ["no", "yes"], None)
    values = {name: score["value"] for name, score in scores.metrics.items()}
    assert scores.unseen == 1
    assert values["accuracy"] == pytest.approx(2 / 3)
    assert values["f1_macro"] == pytest.approx((2 / 3 + 1) / 2)  # "no" has precision 1/2
    assert values["f1_micro"] == pytest.approx(2 * 2 / (3 + 2))
    assert scores.per_class[0]["precision"] == 0.5
    assert scores.confusion.tolist() == [[1, 0], [0, 1], [1, 0]]


def test_of_one_class_only_the_ranking_scores_are_undefined_not_zero():
    scores = classification_scores(np.array([1, 1, 1]), np.full((3, 2), 0.5), ["no", "yes"], None)
    assert scores.metrics["auroc_macro"] == {"value": None, "low": None, "high": None}
    assert scores.metrics["auprc_macro"]["value"] is None
    assert scores.metrics["accuracy"] == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_per_class_rows_and_confusion():
    probabilities = np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1], [0.9, 0.05, 0.05]])
    scores = classification_scores(np.array([0, 1, 1, 0]), probabilities, ["a", "b", "c"], None)
    assert scores.confusion.tolist() == [[2, 0, 0], [1, 1, 0], [0, 0, 0]]
    a, b, c = scores.per_class
    assert (a["name"], a["support"], a["predicted"]) == ("a", 2, 3)
    assert (b["precision"], b["recall"], b["f1"]) == (1.0, 0.5, pytest.approx(2 / 3))
    assert b["auroc"] == 1.0
    assert c == {
        "name": "c", "support": 0, "predicted": 0, "precision": None, "recall": None, "f1": None,
        "auroc": None, "auprc": None,
    }  # fmt: skip


@given(scored_splits())
@settings(max_examples=20, deadline=None)
def test_scores_are_json_without_nan(split):
    labels, probabilities = split
    groups = [str(row // 3) for row in range(len(labels))]
    scores = classification_scores(
        labels, probabilities.astype(np.float32), names_of(probabilities.shape[1]), groups, resamples=20
    )
    assert tuple(scores.metrics) == METRIC_NAMES
    json.dumps([scores.metrics, scores.per_class, scores.clusters, scores.few_clusters], allow_nan=False)
    assert {type(part) for score in scores.metrics.values() for part in score.values()} <= {float, type(None)}


def test_the_same_arguments_give_the_same_bits_and_another_seed_another_interval():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 200), rng.dirichlet([1, 1, 1], 200)
    groups = [f"patient {row % 70}" for row in range(200)]
    first, again, other = (
        classification_scores(labels, probabilities, names_of(3), groups, resamples=200, seed=seed)
        for seed in (0, 0, 1)
    )
    assert repr(first.metrics) == repr(again.metrics)
    assert repr(first.metrics) != repr(other.metrics)


def test_clusters_are_groups_else_rows_and_few_below_a_hundred():
    labels, probabilities = np.arange(200) % 2, np.tile([0.4, 0.6], (200, 1))

    def clusters(groups):
        scores = classification_scores(labels, probabilities, ["a", "b"], groups, resamples=10)
        return scores.clusters, scores.few_clusters

    assert clusters(None) == (200, False)
    assert clusters([str(row // 2) for row in range(200)]) == (100, False)
    assert clusters([str(row // 3) for row in range(200)]) == (67, True)


def test_one_cluster_gives_values_without_an_interval():
    scores = classification_scores(np.array([0, 1]), np.array([[0.9, 0.1], [0.8, 0.2]]), ["a", "b"], ["p", "p"])
    assert scores.metrics["accuracy"] == {"value": 0.5, "low": None, "high": None}


def test_grouped_rows_widen_the_interval():
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(120), 5)
    correct = (rng.random(120) < 0.7)[patient]  # all of a patient's rows are right, or none
    labels, probabilities = np.zeros(600, int), np.where(correct[:, None], [0.9, 0.1], [0.1, 0.9])

    def width(groups):
        score = classification_scores(labels, probabilities, ["a", "b"], groups).metrics["accuracy"]
        return score["high"] - score["low"]

    assert width([str(p) for p in patient]) == pytest.approx(math.sqrt(5) * width(None), rel=0.2)


def test_majority_scores_are_those_of_the_constant_answer():
    train, labels = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1, 1])
    found = majority_scores(train, labels, ["a", "b"])
    assert tuple(found) == METRIC_NAMES
    assert found["accuracy"] == pytest.approx(0.4)
    assert found["f1_macro"] == pytest.approx((2 * 2 / 7 + 0) / 2)
    assert found["auroc_macro"] == 0.5
    assert found["auprc_macro"] == pytest.approx(0.6)  # the share of the second class
    assert found["ece"] == pytest.approx(0.75 - 0.4)
    assert found["brier"] == pytest.approx(2 * (0.4 * 0.25**2 + 0.6 * 0.75**2))
    several = majority_scores(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2, 2]), ["a", "b", "c"])
    assert several["auprc_macro"] == pytest.approx((0.2 + 0.2 + 0.6) / 3)


def test_a_constant_answer_is_the_macro_f1_of_the_papers_mortality_table_and_the_majority_beside_it():
    labels = (np.arange(1000) < 104).astype(int)  # 10.4 % die
    noise = np.random.default_rng(0).random(1000)
    ranked = 0.1 + 0.2 * labels + 0.2 * noise  # ranks those who die above the others, and never says so
    found = classification_scores(labels, np.stack([1 - ranked, ranked], axis=1), ["0", "1"], None, resamples=0)
    values = {name: score["value"] for name, score in found.metrics.items()}
    assert values["auroc_macro"] > 0.9  # what hides it
    assert round(values["f1_macro"], 3) == 0.473
    assert majority_scores(labels, labels, ["0", "1"])["f1_macro"] == pytest.approx(values["f1_macro"])
    assert values["ece"] > 0.05


def test_an_empty_split_and_probabilities_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="no rows"):
        classification_scores(np.zeros(0, int), np.zeros((0, 2)), ["a", "b"], None)
    with pytest.raises(InputError, match=r"not finite in 1 of 2 rows: lower train\.learning_rate"):
        classification_scores(np.array([0, 1]), np.array([[0.5, 0.5], [np.nan, np.nan]]), ["a", "b"], None)


@pytest.mark.parametrize(
    ("labels", "classes", "groups", "message"),
    [
        ([0, 1], 3, None, "probabilities are"),
        ([0, 2], 2, None, "labels lie in"),
        ([0, -2], 2, None, "labels lie in"),
        ([0, 1], 2, ["p"], "1 groups for 2 rows"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(labels, classes, groups, message):
    with pytest.raises(ValueError, match=message):
        classification_scores(np.array(labels), np.full((2, 2), 0.5), names_of(classes), groups)
