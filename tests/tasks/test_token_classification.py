"""Tags to labels of tokens, logits to tags, and what is said of them; nothing of the notes."""

import dataclasses
import json

import numpy as np
import pytest

from jaxpeft.config import Config
from jaxpeft.data.bio import Span
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded, Examples
from jaxpeft.errors import InputError
from jaxpeft.tasks.entity_scores import METRIC_NAMES
from jaxpeft.tasks.token_classification import TokenClassification

TASK = TokenClassification(Config(task="token_classification"), TokenClassification.classes_of(["x", "y"]))
OUT, BX, IX, BY = range(4)
ROWS = Rows(
    text=["SECRET"] * 3,
    tokens=[["SECRET", "b", "c"], [], ["b", "d"]],
    tags=[["B-x", "I-x", "O"], [], ["O", "B-y"]],
    patient=["SECRET", "SECRET", "other"],
    id=["n1", "n2", "n3"],
)
# Row 0 is read in two windows; its word 1 has no token; word 2 is two tokens. Row 1 is empty. In row 2 a word is cut.
ENCODED = Encoded(
    ids=np.arange(13, dtype=np.int32),
    starts=np.array([0, 3, 7, 9, 13]),
    row_of=np.array([0, 0, 1, 2]),
    words=np.array([-1, 0, -1, -1, 2, 2, -1, -1, -1, -1, 0, 0, -1]),
    leads=np.array([0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0], bool),
    words_cut=1,
)
EXAMPLES = Examples(ROWS, ENCODED)


def logits_of(*answers):
    return np.eye(5, dtype=np.float32)[list(answers)]


def test_classes_are_outside_first_then_both_tags_of_each_type():
    assert TASK.classes == ("O", "B-x", "I-x", "B-y", "I-y")
    assert TASK.types == ("x", "y")


def test_each_word_is_labelled_on_the_token_that_answers_for_it_and_nothing_else_weighs():
    targets = TASK.targets(EXAMPLES)
    assert targets.of_tokens
    np.testing.assert_array_equal(targets.weight, ENCODED.leads)
    np.testing.assert_array_equal(targets.label[ENCODED.leads], [BX, OUT, OUT])
    assert not targets.label[~ENCODED.leads].any()


def test_answers_go_to_their_words_and_words_without_a_token_are_outside():
    assert TASK.answers(logits_of(BX, IX, BY), EXAMPLES) == [["B-x", "O", "I-x"], [], ["B-y", "O"]]


def test_logits_that_are_no_numbers_are_refused():
    logits = logits_of(BX, IX, BY)
    logits[1] = np.nan
    with pytest.raises(InputError, match="not finite in 1 of 3 words"):
        TASK.answers(logits, EXAMPLES)


def test_scores_are_of_strict_spans_by_patient():
    answers = [["B-x", "I-x", "I-x"], [], ["I-y", "B-y"]]
    scores = TASK.scores(answers, EXAMPLES)
    assert scores.clusters == 2
    assert scores.metrics["f1_strict"]["value"] == pytest.approx(0.5)
    assert scores.metrics["f1_partial"]["value"] == pytest.approx(0.75)
    assert [row["name"] for row in scores.per_class] == ["x", "y"]
    assert scores.report().keys() == {"metrics", "few_clusters", "clusters", "per_class"}


def test_the_baseline_gives_words_the_tag_that_they_had_most_often():
    train = Rows(
        text=[""] * 2,
        tokens=[["a", "b", "a", "c"], ["a", "c"]],
        tags=[["B-x", "I-x", "O", "B-y"], ["B-x", "I-y"]],  # a: B-x twice; c: a tie, which goes to the first name
    )
    rows = Rows(text=[""], tokens=[["a", "b", "new", "c"]], tags=[["B-x", "I-x", "O", "B-y"]])
    assert TASK.majority(train, rows)["f1_strict"] == 1.0
    assert TASK.majority(train, rows).keys() == set(METRIC_NAMES)
    assert TASK.majority(rows, train)["f1_strict"] == pytest.approx(2 * 3 / (4 + 4))


def test_prediction_rows_hold_tags_and_entities_and_no_text():
    found = list(TASK.prediction_rows([["B-x", "O", "I-x"], [], ["B-y", "I-y"]], ROWS))
    assert found == [
        {"row": 0, "id": "n1", "group": 0, "labels": ["B-x", "I-x", "O"], "predictions": ["B-x", "O", "I-x"],
         "entities": [{"start": 0, "end": 1, "type": "x"}]},
        {"row": 1, "id": "n2", "group": 0, "labels": [], "predictions": [], "entities": []},
        {"row": 2, "id": "n3", "group": 1, "labels": ["O", "B-y"], "predictions": ["B-y", "I-y"],
         "entities": [{"start": 0, "end": 2, "type": "y"}]},
    ]  # fmt: skip
    assert "SECRET" not in json.dumps(found)


