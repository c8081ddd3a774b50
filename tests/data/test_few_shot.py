import json
from collections import Counter

import pytest

from jaxpeft.config import Config, DataConfig
from jaxpeft.data.load import load
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.data.splits import make_splits
from jaxpeft.tasks.sequence_classification import SequenceClassification
from jaxpeft.tasks.token_classification import TokenClassification

SHARES = {"common": 600, "rare": 200, "scarce": 5}


def corpus() -> Corpus:
    labels = [label for label, count in SHARES.items() for _ in range(count)]
    return Corpus(
        {
            split: Rows(text=[f"{split} note {i}" for i in range(len(labels))], label=labels)
            for split in ("train", "validation", "test")
        }
    )


def test_so_many_a_label_in_training_and_the_whole_test():
    splits = make_splits(corpus(), few_shot=16, seed=3)
    assert Counter(splits.train.label) == {"common": 16, "rare": 16, "scarce": 5}
    assert Counter(splits.validation.label) == {"common": 128, "rare": 128, "scarce": 5}
    assert splits.test == corpus().splits["test"]
    assert splits.report["few_shot_train_rows_left_out"] == 805 - 37
    assert splits.report["few_shot_validation_rows_left_out"] == 805 - 261


def test_how_often_a_label_is_stays_known_and_how_a_word_is_tagged_does_not():
    splits = make_splits(corpus(), few_shot=16, seed=3)
    assert SequenceClassification(Config(), ("common", "rare")).known(splits) == corpus().splits["train"]
    words = TokenClassification(Config(task="token_classification"), ("O", "B-x", "I-x"))
    assert words.known(splits) == splits.train


def test_labels_that_all_went_to_validation_are_counted():
    labels, patients = ["a", "b"] * 98 + ["rare"] * 4, [f"p{i}" for i in range(196)] + ["last"] * 4
    rows = Rows(text=[f"note {i}" for i in range(200)], label=labels, patient=patients)
    found = {
        make_splits(Corpus({"train": rows, "test": rows.take([0, 1])}, published=True), seed=seed).report[
            "labels_without_training_rows"
        ]
        for seed in range(30)
    }
    assert found == {0, 1}


def test_the_seed_decides_and_fewer_are_part_of_more():
    few, more, other = (
        make_splits(corpus(), few_shot=count, seed=seed).train.text for count, seed in ((16, 3), (64, 3), (16, 4))
    )
    assert set(few) < set(more)
    assert set(few) != set(other)
    assert few == [text for text in corpus().splits["train"].text if text in few]  # in the order of the data
    assert make_splits(corpus(), few_shot=16, seed=3).train.text == few
    assert len(make_splits(corpus(), few_shot=10**6).train) == 805
    assert "few_shot_train_rows_left_out" not in make_splits(corpus()).report


@pytest.mark.parametrize(("with_docs", "rows"), [(True, 12), (False, 4)])
def test_of_entities_so_many_documents_and_in_the_papers_protocol_all(tmp_path, with_docs, rows):
    for split, count in (("train", 300), ("validation", 900), ("test", 30)):
        lines = [{"tokens": ["pain", str(i)], "ner_tags": ["B-problem", "O"]} for i in range(count)]
        if with_docs:
            lines = [{**line, "doc": f"{split} {i // 3}"} for i, line in enumerate(lines)]
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = DataConfig(format="jsonl", path=str(tmp_path), few_shot=4)
    splits = load(config, seed=0, workdir=None, allow_download=False)
    assert len(splits.train) == rows
    assert len(set(splits.train.doc or splits.train.text)) == 4
    assert len(splits.validation) == (384 if with_docs else 128)
    assert len(splits.test) == 30
    config.protocol = "paper"
    assert len(load(config, seed=0, workdir=None, allow_download=False).train) == 300


def test_the_config_asks_for_it(tmp_path):
    rows = [f"note {i},{'yes' if i % 3 else 'no'}\n" for i in range(300)]
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(rows))
    config = DataConfig(format="csv", path=str(tmp_path / "x.csv"), few_shot=5, near_duplicates=False)
    splits = load(config, seed=0, workdir=None, allow_download=False)
    assert Counter(splits.train.label) == {"yes": 5, "no": 5}
    assert "train_test_near" not in splits.report
    assert "train_test_near" in load(DataConfig(format="csv", path=config.path), 0, None, False).report
