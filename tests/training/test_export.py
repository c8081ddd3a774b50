"""What a run leaves for others, and runs that start from it: adapters, merged models, nothing over foreign files."""

import errno
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpeft.errors import InputError
from jaxpeft.training import folders, start
from jaxpeft.training.run import train
from jaxpeft.training.safetensors_writer import write_weights
from jaxpeft.training.workdir import Workdir
from tests import tiny

CHEAP = {"train__steps": 4, "data__buckets": 1, "train__learning_rate": 3e-2}
TOKENS = {f"peft__{method}__tokens": 3 for method in ("prompt", "p_tuning", "prefix")}


@pytest.fixture(scope="module")
def headless(tmp_path_factory):
    """A base without a pooler."""
    return tiny.write_base(tmp_path_factory.mktemp("headless") / "base", tiny.tensors(pooler=False))


@pytest.fixture(scope="module")
def run_of(tmp_path_factory, headless, data):
    """A short run of a method on a base without a pooler, made once."""
    made = {}

    def run_of(method):
        if method not in made:
            made[method] = Workdir(tmp_path_factory.mktemp("runs") / method)
            train(
                tiny.experiment(headless, data, peft__method=method, **TOKENS, **CHEAP),
                made[method],
                started=time.time(),
            )
        return made[method]

    return run_of


def result(workdir):
    return json.loads(workdir.result.read_text())


def same_probabilities(one, other):
    rows = [map(json.loads, workdir.predictions("test").read_text().splitlines()) for workdir in (one, other)]
    ours, theirs = ([list(row["probabilities"].values()) for row in found] for found in rows)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def scored(folder, base, data, **changes):
    """A run of no steps, under another seed than all others here."""
    workdir = Workdir(folder)
    train(tiny.experiment(base, data, seed=99, **{**CHEAP, "train__steps": 0, **changes}), workdir, started=time.time())
    return workdir


@pytest.mark.parametrize("method", ["lora", "ia3", "prompt", "prefix"])
def test_an_adapter_scored_under_another_seed_is_the_same_to_the_bit(run_of, headless, data, tmp_path, method):
    """Its base lacks the pooler: it is in the adapter."""
    run = run_of(method)
    assert "pooler.kernel" in result(run)["new_tensors"]
    again = scored(tmp_path / "again", headless, data, peft__init_from=str(run.adapter))
    for split in ("validation", "test"):
        assert again.predictions(split).read_bytes() == run.predictions(split).read_bytes()
    assert result(again)["metrics"] == result(run)["metrics"]
    assert (
        load_file(again.adapter / "adapter_model.safetensors").keys()
        == load_file(run.adapter / "adapter_model.safetensors").keys()
    )
    resolved = json.loads(again.config.read_text())["peft"]
    assert (resolved["method"], resolved["init_from"]) == (method, str(run.adapter))


def test_a_p_tuned_prompt_goes_on_as_a_prompt(run_of, headless, data, tmp_path):
    run = run_of("p_tuning")
    again = scored(tmp_path / "again", headless, data, peft__init_from=str(run.adapter))
    assert result(again)["method"] == "prompt"
    same_probabilities(run, again)


def test_training_goes_on_from_an_adapter(run_of, headless, data, tmp_path):
    workdir = Workdir(tmp_path / "run")
    config = tiny.experiment(headless, data, peft__init_from=str(run_of("lora").adapter), **CHEAP)
    outcome = train(config, workdir, started=time.time())
    assert outcome["steps"] == 4
    first = json.loads(workdir.metrics.read_text().splitlines()[0])["loss"]
    fresh = json.loads(run_of("lora").metrics.read_text().splitlines()[0])["loss"]
    assert first < fresh
    assert train(config, workdir, started=time.time()) == outcome  # the same command again finds it finished


def test_a_run_of_no_steps_says_what_it_has_no_number_for(headless, data, tmp_path, capsys):
    run = scored(tmp_path / "run", headless, data)
    found = result(run)
    assert (found["steps"], found["best_step"], found["tested_step"], found["stopped"]) == (0, 0, 0, "steps")
    timing = found["timing"]
    assert (timing["time_to_first_step_s"], timing["examples_per_s"], timing["tokens_per_s"]) == (None, None, None)
    assert run.metrics.read_text() == ""
    assert "confusion_test.png" in (drawn := {path.name for path in run.plots.iterdir()})
    assert "learning_curve.png" not in drawn
    assert "steps       0, tested at step 0\ntime        0.0 s training, " in capsys.readouterr().out


