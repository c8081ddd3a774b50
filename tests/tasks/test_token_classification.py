"""Tags to labels of tokens, logits to tags, and what is said of them; nothing of the notes."""

import json

import numpy as np
import pytest

from jaxpeft.config import Config
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
