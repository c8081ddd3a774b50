"""Texts longer than the model reads, in windows: trained on, pooled or merged, and reported by the text."""

import json
import time

import numpy as np
import pytest

import jaxpeft
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny

WINDOWS = {"data__max_length": 12, "data__long_text": "windows", "data__window_stride": 4, "data__buckets": 1}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def windows_of(tokens, room=10, stride=4):
    """How many windows a text becomes."""
    return 1 if tokens <= room else 1 + -(-(tokens - room) // stride)


@pytest.fixture(scope="module")
def classified(tmp_path_factory, base, data):
    workdir = Workdir(tmp_path_factory.mktemp("windows") / "run")
    train(tiny.experiment(base, data, train__epochs=2, **WINDOWS), workdir, started=time.time())
    return workdir


@pytest.fixture(scope="module")
def tagged(tmp_path_factory, tagged_base, tagged_data):
    workdir = Workdir(tmp_path_factory.mktemp("windows") / "run")
    config = tiny.experiment(tagged_base, tagged_data, task="token_classification", train__epochs=3, **WINDOWS)
    train(config, workdir, started=time.time())
    return workdir


def test_a_text_in_windows_is_one_row_of_the_predictions(classified, data):
    result = json.loads(classified.result.read_text())
    for split in ("validation", "test"):
        rows = lines(data / f"{split}.jsonl")
        assert [row["id"] for row in lines(classified.predictions(split))] == [row["id"] for row in rows]
        assert result["windows"][split] == sum(windows_of(len(row["text"].split())) for row in rows)
        assert result["examples"][split] == len(rows) < result["windows"][split]
    assert set(result["truncated"].values()) == {0}
    steps_per_epoch = -(-result["windows"]["train"] // 8)
    assert result["steps"] == 2 * steps_per_epoch


def test_it_restores_to_the_bit_and_pools_the_logits_of_windows(classified):
    restored = jaxpeft.load(str(classified.root))
    assert restored.evaluate("test")["against_result"]["same"] is True
    text = " ".join(f"w{number}" for number in range(14))  # windows of words 0 to 9 and 4 to 13
    whole, first, last = restored.predict([text, " ".join(text.split()[:10]), " ".join(text.split()[4:])])

    def logits(answer):
        return np.log(list(answer["probabilities"].values()))

    pooled = (logits(first) + logits(last)) / 2
    np.testing.assert_allclose(logits(whole) - logits(whole).mean(), pooled - pooled.mean(), atol=1e-5)


def test_no_word_of_a_long_row_goes_without_an_answer(tagged, tagged_data):
    result = json.loads(tagged.result.read_text())
    assert set(result["words_cut"].values()) == {0}
    rows = lines(tagged_data / "test.jsonl")
    assert result["windows"]["test"] == sum(windows_of(len(row["tokens"])) for row in rows) > len(rows)
    beyond = [
        tag
        for row in lines(tagged.predictions("test"))
        for tag, label in zip(row["predictions"][10:], row["labels"][10:], strict=True)
        if label != "O"
    ]
    assert np.mean([tag != "O" for tag in beyond]) > 0.5


def test_entities_in_windows_restore_to_the_bit(tagged):
    assert jaxpeft.load(str(tagged.root)).evaluate("test")["against_result"]["same"] is True
