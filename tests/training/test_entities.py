"""A run that finds entities: what it leaves, that it restores to the bit, and what it answers."""

import json
import shutil
import time

import numpy as np
import pytest

import jaxpeft
from jaxpeft.data.bio import spans_of_tags
from jaxpeft.errors import InputError
from jaxpeft.tasks.entity_scores import METRIC_NAMES, entity_scores
from jaxpeft.training.restore import predict_file
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny

CLASSES = ["O", "B-calm", "I-calm", "B-storm", "I-storm"]


@pytest.fixture(scope="module")
def result(finished_entities):
    return json.loads(finished_entities.result.read_text())


@pytest.fixture(scope="module")
def restored(finished_entities):
    return jaxpeft.load(str(finished_entities.root))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_finds_entities_and_says_what_knowing_the_words_would_find(result):
    assert result["labels"] == CLASSES
    assert result["select_metric"] == "f1_strict"
    for split in ("validation", "test"):
        assert set(result["metrics"][split]) == set(result["majority"][split]) == set(METRIC_NAMES)
        found = result["metrics"][split]["f1_strict"]
        assert 0.5 < found["low"] < found["value"] < found["high"]
        assert 0.5 < result["majority"][split]["f1_strict"] < 1
        assert [row["name"] for row in result["per_class"][split]] == ["calm", "storm"]
    assert "calibration" not in result


def test_the_validation_scores_are_those_of_entities_and_the_best_step_has_the_best(finished_entities, result):
    evaluated = [record for record in lines(finished_entities.metrics) if "validation" in record]
    assert set(evaluated[0]["validation"]) == set(METRIC_NAMES)
    best = max(evaluated, key=lambda record: record["validation"]["f1_strict"])
    assert best["validation"]["f1_strict"] == result["metrics"]["validation"]["f1_strict"]["value"]


def test_predictions_are_tags_and_entities_of_every_row_and_give_the_scores(finished_entities, tagged_data, result):
    for split in ("validation", "test"):
        rows, found = lines(tagged_data / f"{split}.jsonl"), lines(finished_entities.predictions(split))
        assert [one["labels"] for one in found] == [row["ner_tags"] for row in rows]
        assert [one["id"] for one in found] == [row["id"] for row in rows]
        for one in found:
            spans = [(entity["start"], entity["end"], entity["type"]) for entity in one["entities"]]
            assert spans == spans_of_tags(one["predictions"])
        gold, predicted = ([spans_of_tags(one[name]) for one in found] for name in ("labels", "predictions"))
        again = entity_scores(gold, predicted, [one["group"] for one in found])
        assert again.metrics == result["metrics"][split]


def test_its_pictures_are_of_types(finished_entities):
    assert {path.name for path in finished_entities.plots.iterdir()} == {"learning_curve.png", "types_test.png"}


