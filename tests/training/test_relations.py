"""A run on relations of concepts: marks are words, most pairs are negative, and the scores are of what is not."""

import json
import time

import numpy as np
import pytest

import jaxpeft
from jaxpeft.errors import InputError
from jaxpeft.tasks.relations import METRIC_NAMES
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny

NONE, IMPROVES, CAUSES = LABELS = ("none, so far", "TrIP (improves)", "['TrCP']")


def related_rows(count, seed):
    """Two of three pairs are negative; the relation is told by the third of the vocabulary that words come from."""
    names = {"calm": NONE, "storm": IMPROVES, "wind": CAUSES}
    rows = [row | {"label": names[row["label"]]} for row in tiny.rows(count, seed)]
    rows += [row | {"label": NONE, "text": " ".join(row["text"].split()[:3])} for row in rows]
    return [row | {"text": f"@problem$ {row['text']} @treatment$"} for row in rows]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_data(tmp_path_factory.mktemp("relations"), train=60, make=related_rows)


def experiment(base, folder, **changes):
    return tiny.experiment(base, folder, task="relation_extraction", data__negative_label=NONE, **changes)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, base, folder):
    workdir = Workdir(tmp_path_factory.mktemp("relations") / "run")
    changes = {"train__epochs": 2, "data__negative_share": 0.5, "train__class_weights": "balanced"}
    train(experiment(base, folder, **changes), workdir, started=time.time())
    return workdir


@pytest.fixture(scope="module")
def result(finished):
    return json.loads(finished.result.read_text())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_scores_are_of_the_positive_classes_beside_answering_that_there_is_nothing(result, finished):
    assert result["select_metric"] == "f1_positive_micro"
    assert set(result["metrics"]["test"]) == set(result["majority"]["test"]) == set(METRIC_NAMES)
    found = lines(finished.predictions("test"))
    negatives = np.mean([row["label"] == NONE for row in found])
    assert result["majority"]["test"]["f1_micro_with_negative"] == pytest.approx(negatives)
    assert result["majority"]["test"]["f1_positive_micro"] == 0.0
    right = sum(row["label"] == row["prediction"] != NONE for row in found)
    claimed = sum((row["label"] != NONE) + (row["prediction"] != NONE) for row in found)
    assert result["metrics"]["test"]["f1_positive_micro"]["value"] == pytest.approx(2 * right / claimed)


def test_labels_with_commas_and_brackets_stay_whole(result, finished):
    assert result["labels"] == sorted(LABELS)
    assert set(lines(finished.predictions("test"))[0]["probabilities"]) == set(LABELS)


def test_half_of_the_negative_training_rows_are_left_out_and_counted(result, folder):
    negatives = sum(row["label"] == NONE for row in lines(folder / "train.jsonl"))
    assert result["data_report"]["negative_train_rows_left_out"] == negatives - round(0.5 * negatives)
    assert result["examples"]["train"] == 120 - result["data_report"]["negative_train_rows_left_out"]
    assert result["examples"]["test"] == 80


def test_intervals_resample_patients_and_the_run_restores_to_the_bit(result, finished):
    restored = jaxpeft.load(str(finished.root))
    report = restored.evaluate("test")
    assert report["against_result"]["same"] is True
    assert report["clusters"] == result["clusters"]["test"] == 20
    assert restored.predict(["@problem$ w1 @treatment$"])[0]["prediction"] in LABELS


def test_a_negative_label_that_the_data_lacks_is_refused_before_anything_trains(base, folder, tmp_path):
    config = experiment(base, folder)
    config.data.negative_label = "nothing"
    with pytest.raises(InputError, match=r"data\.negative_label is 'nothing', which is none of the labels"):
        train(config, Workdir(tmp_path), started=time.time())


def test_labels_with_commas_and_brackets_come_through_a_command_line(cli, base, folder, tmp_path):
    config = tiny.write_config(tmp_path / "config.py", experiment(base, folder, peft__method="head", data__buckets=1))
    order, run = (CAUSES, NONE, IMPROVES), tmp_path / "run"
    labels = [f"--config.data.labels={order!r}", f"--config.data.negative_label={NONE}"]
    code, _, error = cli(f"--config={config}", f"--workdir={run}", "--config.train.steps=0", *labels)
    assert code == 0, error
    assert json.loads((run / "result.json").read_text())["labels"] == list(order)
    assert json.loads((run / "config.json").read_text())["data"]["labels"] == list(order)
