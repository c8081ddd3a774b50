"""Scores of relations against scikit-learn, against resamples scored one by one, and the constant answer's."""

import warnings

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.tasks.metrics import classification_scores
from jaxpeft.tasks.relations import METRIC_NAMES, always_negative_scores, index_of_negative, relation_scores

NAMES = ["PIP", "TeRP", "false", "TrAP"]
NEGATIVE = 2


def values(labels, probabilities, **settings):
    scores = relation_scores(labels, probabilities, NAMES, None, negative_label="false", resamples=0, **settings)
    return {name: score["value"] for name, score in scores.metrics.items()}


@st.composite
def pairs(draw):
    rng, rows = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 30))
    frequencies = np.array([draw(st.sampled_from([0, 0.05])), 0.1, 0.2, 0.6, 0.1])
    labels = rng.choice([-1, 0, 1, NEGATIVE, 3], size=rows, p=frequencies / frequencies.sum())
    return labels, rng.dirichlet(np.ones(4), rows)


@given(pairs())
def test_scores_are_those_of_scikit_learn_over_the_positive_labels(case):
    labels, probabilities = case
    predictions, found = probabilities.argmax(axis=1), values(*case)
    positives = [-1, 0, 1, 3]  # an unseen label is a positive one that nothing finds
    with warnings.catch_warnings(action="ignore"):
        scores = [
            metric(labels, predictions, labels=positives, average="micro", zero_division=np.nan)
            for metric in (sklearn.metrics.f1_score, sklearn.metrics.precision_score, sklearn.metrics.recall_score)
        ]
        occurring = [one for one in positives[1:] if one in {*labels, *predictions}]
        macro = sklearn.metrics.f1_score(labels, predictions, labels=occurring, average="macro") if occurring else None
    for name, expected in zip(("f1", "precision", "recall"), scores, strict=True):
        assert found[f"{name}_positive_micro"] == (None if np.isnan(expected) else pytest.approx(expected))
    assert found["f1_macro"] == (None if macro is None else pytest.approx(macro))
    everything = sklearn.metrics.f1_score(labels, predictions, average="micro")
    assert found["f1_micro_with_negative"] == found["accuracy"] == pytest.approx(everything)


def test_by_hand():
    labels = np.array([0, 0, 1, NEGATIVE, NEGATIVE, NEGATIVE, -1])
    answers = [0, NEGATIVE, 3, NEGATIVE, NEGATIVE, 0, NEGATIVE]  # right, missed, confused, -, -, invented, unseen
    found = values(labels, np.eye(4)[answers])
    assert found["f1_positive_micro"] == pytest.approx(2 * 1 / (4 + 3))
    assert (found["precision_positive_micro"], found["recall_positive_micro"]) == (1 / 3, 1 / 4)
    assert found["f1_macro"] == pytest.approx((2 * 1 / (2 + 2) + 0 + 0) / 3)
    assert found["f1_micro_with_negative"] == pytest.approx(3 / 7)


def test_always_negative_scores_high_in_the_papers_count_and_nothing_in_ours():
    labels = np.array([NEGATIVE] * 854 + [0] * 50 + [1] * 50 + [3] * 46)
    found = always_negative_scores(labels, NAMES, "false")
    assert tuple(found) == METRIC_NAMES
    assert found["f1_micro_with_negative"] == pytest.approx(0.854)
    assert found["f1_positive_micro"] == found["f1_macro"] == found["recall_positive_micro"] == 0.0
    assert found["precision_positive_micro"] is None
    assert found["auroc_macro"] == 0.5


def test_resamples_score_as_their_gathered_rows():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.choice([-1, 0, 1, 2, 2, 2, 3], 30), rng.dirichlet(np.ones(4), 30)
    documents = np.arange(30) % 6
    scores = relation_scores(labels, probabilities, NAMES, documents, negative_label="false", resamples=25, seed=3)
    for resample, drawn in enumerate(np.random.default_rng(3).integers(0, 6, size=(25, 6))):
        rows = np.concatenate([np.flatnonzero(documents == number) for number in drawn])
        for name, value in values(labels[rows], probabilities[rows]).items():
            assert scores.drawn[name][resample] == pytest.approx(value, abs=1e-8), name
    assert scores.clusters == 6
    assert set(scores.metrics) == set(scores.drawn) == set(METRIC_NAMES)


def test_what_any_classifier_has_is_unchanged():
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 4, 40), rng.dirichlet(np.ones(4), 40)
    ours = relation_scores(labels, probabilities, NAMES, None, negative_label="false")
    plain = classification_scores(labels, probabilities, NAMES, None)
    assert ours.per_class == plain.per_class
    assert all(ours.metrics[name] == plain.metrics[name] for name in ("accuracy", "auroc_macro", "ece", "brier"))


@pytest.mark.parametrize("negative", [0, 1])
def test_of_two_classes_what_is_ranked_is_the_relation(negative):
    rng = np.random.default_rng(2)
    labels, probabilities = (rng.random(200) < 0.1).astype(int), rng.dirichlet(np.ones(2), 200)
    names = ["false", "TrAP"] if negative == 0 else ["TrAP", "false"]
    found = relation_scores(labels, probabilities, names, None, negative_label="false")
    relation = 1 - negative
    expected = sklearn.metrics.average_precision_score(labels == relation, probabilities[:, relation])
    assert found.metrics["auprc_macro"]["value"] == pytest.approx(expected)
    assert found.drawn["auprc_macro"].mean() == pytest.approx(expected, abs=0.05)


def test_without_a_positive_pair_there_is_no_f1():
    found = values(np.full(5, NEGATIVE), np.eye(4)[[NEGATIVE] * 5])
    assert found["f1_positive_micro"] is found["f1_macro"] is None
    assert found["f1_micro_with_negative"] == 1.0


def test_a_negative_label_that_is_no_label_is_refused():
    with pytest.raises(InputError, match=r"data\.negative_label is 'none', which is none of the labels PIP"):
        relation_scores(np.array([0]), np.eye(4)[[0]], NAMES, None, negative_label="none")


def test_labels_that_read_like_notes_are_not_shown():
    with pytest.raises(InputError) as raised:
        index_of_negative("none", ["mrs. quennell, aged 80, has gout", "b"])
    assert "quennell" not in str(raised.value)