def test_entities_of_a_text_have_characters_too():
    rows = TASK.readable(Rows(text=["no chest pain."]))
    assert list(TASK.said([["O", "B-x", "I-x", "O"]], rows)) == [
        {"entities": [{"start": 1, "end": 3, "type": "x", "start_character": 3, "end_character": 13}]}
    ]
    words = TASK.readable(Rows(text=["no pain"], tokens=[["no", "pain"]]))
    assert list(TASK.said([["O", "B-y"]], words)) == [{"entities": [{"start": 1, "end": 2, "type": "y"}]}]


def test_rows_of_other_tasks_are_refused():
    with pytest.raises(InputError, match="task token_classification wants words with tags"):
        TASK.check(Rows(text=["a"], label=["x"]))
    with pytest.raises(InputError, match="not in pairs"):
        TASK.readable(Rows(text=["a"], text_pair=["b"]))


# "63yo of Rome", a line of a document that begins at 100; the owner marked the age inside of a word, and all of Rome.
DEIDENTIFIED = Rows(
    text=["63yo of Rome"],
    tokens=[["63yo", "of", "Rome"]],
    starts=[[100, 105, 108]],
    tags=[["B-AGE", "O", "B-CITY"]],
    spans=[[Span(100, 102, "AGE"), Span(108, 112, "CITY")]],
)


def entities_of(types, protocol="fixed"):
    config = Config(task="token_classification")
    config.data.protocol = protocol
    return TokenClassification(config, TokenClassification.classes_of(types))


def examples_of(rows, words):
    """Rows of one example each; `words` is the word of each of its tokens, -1 for a special one."""
    flat = np.concatenate(words)
    leads = (flat >= 0) & (np.diff(flat, prepend=-2) != 0)
    lengths = [len(one) for one in words]
    starts, row_of = np.concatenate([[0], np.cumsum(lengths)]), np.arange(len(words))
    return Examples(rows, Encoded(np.zeros(len(flat), np.int32), starts, row_of, words=flat, leads=leads))


def test_where_the_owner_marks_characters_they_are_scored_too():
    examples = examples_of(DEIDENTIFIED, [[-1, 0, 1, 2, -1]])
    metrics = entities_of(["AGE", "CITY"]).scores([["B-AGE", "O", "B-CITY"]], examples).metrics
    assert metrics["f1_strict"]["value"] == 1.0
    assert metrics["f1_strict_characters"]["value"] == 0.5  # 100:104 is not 100:102
    assert metrics["f1_relaxed_characters"]["value"] == 1.0  # but only two characters longer
    assert metrics["f1_strict_hipaa_characters"]["value"] == 0.5
    assert len(metrics) == len(METRIC_NAMES) + 12


def test_types_that_are_no_identifiers_have_no_scores_of_those_that_the_law_names():
    rows = dataclasses.replace(DEIDENTIFIED, tags=[["B-EVENT", "O", "O"]], spans=[[Span(100, 104, "EVENT")]])
    scores = entities_of(["EVENT"]).scores([["B-EVENT", "O", "O"]], examples_of(rows, [[-1, 0, 1, 2, -1]]))
    assert scores.metrics["f1_strict_characters"]["value"] == 1.0
    assert scores.metrics.keys() - set(METRIC_NAMES) == {
        f"{name}_{kind}_characters" for name in ("f1", "precision", "recall") for kind in ("strict", "relaxed")
    }
    assert entities_of(["EVENT"]).majority(rows, rows)["f1_strict_characters"] == 1.0


def test_the_papers_count_is_over_pieces_and_only_where_its_protocol_is_chosen():
    rows = Rows(text=[""], tokens=[["a", "b", "c"]], tags=[["B-x", "O", "B-x"]])
    examples = examples_of(rows, [[-1, 0, 0, 0, 1, 2, -1]])  # the first word has three pieces
    answers = [["B-x", "O", "O"]]
    assert entities_of(["x"]).scores(answers, examples).metrics.keys() == set(METRIC_NAMES)
    metrics = entities_of(["x"], "paper").scores(answers, examples).metrics
    assert metrics["f1_strict"]["value"] == pytest.approx(2 / 3)  # one of two found
    assert metrics["paper_f1_pieces"] == {"value": pytest.approx(6 / 7), "low": None, "high": None}  # three of four


@pytest.mark.parametrize("kept", ["tail", "head_tail"])
def test_the_papers_count_has_no_meaning_where_texts_lose_more_than_their_end(kept):
    task = entities_of(["x", "y"], "paper")
    task.config.data.long_text = kept
    rows = Rows(text=[""], tokens=[["a", "b", "c"]], tags=[["O", "O", "B-x"]])
    metrics = task.scores([["O", "O", "B-x"]], examples_of(rows, [[-1, 2, -1]])).metrics
    assert metrics["paper_f1_pieces"]["value"] is None


def test_the_papers_count_has_no_meaning_for_rows_in_windows():
    assert entities_of(["x", "y"], "paper").scores([["O"] * 3, [], ["O"] * 2], EXAMPLES).metrics["paper_f1_pieces"] == {
        "value": None, "low": None, "high": None,
    }  # fmt: skip
