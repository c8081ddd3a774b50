"""A finished workdir elsewhere: the same scores to the bit, predictions for files, and other bases refused."""

import csv
import json
import shutil

import numpy as np
import pytest

import jaxpeft
from jaxpeft.errors import InputError
from jaxpeft.training import parallel
from jaxpeft.training.restore import predict_file
from jaxpeft.training.workdir import Workdir
from tests import tiny


@pytest.fixture(scope="module")
def restored(finished):
    return jaxpeft.load(str(finished.root))


@pytest.fixture
def moved(finished, base, data, tmp_path):
    """A copy of the run whose config names a base and data that are gone, and where they are now."""
    for name, folder in (("run", finished.root), ("base", base), ("data", data)):
        shutil.copytree(folder, tmp_path / "elsewhere" / name)
    elsewhere = tmp_path / "elsewhere"
    config = elsewhere / "run" / "config.json"
    config.write_text(config.read_text().replace(str(base), "/gone/base").replace(str(data), "/gone/data"))
    return elsewhere


def test_texts_and_lists_of_words_are_not_mixed(restored):
    with pytest.raises(InputError, match="expected texts, or lists of words, found both"):
        restored.predict(["w1 w2", ["w1", "w2"]])


def test_texts_that_are_too_long_are_counted_and_told(finished, tmp_path, cli):
    source = tiny.write_jsonl(tmp_path / "in.jsonl", [{"text": "w1 " * 60}, {"text": "w1"}])
    arguments = (
        "--mode=predict",
        f"--workdir={finished.root}",
        f"--input={source}",
        f"--output={tmp_path / 'out.jsonl'}",
    )
    code, said, told = cli(*arguments)
    assert (code, said.startswith("2 rows written")) == (0, True)
    assert told.startswith("1 of them are longer than data.max_length")


def test_evaluate_in_a_new_process_equals_the_result_though_everything_moved(finished, moved):
    places = ["--workdir", moved / "run", "--base", moved / "base", "--data", moved / "data"]
    done = tiny.run("--mode=evaluate", *places)
    assert done.returncode == 0, done.stderr
    assert "equals result.json (checked to the bit; largest difference 0.0e+00)" in done.stdout
    found = json.loads(Workdir(moved / "run").evaluation("test").read_text())
    assert found["metrics"] == json.loads(finished.result.read_text())["metrics"]["test"]
    assert (moved / "run" / "result.json").read_bytes() == finished.result.read_bytes()


def test_every_split_can_be_evaluated(moved):
    model = jaxpeft.load(str(moved / "run"), base=str(moved / "base"))
    validation = model.evaluate("validation", str(moved / "data"))
    assert validation["metrics"] == model.result["metrics"]["validation"]
    assert validation["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}
    train = model.evaluate("train", str(moved / "data"))
    assert "against_result" not in train
    assert train["metrics"]["accuracy"]["value"] > 0.5
    assert {path.name for path in (moved / "run" / "evaluations").iterdir()} == {"validation.json", "train.json"}


def test_missing_base_and_data_say_what_to_give(moved):
    with pytest.raises(InputError, match="no such folder"):
        jaxpeft.load(str(moved / "run"))
    model = jaxpeft.load(str(moved / "run"), base=str(moved / "base"))
    with pytest.raises(InputError, match="/gone/data"):
        model.evaluate("test")


def test_another_base_is_refused_unless_allowed(finished, tmp_path):
    other = tiny.write_base(tmp_path / "other", tiny.tensors(seed=1))
    with pytest.raises(InputError, match=r"base_sha256.*--allow_other_base"):
        jaxpeft.load(str(finished.root), base=str(other))
    allowed = jaxpeft.load(str(finished.root), base=str(other), allow_other_base=True)
    assert allowed.predict(["w1 w2"])[0]["prediction"] in tiny.LABELS


def test_a_base_that_lacks_what_the_runs_had_is_refused_even_where_another_is_allowed(finished, tmp_path):
    other = tiny.write_base(tmp_path / "other", tiny.tensors(pooler=False))
    with pytest.raises(InputError, match=r"lacks what the run's base had: pooler\.bias, pooler\.kernel"):
        jaxpeft.load(str(finished.root), base=str(other), allow_other_base=True)


def test_another_tokenizer_is_refused(finished, base, tmp_path):
    shutil.copytree(base, tmp_path / "base")
    words = (tmp_path / "base" / "vocab.txt").read_text().replace("w1\n", "w1000\n")
    (tmp_path / "base" / "vocab.txt").write_text(words)
    with pytest.raises(InputError, match="tokenizer_sha256"):
        jaxpeft.load(str(finished.root), base=str(tmp_path / "base"))


def test_a_tokenizer_that_another_version_of_its_library_describes_is_told_from_another_base(finished, tmp_path):
    shutil.copytree(finished.root, tmp_path / "run")
    result = json.loads(finished.result.read_text())
    result["tokenizer_sha256"], result["versions"]["tokenizers"] = "0" * 64, "0.1.2"
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    with pytest.raises(InputError, match=r"tokenizers is at .* here and was at 0\.1\.2") as raised:
        jaxpeft.load(str(tmp_path / "run"))
    assert "another base" not in str(raised.value)
    assert jaxpeft.load(str(tmp_path / "run"), allow_other_base=True).classes == tiny.LABELS


def test_texts_get_the_predictions_of_the_run(restored, finished, data):
    rows = [json.loads(line) for line in (data / "test.jsonl").read_text().splitlines()]
    recorded = [json.loads(line) for line in finished.predictions("test").read_text().splitlines()]
    found = restored.predict([row["text"] for row in rows])
    for ours, theirs in zip(found, recorded, strict=True):
        assert ours == {name: theirs[name] for name in ("prediction", "probabilities")}
    assert restored.predict([]) == []


def test_predict_adds_columns_to_the_rows_of_a_jsonl_file(restored, tmp_path):
    rows = [{"text": "w1 w2 w3", "note": {"n": 1}}, {"text": "w40 w41", "extra": "é"}]
    source, target = tiny.write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "new" / "out.jsonl"
    assert predict_file(restored, source, target) == 2
    found = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    for row, one, expected in zip(rows, found, restored.predict([row["text"] for row in rows]), strict=True):
        assert one == row | expected


def test_predict_adds_columns_to_the_rows_of_a_csv_file(restored, tmp_path):
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('nr,text,who\n1,"w1, ""w2""\nw3",a\n2,w40 w41,\n')
    assert predict_file(restored, source, target) == 2
    with target.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["nr"], row["text"], row["who"]) for row in found] == [("1", 'w1, "w2"\nw3', "a"), ("2", "w40 w41", "")]
    expected = restored.predict([row["text"] for row in found])
    for row, one in zip(found, expected, strict=True):
        assert row["prediction"] == one["prediction"]
        for label, value in one["probabilities"].items():
            assert float(row[f"probability_{label}"]) == value