@pytest.mark.parametrize("method", ["full", "bitfit"])
def test_where_the_base_was_trained_the_whole_model_is_left(run_of, data, tmp_path, method):
    run = run_of(method)
    assert not run.adapter.exists()
    same_scores(run, run.model, data, tmp_path)


@pytest.mark.parametrize("method", ["lora", "ia3", "head"])
def test_a_merged_model_is_a_base_that_scores_the_same(cli, run_of, data, tmp_path, method):
    run = run_of(method)
    code, shown, _ = cli("--mode=merge", f"--workdir={run.root}", f"--output={tmp_path / 'model'}")
    assert (code, shown) == (0, f"written to {tmp_path / 'model'}\n")
    same_scores(run, tmp_path / "model", data, tmp_path)


def same_scores(run, model, data, tmp_path):
    """The model as a base whose head is in its checkpoint."""
    again = scored(tmp_path / "again", model, data, peft__method="head")
    assert result(again)["new_tensors"] == []
    same_probabilities(run, again)


def test_a_base_with_a_classifier_says_what_its_labels_were(tmp_path):
    labels = {str(number): name for number, name in enumerate(tiny.LABELS)}
    given = {"own": labels, "other": labels | {"0": "fog"}, "unnamed": {"0": "LABEL_0"}, "bare": {}}
    for name, own in given.items():
        tiny.write_base(tmp_path / name, tiny.tensors(labels=3), **({"id2label": own} if own else {}))
    told = {path.name: start._other_labels(tiny.experiment(path, path), tiny.LABELS) for path in tmp_path.iterdir()}
    assert told.pop("other") == "; its classifier was trained for other labels, fog, storm, wind"
    assert set(told.values()) == {""}
    with pytest.raises(InputError, match=r"in another order: set data\.labels to calm, storm, wind"):
        start.build(tiny.experiment(tmp_path / "own", tmp_path), tiny.LABELS[::-1], None)


def test_a_head_alone_is_no_adapter(refused_by, run_of):
    run = run_of("head")
    assert not run.adapter.exists()
    assert "method 'head' leaves no adapter to export" in refused_by("--mode=export", f"--workdir={run.root}")


def test_virtual_tokens_are_exported_and_not_merged(refused_by, run_of):
    run = run_of("prompt")
    assert (run.adapter / "adapter_model.safetensors").exists()
    assert "cannot be merged" in refused_by("--mode=merge", f"--workdir={run.root}")
    assert not run.model.exists()


@pytest.fixture
def refused_by(cli):
    def run(*arguments):
        code, _, message = cli(*arguments)
        assert code == 2
        assert message.startswith("error: ")
        assert "Traceback" not in message
        return message

    return run


@pytest.mark.parametrize(("mode", "method"), [("export", "lora"), ("merge", "lora"), ("export", "full")])
def test_a_mode_writes_what_training_wrote_and_to_the_folder_named(cli, run_of, tmp_path, mode, method):
    run = Workdir(tmp_path / "run")
    shutil.copytree(run_of(method).root, run.root)
    written = {("export", "lora"): run.adapter}.get((mode, method), run.model)
    for folder in (written, tmp_path / "elsewhere"):
        named = [] if folder == written else [f"--output={folder}"]
        code, shown, _ = cli(f"--mode={mode}", f"--workdir={run.root}", *named)
        assert (code, shown) == (0, f"written to {folder}\n")
    names = {path.name: path.read_bytes() for path in (tmp_path / "elsewhere").iterdir()}
    assert {path.name: path.read_bytes() for path in written.iterdir()} == names
    assert not list(tmp_path.rglob("*.partial"))


def test_a_moved_base_is_named(cli, refused_by, run_of, headless, tmp_path):
    run = Workdir(tmp_path / "run")
    shutil.copytree(run_of("lora").root, run.root)
    config = json.loads(run.config.read_text())
    config["model"]["ref"] = str(tmp_path / "gone")
    run.config.write_text(json.dumps(config))
    assert "no such folder" in refused_by("--mode=export", f"--workdir={run.root}")
    code, _, _ = cli("--mode=export", f"--workdir={run.root}", f"--base={headless}", f"--output={tmp_path / 'out'}")
    assert code == 0
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == (
        run_of("lora").adapter / "adapter_model.safetensors"
    ).read_bytes()


