"""The benchmark of quality on toy sets of each task: one scorer for both sides, and it goes on where it was."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import quality_vs_hf_peft as quality
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import text_encoder
from jaxpeft.tasks.registry import task_of
from jaxpeft.training.evaluation import prepare
from tests import tiny


def related(count, seed):
    return [row | {"label": "none" if row["label"] == "calm" else row["label"]} for row in tiny.rows(count, seed)]


ROWS = {"nicta_piboso": tiny.rows, "ncbi_disease": tiny.tagged_rows, "maccrobat_re": related}


@pytest.fixture
def make(tmp_path):
    """`quality.experiment` at toy size."""
    base = tiny.write_base(tmp_path / "base", tiny.tagged_tensors())

    def make(*arguments):
        config = quality.experiment(*arguments)
        config.model.ref, config.data.max_length, config.data.buckets = str(base), 32, 1
        return config

    return make


@pytest.mark.filterwarnings("ignore:Precision loss occurred:RuntimeWarning")  # toy seeds may reach one score
@pytest.mark.parametrize("name", ROWS)
def test_both_sides_are_trained_and_scored_and_nothing_twice(name, make, tmp_path, monkeypatch):
    data = tiny.write_data(tmp_path / name, train=20, validation=4, test=8, make=ROWS[name])
    given = {"steps": 2, "seeds": range(1, 3), "methods": ("lora",), "make": make}
    table = quality.benchmark(str(data), tmp_path / "out", **given)
    report = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    runs = [(run["seed"], run["side"]) for run in report["runs"]]
    assert runs == [(seed, side) for seed in (1, 2) for side in quality.SIDES]
    assert all(0 <= run["score"] <= 1 for run in report["runs"])
    assert report["metric"] == quality.SETS[name].metric in table
    found = report["difference"]["lora"]
    assert found["seeds"] == 2
    assert found["low"] <= found["value"] <= found["high"]
    for side in ("run_ours", "run_torch"):
        monkeypatch.setattr(quality, side, None)
    assert quality.benchmark(str(data), tmp_path / "out", **given) == table
    with pytest.raises(SystemExit, match="name another --json"):
        quality.benchmark(str(data), tmp_path / "out", **given | {"steps": 3})


def test_the_peer_sees_the_labels_of_first_pieces_and_nothing_else(make, tmp_path):
    config = make("lora", 1, str(tmp_path / "ncbi_disease"), 1)
    task = task_of(config, ("O", "B-x", "I-x"))
    rows = Rows(text=["w1 w2-w3", "w4"], tokens=[["w1", "w2-w3"], ["w4"]], tags=[["O", "B-x"], ["I-x"]])
    encoder = text_encoder(Path(config.model.ref), lowercase="auto", max_length=32, reads_words=True)
    examples = prepare(rows, encoder, task, None)
    labels = [row.tolist() for row in quality.labels_of(task, examples)]
    assert labels == [[-100, 0, 1, -100, -100, -100], [-100, 2, -100]]
    logits = [np.eye(3)[[0, 0, 1, 2, 2, 0]], np.eye(3)[[1, 2, 1]]]
    assert task.answers(quality.answering(logits, examples), examples) == [["O", "B-x"], ["I-x"]]


def test_a_seed_that_one_side_alone_has_run_counts_for_neither():
    ours, theirs = (
        [{"method": "full", "seed": seed, "side": side, "score": score} for seed, score in enumerate(scores)]
        for side, scores in zip(quality.SIDES, ([0.5, 0.6, 0.9], [0.4, 0.6]), strict=True)
    )
    found = quality.differences({"runs": [*ours, *theirs]})["full"]
    assert (found["seeds"], found["value"]) == (2, pytest.approx(0.05))
    assert "low" in found