def test_rows_of_json_that_differ_in_their_columns_stay_aligned_in_csv(restored, tmp_path):
    rows = [{"text": "w1\rw3", "a": "1"}, {"b": "2", "text": "w2", "prediction": "an earlier one"}]
    predict_file(restored, tiny.write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        header, *_ = csv.reader(file)
        file.seek(0)
        found = list(csv.DictReader(file))
    assert header == ["text", "a", "b", "prediction", *(f"probability_{label}" for label in tiny.LABELS)]
    assert [(row["text"], row["a"], row["b"]) for row in found] == [("w1\rw3", "1", ""), ("w2", "", "2")]


def test_predict_refuses_what_it_cannot_write_or_read(restored, tmp_path):
    source = tiny.write_jsonl(tmp_path / "in.jsonl", [{"text": "w1"}])
    with pytest.raises(InputError, match=r"\.jsonl or \.csv"):
        predict_file(restored, source, tmp_path / "out.txt")
    pairs = tiny.write_jsonl(tmp_path / "pairs.jsonl", [{"text": "w1", "text_pair": "w2"}])
    with pytest.raises(InputError, match="single texts"):
        predict_file(restored, pairs, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
    (tmp_path / "folder.jsonl").mkdir()
    for target in (tmp_path / "folder.jsonl", source / "out.jsonl"):
        with pytest.raises(InputError, match="cannot be written"):
            predict_file(restored, source, target)
    assert not list(tmp_path.glob("*.partial"))


def test_a_broken_run_is_refused_with_a_reason(finished, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        jaxpeft.load(str(tmp_path / "nowhere"))
    copy = tmp_path / "run"
    shutil.copytree(finished.root, copy)
    for path in (copy / "best").rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="best is unreadable"):
        jaxpeft.load(str(copy))
    (copy / "result.json").unlink()
    with pytest.raises(InputError, match="has not finished"):
        jaxpeft.load(str(copy))


def test_a_mesh_predicts_what_one_device_does(finished, restored, tmp_path):
    shutil.copytree(finished.root, tmp_path / "run")
    mesh = {"model": 2, "fully_sharded": True}
    config = json.loads((tmp_path / "run" / "config.json").read_text()) | {"parallel": "sharded", "mesh": mesh}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    texts = ["w1 w2", "w3 w30 w50 w51"]
    answers = zip(jaxpeft.load(str(tmp_path / "run")).predict(texts), restored.predict(texts), strict=True)
    for ours, theirs in answers:
        assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=1e-5)


def test_a_batch_that_does_not_divide_over_the_devices_here_is_scored_on_one(finished, tmp_path, monkeypatch):
    shutil.copytree(finished.root, tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text()) | {"parallel": "pmap"}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr(parallel.jax, "local_device_count", lambda: 3)
    model = jaxpeft.load(str(tmp_path / "run"))
    assert np.isfinite(list(model.predict(["w1 w2"])[0]["probabilities"].values())).all()


def test_one_text_in_place_of_a_list_and_pairs_in_place_of_texts_are_refused(restored):
    with pytest.raises(InputError, match="expected a list of texts"):
        restored.predict("w1 w2 w3")
    with pytest.raises(InputError, match="the model was trained on single texts"):
        restored.predict(["w1"], ["w2"])


def test_half_a_character_in_a_column_that_nobody_reads_comes_out_as_it_went_in(restored, tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "w1", "cut": "smile \\ud83d"}\n')
    assert predict_file(restored, tmp_path / "in.jsonl", tmp_path / "out.jsonl") == 1
    assert json.loads((tmp_path / "out.jsonl").read_text())["cut"] == "smile \ud83d"
