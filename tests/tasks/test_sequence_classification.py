"""Labels to numbers, probabilities to the rows of a prediction file."""

import json

import numpy as np
import pytest

from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.tasks.sequence_classification import POOLING, SequenceClassification, encode_labels, pool

LOGITS = np.log(np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32))


def prediction_rows(rows, logits=LOGITS):
    return list(SequenceClassification(Config(), ("no", "yes")).prediction_rows(logits, rows))


def test_labels_become_their_index_and_unseen_ones_minus_one():
    found = encode_labels(["yes", "no", "maybe"], ["no", "yes"])
    assert found.tolist() == [1, 0, -1]
    assert found.dtype == np.int32


def test_prediction_rows_hold_the_answer_and_never_the_text_or_whose_it_is():
    rows = Rows(
        text=["SECRET one", "SECRET two"],
        text_pair=["SECRET", "SECRET"],
        label=["yes", "maybe"],
        id=["n7", "n8"],
        patient=["SECRET", "SECRET"],
        doc=["SECRET", "SECRET"],
    )
    found = prediction_rows(rows)
    for row in found:
        row["probabilities"] = {name: round(value, 6) for name, value in row["probabilities"].items()}
    assert found == [
        {"row": 0, "id": "n7", "group": 0, "label": "yes", "prediction": "yes",
         "probabilities": {"no": 0.25, "yes": 0.75}},
        {"row": 1, "id": "n8", "group": 0, "label": "maybe", "prediction": "no",
         "probabilities": {"no": 0.5, "yes": 0.5}},
    ]  # fmt: skip
    assert "SECRET" not in json.dumps(found)


@pytest.mark.parametrize("patients", [["b", "a", "b"], None])
def test_rows_of_one_patient_or_else_document_share_a_group(patients):
    rows = Rows(text=["x"] * 3, patient=patients, doc=["1", "2", "2"])
    found = prediction_rows(rows, np.zeros((3, 2), np.float32))
    assert [row["group"] for row in found] == ([0, 1, 0] if patients else [0, 1, 1])


def test_id_group_and_label_are_left_out_where_the_data_has_none():
    found = prediction_rows(Rows(text=["a", "b"]))
    assert [sorted(row) for row in found] == [["prediction", "probabilities", "row"]] * 2


def test_answers_for_other_rows_are_refused():
    with pytest.raises(ValueError, match="zip"):
        prediction_rows(Rows(text=["a"]))


LOGITS_OF_WINDOWS = np.array([[1, 5], [3, 0], [2, 1], [0, 2], [6, 2]], np.float32)
ROW_OF = np.array([0, 0, 1, 2, 2])


@pytest.mark.parametrize(("how", "expected"), [("mean", [[2, 2.5], [2, 1], [3, 2]]), ("max", [[3, 5], [2, 1], [6, 2]])])
def test_the_logits_of_windows_are_pooled_by_row(how, expected):
    found = pool(LOGITS_OF_WINDOWS, ROW_OF, how)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


def test_attention_pools_by_how_much_a_window_decides():
    found = pool(LOGITS_OF_WINDOWS, ROW_OF, "attention")
    expected = [[1.755081, 3.112297], [2, 1], [4.386351, 2]]  # weights 1 and exp(-1/2); exp(-1) and 1
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("how", POOLING)
def test_rows_of_one_window_keep_their_logits_to_the_bit(how):
    assert pool(LOGITS_OF_WINDOWS, np.arange(5), how) is LOGITS_OF_WINDOWS
    np.testing.assert_array_equal(pool(LOGITS_OF_WINDOWS, ROW_OF, how)[1], LOGITS_OF_WINDOWS[2])
