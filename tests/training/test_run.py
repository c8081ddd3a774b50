"""What a finished run leaves, and what starting it again does."""

import contextlib
import io
import json
import time

import numpy as np
import pytest

from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.tasks.metrics import METRIC_NAMES
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny


@pytest.fixture(scope="module")
def result(finished):
    return json.loads(finished.result.read_text())


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_step_is_logged_once(finished):
    records = lines(finished.metrics)
    assert [record["step"] for record in records] == list(range(1, 61))
    assert [record["step"] for record in records if "validation" in record] == [10, 20, 30, 40, 50, 60]
    assert set(records[9]["validation"]) == set(METRIC_NAMES)
    assert all(record.keys() >= {"loss", "learning_rate"} for record in records)


def test_the_loss_falls(finished):
    losses = [record["loss"] for record in lines(finished.metrics)]
    assert np.mean(losses[30:]) < np.mean(losses[:30]) - 0.05  # halves: a step's loss varies by as much


def test_the_result_has_every_field_that_is_promised(result):
    promised = {
        "task", "method", "model", "base_sha256", "seeds", "peft_params", "head_params", "trainable_params",
        "total_params", "steps", "best_step", "metrics", "majority", "few_clusters", "timing", "memory", "versions",
        "ignored_tensors", "new_tensors", "flops",
    }  # fmt: skip
    assert promised <= result.keys()
    assert result["seeds"] == {"data": 12, "init": 12, "dropout": 12}
    assert result["trainable_params"] == result["peft_params"] + result["head_params"]
    assert result["peft_params"] == 3 * 2 * 2 * 24 * 8
    assert result["new_tensors"] == ["classifier.kernel", "classifier.bias"]
    assert len(result["base_sha256"]) == 64
    assert result["timing"].keys() == {
        "time_to_first_step_s", "compile_s", "train_s", "eval_s", "examples_per_s", "tokens_per_s",
    }  # fmt: skip
    assert all(seconds > 0 for seconds in result["timing"].values())
    assert result["flops"] > 0
    assert result["memory"].keys() == {"peak_bytes", "device", "how"}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_score_has_its_interval_and_a_majority_beside_it(result, split):
    assert set(result["metrics"][split]) == set(result["majority"][split]) == set(METRIC_NAMES)
    for score in result["metrics"][split].values():
        assert score["low"] < score["high"]
    assert result["few_clusters"] is True
    assert result["metrics"]["test"]["accuracy"]["value"] > result["majority"]["test"]["accuracy"]


def test_calibration_is_of_both_splits_and_thresholds_of_two_classes_only(result):
    calibration = result["calibration"]
    assert calibration["temperature"] > 0
    for split in ("validation", "test"):
        assert calibration[split]["ece"]["before"] == pytest.approx(result["metrics"][split]["ece"]["value"])
        assert calibration[split]["nll"].keys() == {"before", "after"}
    assert calibration["validation"]["nll"]["after"] <= calibration["validation"]["nll"]["before"]
    assert result["thresholds"] is None


def test_predictions_follow_the_data_and_hold_no_text(finished, data, result):
    for split in ("validation", "test"):
        rows, found = lines(data / f"{split}.jsonl"), lines(finished.predictions(split))
        assert [one["row"] for one in found] == list(range(len(rows)))
        for row, one in zip(rows, found, strict=True):
            assert one.keys() == {"row", "id", "group", "label", "prediction", "probabilities"}
            assert one["group"] == one["row"] // 2  # two rows a patient
            assert (one["id"], one["label"]) == (row["id"], row["label"])
            assert sum(one["probabilities"].values()) == pytest.approx(1)
            assert max(one["probabilities"], key=one["probabilities"].get) == one["prediction"]
        right = np.mean([one["label"] == one["prediction"] for one in found])
        assert right == pytest.approx(result["metrics"][split]["accuracy"]["value"])


def test_the_workdir_holds_what_is_promised_and_no_checkpoints(finished):
    assert {path.name for path in finished.root.iterdir()} == {
        "config.json", "result.json", "metrics.jsonl", "predictions", "best", "tensorboard", "plots", "data",
        "adapter",
    }  # fmt: skip
    assert {path.name for path in finished.plots.iterdir()} == {
        "calibration_test.png", "confusion_test.png", "learning_curve.png", "precision_recall_test.png", "roc_test.png",
    }  # fmt: skip
    assert finished.cache.stat().st_mode & 0o777 == 0o700


def test_started_again_it_prints_its_result_and_changes_nothing(finished, base, data, capsys):
    before = contents(finished.root)
    again = train(tiny.experiment(base, data), finished, started=time.time())
    assert again == json.loads(finished.result.read_text())
    assert contents(finished.root) == before
    shown = capsys.readouterr().out
    assert "is finished" in shown
    assert f"tested at step {again['tested_step']}" in shown
    assert "f1_macro" in shown


def test_a_folder_of_an_earlier_version_lacks_a_field_and_is_still_this_config_s(tmp_path):
    workdir, config = Workdir(tmp_path / "run"), Config(name="x")
    workdir.claim(config)
    values = json.loads(workdir.config.read_text())
    del values["diagnostics"]
    workdir.config.write_text(json.dumps(values))
    workdir.append_metrics({"step": 1})  # it has begun: only its own config may go on
    workdir.claim(config)
    config.diagnostics.forgetting_texts = 5
    with pytest.raises(InputError, match=r"forgetting_texts is 128 there and 5 here"):
        workdir.claim(config)