def test_a_restored_run_scores_the_same_to_the_bit(finished_entities, tmp_path):
    shutil.copytree(finished_entities.root, tmp_path / "run")
    report = jaxpeft.load(str(tmp_path / "run")).evaluate("test")
    assert report["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}
    assert "equals result.json" in tiny.run("--mode=evaluate", f"--workdir={tmp_path / 'run'}").stdout


def test_words_get_the_entities_of_the_run(restored, finished_entities, tagged_data):
    rows, recorded = lines(tagged_data / "test.jsonl"), lines(finished_entities.predictions("test"))
    found = restored.predict([row["tokens"] for row in rows])
    assert found == [{"entities": one["entities"]} for one in recorded]
    assert restored.predict([]) == []


def test_a_text_gets_its_entities_in_words_and_in_characters(restored):
    text = "w40  w0 w41."  # its words: w, 40, w, 0, ...: known to no vocabulary, so all that is asked is where they are
    (found,) = restored.predict([text])
    for entity in found["entities"]:
        assert text[entity["start_character"] : entity["end_character"]].strip()
    (of_words,) = restored.predict([["w", "40", "w", "0", "w", "41", "."]])
    spans = [[(one["start"], one["end"], one["type"]) for one in said["entities"]] for said in (found, of_words)]
    assert spans[0] == spans[1]


def test_predict_adds_entities_to_the_rows_of_a_file(restored, tagged_data, tmp_path):
    rows = [{"tokens": row["tokens"], "text": "another", "n": 1} for row in lines(tagged_data / "test.jsonl")[:3]]
    source, target = tiny.write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.jsonl"
    assert predict_file(restored, source, target) == 3
    expected = restored.predict([row["tokens"] for row in rows])
    assert lines(target) == [row | said for row, said in zip(rows, expected, strict=True)]
    texts = tiny.write_jsonl(tmp_path / "texts.jsonl", [{"text": "w0 w1"}])
    predict_file(restored, texts, target)
    assert lines(target) == [{"text": "w0 w1"} | restored.predict(["w0 w1"])[0]]
    with pytest.raises(InputError, match=r"expected a name that ends in \.jsonl$"):
        predict_file(restored, source, tmp_path / "out.csv")


def test_its_adapter_says_what_it_is_for(finished_entities):
    labels = json.loads((finished_entities.adapter / "labels.json").read_text())
    assert (labels["task"], labels["labels"]) == ("token_classification", CLASSES)
    settings = json.loads((finished_entities.adapter / "adapter_config.json").read_text())
    assert settings["task_type"] == "TOKEN_CLS"


def test_it_shares_a_base_with_a_classifier(finished_entities, tagged_base, data, tmp_path):
    cheap = {"peft__method": "head", "train__steps": 2, "data__buckets": 1}
    train(tiny.experiment(tagged_base, data, **cheap), Workdir(tmp_path / "weather"), started=time.time())
    adapters = jaxpeft.adapters()
    adapters.attach("weather", str(tmp_path / "weather"))
    adapters.attach("entities", str(finished_entities.root))
    found = adapters.predict([["w1", "w2"]])
    assert found == jaxpeft.load(str(finished_entities.root)).predict([["w1", "w2"]])
    adapters.switch("weather")
    assert adapters.predict(["w1 w2"])[0]["prediction"] in tiny.LABELS


def test_a_long_row_is_cut_its_words_beyond_are_outside_and_counted(tmp_path, tagged_base, tagged_data):
    cheap = {"peft__method": "head", "train__steps": 2, "data__buckets": 1, "data__max_length": 8}
    config = tiny.experiment(tagged_base, tagged_data, task="token_classification", **cheap)
    result = train(config, Workdir(tmp_path / "head"), started=time.time())
    beyond = [max(0, len(row["tokens"]) - 6) for row in lines(tagged_data / "test.jsonl")]
    assert result["words_cut"]["test"] == sum(beyond)
    assert result["truncated"]["test"] == np.count_nonzero(beyond)
    for count, row in zip(beyond, lines(Workdir(tmp_path / "head").predictions("test")), strict=True):
        assert row["predictions"][len(row["predictions"]) - count :] == ["O"] * count


def test_new_text_is_read_to_its_end_however_long(restored, tagged_data):
    rows = lines(tagged_data / "test.jsonl")
    words = [word for row in rows[:12] for word in row["tokens"]]
    (found,) = restored.predict([words])
    assert len(words) > 2 * tiny.SIZES["max_position_embeddings"]
    beyond = [entity for entity in found["entities"] if entity["start"] >= tiny.SIZES["max_position_embeddings"]]
    gold = spans_of_tags([tag for row in rows[:12] for tag in row["ner_tags"]])
    right = {(entity["start"], entity["end"], entity["type"]) for entity in beyond} & set(gold)
    assert len(right) > len(beyond) / 3 > 0


def test_texts_with_labels_are_not_for_this_task(tmp_path, base, data):
    config = tiny.experiment(base, data, task="token_classification")
    with pytest.raises(InputError, match="wants words with tags"):
        train(config, Workdir(tmp_path / "run"), started=time.time())
