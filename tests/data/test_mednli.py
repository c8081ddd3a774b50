import json
from pathlib import Path

import pytest

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.rows import Rows
from jaxpeft.data.splits import make_splits
from jaxpeft.errors import InputError

SECRET = "Wickersham"


def pair(first: str, second: str, label, id: str = "a") -> dict:
    return {"sentence1": first, "sentence2": second, "gold_label": label, "pairID": id, "sentence1_parse": "()"}


def write(root: Path, **changes: list[dict]) -> Path:
    for split in ("train", "dev", "test"):
        rows = changes.get(split) or [
            pair(f"{split} one", f"{split} two", label) for label in ("entailment", "neutral")
        ]
        (root / f"mli_{split}_v1.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def error(root: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(DataConfig(format="mednli"), str(root))
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_pairs(tmp_path):
    rows = [
        pair("no fever", "has fever", "contradiction", "x"),
        pair("cough", "coughs", "entailment", "y"),
        pair("no fever", "is well", "neutral", "z") | {"label": "not read", "tokens": "neither"},
    ]
    corpus = read(DataConfig(format="mednli"), str(write(tmp_path, train=rows)))
    assert corpus.splits["train"] == Rows(
        text=["no fever", "cough", "no fever"],
        text_pair=["has fever", "coughs", "is well"],
        label=["contradiction", "entailment", "neutral"],
        doc=["1", "2", "1"],
        id=["x", "y", "z"],
    )
    splits = make_splits(corpus)
    assert splits.labels == ("contradiction", "entailment", "neutral")
    assert splits.validation.text == ["dev one", "dev one"]


def test_a_first_sentence_in_two_splits_is_one_document(tmp_path):
    splits = make_splits(
        read(DataConfig(format="mednli"), str(write(tmp_path, test=[pair("train one", "b", "neutral")])))
    )
    assert (splits.report["train_test_docs"], splits.report["train_test"]) == (1, 0)


def test_pairs_that_annotators_did_not_agree_on_are_counted(tmp_path):
    corpus = read(
        DataConfig(format="mednli"), str(write(tmp_path, dev=[pair("a", "b", "-"), pair("a", "c", "neutral")]))
    )
    assert len(corpus.splits["validation"]) == 1
    assert corpus.report == {"pairs_without_gold_label": 1}


@pytest.mark.parametrize(
    "row",
    [
        pair(SECRET, "b", "maybe"),
        pair(SECRET, "b", ["neutral"]),
        {"sentence1": SECRET, "gold_label": "neutral"},
        {"sentence2": SECRET, "gold_label": "neutral"},
        {"text": SECRET},
    ],
)
def test_what_is_no_pair_is_named_by_line(tmp_path, row):
    message = error(write(tmp_path, dev=[pair("a", "b", "neutral"), row]))
    assert "mli_dev_v1.jsonl:2: expected sentence1, sentence2, and a gold_label of contradiction" in message


def test_missing_files_are_named(tmp_path):
    assert "no file mli_train_v1.jsonl, mli_dev_v1.jsonl, mli_test_v1.jsonl in it" in error(tmp_path)
    write(tmp_path)
    (tmp_path / "mli_dev_v1.jsonl").write_text("{broken")
    assert "mli_dev_v1.jsonl:1: column 2: broken JSON" in error(tmp_path)
    write(tmp_path, dev=[pair("a", "b", "-")])
    assert "mli_dev_v1.jsonl: no rows" in error(tmp_path)
    write(tmp_path, dev=[pair("a", " ", "neutral")])
    assert "column 'sentence2' (text_pair) should hold non-empty text" in error(tmp_path)