def test_what_an_export_needs_is_named(refused_by, tmp_path, run_of):
    assert "--mode=export needs --workdir=DIR" in refused_by("--mode=export")
    assert "--mode=merge needs --workdir=DIR" in refused_by("--mode=merge")
    run = tmp_path / "run"
    shutil.copytree(run_of("lora").root, run)
    (run / "result.json").unlink()
    assert "has not finished" in refused_by("--mode=merge", f"--workdir={run}")


# Folders


def test_foreign_files_are_never_written_over(refused_by, run_of, tmp_path):
    run = run_of("lora").root
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "adapter_config.json").write_text("somebody's")
    message = refused_by("--mode=export", f"--workdir={run}", f"--output={tmp_path / 'mine'}")
    assert "mine holds adapter_config.json, which this did not write" in message
    assert (tmp_path / "mine" / "adapter_config.json").read_text() == "somebody's"
    (tmp_path / "file").write_text("")
    assert "file is a file" in refused_by("--mode=export", f"--workdir={run}", f"--output={tmp_path / 'file'}")
    assert "cannot be written" in refused_by("--mode=export", f"--workdir={run}", f"--output={tmp_path / 'file' / 'x'}")


def write(folder, text, fail=None):
    with folders.whole_folder(folder, {"labels": []}) as inside:
        (inside / "a.txt").write_text(text)
        if fail is not None:
            raise fail


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path):
    folder = tmp_path / "deep" / "folder"
    write(folder, "one")
    write(folder, "two")
    assert json.loads((folder / "labels.json").read_text()) == {"format": 1, "labels": [], "files": ["a.txt"]}
    with pytest.raises(InputError, match=r"cannot be written: No space left on device; what was there is untouched"):
        write(folder, "three", OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RuntimeError):
        write(folder, "four", RuntimeError())
    assert (folder / "a.txt").read_text() == "two"
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]
    (folder / "notes.md").write_text("")
    with pytest.raises(InputError, match=r"holds notes\.md"):
        write(folder, "five")


def test_of_two_that_write_a_folder_at_once_the_second_is_told_and_does_no_harm(tmp_path):
    folder = tmp_path / "folder"
    with folders.whole_folder(folder, {"labels": []}) as inside:
        (inside / "a.txt").write_text("first")
        with pytest.raises(InputError, match=r"another process is writing .*folder: wait for it"):
            write(folder, "second")
    assert (folder / "a.txt").read_text() == "first"
    (tmp_path / ".folder.new.jaxpeft.partial").mkdir()  # of a process that died
    write(folder, "third")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_behind_a_link_a_folder_is_replaced_where_it_is(tmp_path, monkeypatch):
    folder, link = tmp_path / "scratch" / "folder", tmp_path / "link"
    link.symlink_to(folder)
    for text in ("one", "two"):
        write(link, text)
    assert link.is_symlink()
    assert (folder / "a.txt").read_text() == "two"
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match=r"folder is the folder that this was started in: name another one"):
        write(Path("."), "three")


@pytest.mark.parametrize("content", ["", "[]", '{"format": 2, "files": ["a.txt"]}', '{"format": 1, "files": 3}'])
def test_a_labels_file_of_somebody_else_gives_no_right_to_a_folder(tmp_path, content):
    write(tmp_path / "folder", "one")
    (tmp_path / "folder" / "labels.json").write_text(content)
    with pytest.raises(InputError, match=r"holds a\.txt, labels\.json"):
        write(tmp_path / "folder", "two")


def test_a_tensor_larger_than_a_shard_has_one_of_its_own(tmp_path):
    sizes = {"a": (3,), "b": (50,), "c": (2, 2), "d": ()}
    arrays = {
        name: np.arange(np.prod(shape, dtype=int), dtype=np.float32).reshape(shape) for name, shape in sizes.items()
    }
    write_weights(tmp_path, "model", sizes, iter(arrays.items()), "float32", shard_bytes=40)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 4 * (3 + 50 + 4 + 1)}
    assert index["weight_map"] == {
        "a": "model-00001-of-00003.safetensors",
        "b": "model-00002-of-00003.safetensors",
        "c": "model-00003-of-00003.safetensors",
        "d": "model-00003-of-00003.safetensors",
    }
    for name, file in index["weight_map"].items():
        np.testing.assert_array_equal(load_file(tmp_path / file)[name], arrays[name])
