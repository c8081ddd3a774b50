"""The paper's counts are the libraries' that it calls, and how far they lie from ours."""

import numpy as np
import pytest
import sklearn.metrics
from seqeval.metrics import f1_score

from jaxpeft.data.bio import spans_of_tags
from jaxpeft.tasks.entity_scores import entity_scores
from jaxpeft.tasks.paper_protocol import labels_of_pieces, micro_f1_with_negative, piece_f1
from jaxpeft.tasks.relations import relation_scores

TAGS = ["O", "B-A", "I-A", "B-B", "I-B"]


def test_piece_f1_is_seqevals_default_mode():
    rng = np.random.default_rng(0)
    for _ in range(1000):
        gold, predicted = ([rng.choice(TAGS, words).tolist() for words in (4, 7)] for _ in range(2))
        assert piece_f1(gold, predicted) == pytest.approx(f1_score(gold, predicted, zero_division=0))


def test_b_is_copied_to_every_piece_and_special_tokens_have_no_label():
    words = [None, 0, 0, 1, 2, 2, None]
    assert labels_of_pieces(["B-A", "I-A", "O"], words) == [None, "B-A", "B-A", "I-A", "O", "O", None]


def test_a_word_without_a_piece_shifts_all_labels_behind_it():
    assert labels_of_pieces(["O", "O", "B-A", "O"], [0, 2, 3]) == ["O", "O", "B-A"]  # word 3 gets word 2's label


def test_a_long_word_counts_as_many_entities_in_the_papers_count_and_one_in_ours():
    tags, answers = ["B-A", "O", "B-B"], ["B-A", "O", "O"]  # one entity of two is found, and it is the long one
    words = [0, 0, 0, 0, 1, 2]
    theirs = piece_f1([labels_of_pieces(tags, words)], [labels_of_pieces(answers, words)])
    ours = entity_scores([spans_of_tags(tags)], [spans_of_tags(answers)], None, resamples=0).metrics["f1_strict"]
    assert theirs == pytest.approx(2 * 4 / (5 + 4))
    assert ours["value"] == pytest.approx(2 * 1 / (2 + 1))


def test_a_stray_inside_tag_is_an_entity_in_the_papers_count_and_none_in_ours():
    tags, answers = ["B-A", "I-A"], ["I-A", "I-A"]
    assert piece_f1([tags], [answers]) == 1.0
    assert entity_scores([spans_of_tags(tags)], [spans_of_tags(answers)], None).metrics["f1_strict"]["value"] == 0.0


def test_special_tokens_are_left_out():
    assert piece_f1([[None, "B-A", None]], [["B-B", "B-A", "B-B"]]) == 1.0
    assert piece_f1([[None]], [["B-A"]]) == 0.0


def test_always_false_is_854_in_the_papers_count_and_0_in_ours():
    labels, answers = np.array([1] * 854 + [0] * 146), np.ones(1000, int)
    theirs = micro_f1_with_negative(labels, answers)
    assert theirs == pytest.approx(0.854)
    assert theirs == pytest.approx(sklearn.metrics.f1_score(labels, answers, average="micro"))
    ours = relation_scores(labels, np.eye(2)[answers], ["TrAP", "false"], None, negative_label="false", resamples=0)
    assert ours.metrics["f1_positive_micro"]["value"] == 0.0
    assert ours.metrics["f1_micro_with_negative"]["value"] == theirs