def test_another_config_is_refused_with_the_fields_that_differ(finished, base, data):
    before = contents(finished.root)
    config = tiny.experiment(base, data, peft__lora__rank=4, train__clip=None)
    with pytest.raises(InputError) as raised:
        train(config, finished, started=time.time())
    assert "peft.lora.rank is 8 there and 4 here" in str(raised.value)
    assert "train.clip is 1.0 there and None here" in str(raised.value)
    assert len(raised.value.problems) == 3
    assert contents(finished.root) == before


def test_a_config_under_which_nothing_began_may_be_mended(tmp_path, base, data):
    workdir = Workdir(tmp_path / "run")
    with pytest.raises(InputError, match="no such file or folder"):
        train(tiny.experiment(base, tmp_path / "nowhere"), workdir, started=time.time())
    mended = tiny.experiment(base, data)
    workdir.claim(mended)
    assert json.loads(workdir.config.read_text())["data"]["path"] == str(data)


def test_words_with_tags_are_not_for_this_task(tmp_path, base):
    row = {"tokens": ["w1", "w2"], "ner_tags": ["O", "B-x"]}
    for split in ("train", "validation", "test"):
        tiny.write_jsonl(tmp_path / "data" / f"{split}.jsonl", [row])
    with pytest.raises(InputError, match="wants texts with a label"):
        train(tiny.experiment(base, tmp_path / "data"), Workdir(tmp_path / "run"), started=time.time())


def test_a_folder_of_other_things_is_refused(tmp_path, base, data):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(InputError, match=r"no config\.json of a run"):
        train(tiny.experiment(base, data), Workdir(tmp_path), started=time.time())


@pytest.fixture(scope="module")
def odd(tmp_path_factory, base, data):
    """A short run: two test labels that training lacks, a patient and a text on both sides, a cache of the user's own.

    Its folder, its result, and what it printed.
    """
    folder = tmp_path_factory.mktemp("odd")
    (folder / "shared").mkdir(mode=0o755)
    for split in ("train", "validation", "test"):
        rows = lines(data / f"{split}.jsonl")
        if split == "test":
            rows[0]["label"] = rows[7]["label"] = "hail"
            known = lines(data / "train.jsonl")[0]
            rows[3]["text"], rows[4]["patient"] = known["text"], known["patient"]
        tiny.write_jsonl(folder / "data" / f"{split}.jsonl", rows)
    cheap = {"peft__method": "head", "train__steps": 2, "data__buckets": 1, "data__cache_dir": str(folder / "shared")}
    config, printed = tiny.experiment(base, folder / "data", **cheap), io.StringIO()
    with contextlib.redirect_stdout(printed):
        result = train(config, Workdir(folder / "run"), started=time.time())
    return folder, result, printed.getvalue()


def test_a_test_label_that_training_lacks_counts_as_wrong_and_is_reported(odd):
    folder, result, printed = odd
    assert result["labels"] == list(tiny.LABELS)
    assert result["unseen_label_rows"] == {"validation": 0, "test": 2}
    assert "test: 2 rows have a label that training lacks; each counts as wrong" in printed
    found = lines(Workdir(folder / "run").predictions("test"))
    right = sum(one["label"] == one["prediction"] for one in found)
    assert result["metrics"]["test"]["accuracy"]["value"] == pytest.approx(right / len(found))
    assert found[0]["label"] == "hail"
    assert found[0]["prediction"] in tiny.LABELS


def test_what_is_on_both_sides_of_a_split_is_told_at_the_start(odd):
    _, result, printed = odd
    assert (result["data_report"]["train_test"], result["data_report"]["train_test_patients"]) == (1, 1)
    assert "test shares with training: texts 1, patients 1" in printed


def test_a_cache_folder_of_the_users_own_keeps_its_permissions(odd):
    folder, _, _ = odd
    assert (folder / "shared").stat().st_mode & 0o777 == 0o755
    assert (folder / "shared" / "tokens").stat().st_mode & 0o777 == 0o700
    assert len(list((folder / "shared" / "tokens").iterdir())) == 3
    assert not (folder / "run" / "data").exists()


def test_a_run_that_is_called_off_is_never_tested(base, data, tmp_path):
    config, seen = tiny.experiment(base, data, train__epochs=2), []

    def watch(position, values):
        seen.append((position.step, position.stopped, values["f1_macro"]))
        return "enough" if len(seen) == 1 else None

    workdir = Workdir(tmp_path / "run")
    position = train(config, workdir, started=time.time(), on_evaluation=watch)
    assert (position["stopped"], position["called_off"], position["step"]) == ("enough", True, 10)
    assert train(config, workdir, started=time.time(), on_evaluation=watch) == position
    assert not workdir.result.exists()
    assert not workdir.predictions("test").exists()
    assert len(seen) == 1
    watched = train(config, Workdir(tmp_path / "whole"), started=time.time(), on_evaluation=watch)
    assert watched["metrics"]["test"]  # the second and third evaluation said nothing: it is tested as ever
    assert [(step, stopped) for step, stopped, _ in seen] == [(10, None), (10, None), (20, "epochs")]
