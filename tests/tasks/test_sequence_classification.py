"""Labels to numbers, probabilities to the rows of a prediction file."""

import json

import numpy as np
import pytest

from jaxpeft.data.rows import Rows
from jaxpeft.tasks.sequence_classification import encode_labels, prediction_rows

PROBABILITIES = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)


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
    found = list(prediction_rows(rows, PROBABILITIES, ["no", "yes"]))
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
    found = list(prediction_rows(rows, np.full((3, 2), 0.5), ["no", "yes"]))
    assert [row["group"] for row in found] == ([0, 1, 0] if patients else [0, 1, 1])


def test_id_group_and_label_are_left_out_where_the_data_has_none():
    found = list(prediction_rows(Rows(text=["a", "b"]), PROBABILITIES, ["no", "yes"]))
    assert [sorted(row) for row in found] == [["prediction", "probabilities", "row"]] * 2


def test_probabilities_of_other_rows_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 2\), expected \(1, 2\)"):
        list(prediction_rows(Rows(text=["a"]), PROBABILITIES, ["no", "yes"]))
