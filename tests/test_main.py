"""What a user gets wrong ends in one message and exit code 2, without a traceback and without text of a note."""

import errno
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxpeft
from jaxpeft.training.workdir import Workdir
from tests import tiny
from tests.training.test_loop import make_loop

SECRET = "mrs. rosalind quennell has gout"  # stands for the text of a note


@pytest.fixture
def refused(cli, tmp_path):
    """Runs the program and returns its message, having checked that it was refused as it should be."""

    def run(*arguments):
        code, _, message = cli(f"--workdir={tmp_path / 'run'}", *arguments)  # a later --workdir takes its place
        assert code == 2
        assert message.startswith("error: ")
        assert "Traceback" not in message
        assert SECRET not in message
        return message

    return run


# Flags and config files


@pytest.mark.parametrize(
    ("override", "fragments"),
    [
        ("--config.train.epoch=3", ["--config.train.epoch: the config has no such field; train.epochs?"]),
        ("--config.trian.epochs=3", ["--config.trian.epochs: the config has no such field; train.epochs?"]),
        ("--config.train.epochs=many", ["config.train.epochs=many"]),
        ("--config.train.epochs=1.5", ["config.train.epochs=1.5"]),
        ("--config.model.remat=perhaps", ["config.model.remat=perhaps"]),
        ("--config.train=3", ["config.train=3"]),
        ("--workdri=x", ["workdri"]),
        ("--mode=fly", ["--mode=fly", "train|evaluate|predict"]),
        ("stray", ["unexpected argument 'stray'"]),
        ("--data=/notes", ["--data is for --mode=evaluate;", "train reads data.path and model.ref"]),
        ("--split=train", ["--mode=train: --split is for --mode=evaluate"]),
        ("--card=t4-16g", ["--card is for --mode=plan"]),
        ("--config.peft.lora.alpha_pattern=query=x,value=8", ["'query=x' gives 'x', expected a number above 0"]),
        ("--config.peft.lora.rank_pattern=query=4,query=8", ["rank_pattern has 'query' twice"]),
        ("--config.peft.target_modules=(1, 2)", ["peft.target_modules is (1, 2), expected tuple[str, ...]"]),
        ("--config.train.epochs=None", ["train.epochs=None"]),
    ],
)
def test_a_bad_flag_is_named(refused, config_file, override, fragments):
    message = refused(f"--config={config_file()}", override)
    for fragment in fragments:
        assert fragment in message


def test_a_mode_that_works_alone_is_refused_as_one_of_several(refused, monkeypatch):
    for name, value in {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}.items():
        monkeypatch.setenv(name, value)
    assert "--mode=predict is for one process" in refused("--mode=predict", "--workdir=somewhere")


def test_several_unknown_fields_are_named_together(refused, config_file):
    message = refused(f"--config={config_file()}", "--config.a=1", "--config.train.b=1")
    assert message.startswith("error: 2 problems:")
    assert "--config.a:" in message
    assert "--config.train.b:" in message


def test_several_bad_values_are_named_together(refused, config_file):
    message = refused(f"--config={config_file()}", "--config.train.epochs=0", "--config.peft.method=lorra")
    assert message.startswith("error: 2 problems:")
    assert "config.train.epochs is 0" in message
    assert (
        "config.peft.method is 'lorra', expected one of lora, ia3, prompt, p_tuning, prefix, bitfit, full, head"
        in message
    )


def test_a_missing_config_is_named(refused, tmp_path):
    assert "--config=FILE.py" in refused()
    assert f"--config={tmp_path}/none.py: no such file" in refused(f"--config={tmp_path}/none.py")


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("def get_config():\n    raise RuntimeError('no luck')\n", "cannot be run: RuntimeError: no luck"),
        ("import nonsense_module\n", "cannot be run: ModuleNotFoundError"),
        ("def get_config(:\n", "cannot be run: SyntaxError"),
        ("x = 1\n", "expected a function get_config()"),
        ("def get_config():\n    return {'name': 'x'}\n", "get_config() returned dict"),
    ],
)
def test_a_config_file_that_does_not_work_says_why(refused, tmp_path, text, fragment):
    (tmp_path / "config.py").write_text(text)
    assert fragment in refused(f"--config={tmp_path / 'config.py'}")


def test_a_config_file_from_windows_is_read(refused, config_file):
    path = config_file()
    path.write_bytes(path.read_text().replace("\n", "\r\n").encode("utf-8-sig"))
    assert "error: config.train.epochs is 0" in refused(f"--config={path}", "--config.train.epochs=0")


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        (["--config"], "Missing value for flag --config"),
        (["--mode=evaluate"], "--mode=evaluate needs --workdir=DIR"),
        (["--mode=evaluate", "--workdir=/nowhere/at/all"], "no such folder"),
        (["--mode=predict", "--workdir=x"], "needs --input=FILE and --output=FILE"),
        (["--mode=export", "--workdir=x", "--config=configs/lora_bert.py"], "leave --config out"),
    ],
)
def test_a_mode_says_what_it_needs(cli, arguments, fragment):
    code, _, message = cli(*arguments)
    assert code == 2
    assert fragment in message


# Data


def bad_data(folder, name, content):
    """A data set of which one file is this."""
    tiny.write_data(folder, 8, 4, 4)
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


GOOD = json.dumps({"text": SECRET, "label": "calm"}) + "\n"


@pytest.mark.parametrize(
    ("content", "fragments"),
    [
        ("", ["train.jsonl", "no rows"]),
        (GOOD + GOOD + '{"text": "' + SECRET + '", "label": \n', ["train.jsonl:3", "broken JSON"]),
        (GOOD + json.dumps({"note": SECRET, "label": "calm"}) + "\n", ["train.jsonl", "column 'text'", "line 2"]),
        (json.dumps({"note": SECRET, "label": "calm"}) + "\n", ["no column 'text'", "data.columns.text"]),
        (GOOD + json.dumps({"text": " ", "label": "calm"}) + "\n", ["column 'text'", "line 2"]),
        (GOOD + json.dumps({"text": SECRET}) + "\n", ["column 'label'", "line 2"]),
        (GOOD.encode() + '{"text": "é", "label": "calm"}\n'.encode("latin-1"), ["train.jsonl", "UTF-8"]),
    ],
)
def test_bad_data_is_named_by_file_and_line(refused, config_file, tmp_path, content, fragments):
    folder = bad_data(tmp_path / "data", "train.jsonl", content)
    message = refused(f"--config={config_file(data__path=str(folder))}")
    for fragment in fragments:
        assert fragment in message


def test_missing_data_is_named(refused, config_file):
    assert "/nowhere: no such file or folder" in refused(f"--config={config_file(data__path='/nowhere')}")


def test_a_csv_file_without_a_column_is_named(refused, config_file, tmp_path):
    for split in ("train", "test"):
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / f"{split}.csv").write_text(f"text,answer\n{SECRET},calm\n")
    message = refused(f"--config={config_file(data__path=str(tmp_path / 'data'), data__format='csv')}")
    assert "no column 'label'" in message
    assert "answer" in message


def test_one_file_too_small_to_be_split_is_named(refused, config_file, tmp_path):
    file = tiny.write_jsonl(tmp_path / "all.jsonl", tiny.rows(1, 0))
    message = refused(f"--config={config_file(data__path=str(file))}")
    assert "label" in message or "no rows" in message


# Model, method and devices


def test_a_batch_that_does_not_divide_over_the_devices_is_named_with_both_numbers(refused, config_file):
    message = refused(f"--config={config_file(parallel='pmap', train__batch_size=6)}")
    assert "batch size 6 is not divisible by 4 devices" in message


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--processes=2"], "belong together"),
        (["--coordinator=localhost:1", "--processes=2"], "belong together"),
        (["--coordinator=localhost", "--processes=2", "--process=0"], "--coordinator=localhost: expected HOST:PORT"),
        (["--coordinator=localhost:1", "--processes=2", "--process=2"], "--process=2: expected a number from 0 to 1"),
        (["--coordinator=localhost:1", "--processes=0", "--process=0"], "--processes=0: expected 1 or more"),
    ],
)
def test_flags_of_several_processes_that_do_not_fit_are_named(refused, config_file, flags, expected):
    assert expected in refused(f"--config={config_file()}", *flags)


def test_devices_that_do_not_divide_into_columns_of_the_mesh_are_named_with_both_numbers(refused, config_file):
    message = refused(f"--config={config_file(parallel='sharded', mesh__model=3)}")
    assert "mesh.model is 3, which does not divide 4 devices" in message


def test_targets_that_match_nothing_come_with_candidates(refused, config_file):
    message = refused(f"--config={config_file()}", "--config.peft.target_modules=query,kee")
    assert "'kee' matches no linear layer" in message
    assert "attention.self.key" in message


def test_a_base_that_is_no_folder_is_named(refused, config_file):
    message = refused(f"--config={config_file(model__ref='some-group/some-bert')}")
    assert "model.allow_download=True" in message


def test_an_adapter_that_does_not_fit_is_named(refused, config_file, finished, tmp_path):
    adapter = finished.adapter
    message = refused(f"--config={config_file()}", f"--config.peft.init_from={tmp_path / 'none'}")
    assert f"{tmp_path / 'none'}: no such folder" in message
    message = refused(f"--config={config_file()}", f"--config.peft.init_from={adapter}", "--config.peft.lora.rank=16")
    assert "peft.lora.rank is 16 here, 8 in the adapter" in message
    other = tiny.write_base(tmp_path / "other", tiny.tensors(seed=1))
    message = refused(f"--config={config_file(model__ref=str(other))}", f"--config.peft.init_from={adapter}")
    assert f"{adapter} does not fit this run" in message
    assert "it was trained on another base than model.ref" in message
    message = refused(f"--config={config_file(data__labels=('wind', 'calm', 'storm'), peft__init_from=str(adapter))}")
    assert "set data.labels=('calm', 'storm', 'wind')" in message


def test_an_exploding_loss_is_named_with_its_step(refused, config_file, tmp_path):
    exploding = {"train__learning_rate": 3e38, "train__warmup_ratio": 1.0, "train__clip": None, "peft__method": "head"}
    message = refused(f"--config={config_file(**exploding, train__checkpoint_every=1, data__buckets=1)}")
    assert "at step " in message
    assert "train.learning_rate" in message
    assert list((tmp_path / "run" / "checkpoints").iterdir())


# Workdirs


def test_a_changed_config_on_a_workdir_lists_the_fields(refused, finished, config_file):
    message = refused(f"--config={config_file()}", "--config.train.epochs=7", f"--workdir={finished.root}")
    assert "train.epochs is 6 there and 7 here" in message


def test_evaluate_refuses_another_base(refused, finished, tmp_path):
    other = tiny.write_base(tmp_path / "other", tiny.tensors(seed=1))
    message = refused("--mode=evaluate", f"--workdir={finished.root}", f"--base={other}")
    assert "base_sha256" in message
    assert "--allow_other_base" in message


def test_a_base_that_changed_under_a_run_is_refused(refused, tmp_path, base, config_file):
    shutil.copytree(base, tmp_path / "base")
    file = config_file(model__ref=str(tmp_path / "base"), peft__method="head", data__buckets=1, train__epochs=2)
    leave_checkpoints(file, Workdir(tmp_path / "run"))
    tiny.write_base(tmp_path / "base", tiny.tensors(seed=1))
    message = refused(f"--config={file}")
    assert "holds other tensors than when this run began" in message


@pytest.mark.parametrize("change", ["a row more", "another label", "a label more", "another validation row"])
def test_data_that_changed_under_a_run_is_refused(change, refused, tmp_path, base, data, config_file):
    shutil.copytree(data, tmp_path / "data")
    cheap = {"peft__method": "head", "data__buckets": 1, "train__steps": 2, "train__checkpoint_every": 1}
    file = config_file(data__path=str(tmp_path / "data"), **cheap)
    leave_checkpoints(file, Workdir(tmp_path / "run"))
    name = "validation" if "validation" in change else "train"
    rows = [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
    if change == "a row more":
        rows.append(rows[0])
    elif "label" in change:
        rows[0]["label"] = "fog" if "more" in change else next(one for one in tiny.LABELS if one != rows[0]["label"])
    else:
        rows[0]["text"] = rows[1]["text"]
    tiny.write_jsonl(tmp_path / "data" / f"{name}.jsonl", rows)
    message = refused(f"--config={file}")
    assert "other examples" in message
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2


def leave_checkpoints(file, workdir):
    """A run of this config that has checkpoints and no result."""
    namespace = {}
    exec(file.read_text(), namespace)
    config = namespace["get_config"]()
    workdir.claim(config)
    make_loop(config, workdir.root).run()


def test_modes_work_from_the_command_line(cli, finished, tmp_path, data):
    shutil.copytree(finished.root, tmp_path / "run")
    code, shown, _ = cli("--mode=evaluate", f"--workdir={tmp_path / 'run'}", "--split=validation")
    assert code == 0
    assert "equals result.json" in shown
    code, shown, _ = cli(
        "--mode=predict", f"--workdir={finished.root}", f"--input={data}/test.jsonl", f"--output={tmp_path}/out.csv"
    )
    assert code == 0
    assert f"40 rows written to {tmp_path}/out.csv" in shown


@pytest.mark.parametrize("case", ["flag", "data", "base"])
def test_a_process_that_is_refused_exits_with_2(case, config_file, finished, tmp_path):
    arguments = {
        "flag": [f"--config={config_file()}", "--config.train.epoch=3"],
        "data": [f"--config={config_file(data__path='/nowhere')}", f"--workdir={tmp_path / 'run'}"],
        "base": ["--mode=evaluate", f"--workdir={finished.root}", "--base=/nowhere"],
    }
    done = tiny.run(*arguments[case])
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_a_message(refused, config_file, monkeypatch):
    def full(self, record):
        raise OSError(errno.ENOSPC, "No space left on device", "metrics.jsonl")

    monkeypatch.setattr(Workdir, "append_metrics", full)
    assert "No space left on device" in refused(f"--config={config_file()}")


def test_a_disk_that_is_full_for_a_checkpoint_is_not_taken_for_too_little_memory(refused, config_file, monkeypatch):
    def full(*arguments, **others):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing d/0 [OS error 28: ENOSPC No space left on device]")

    monkeypatch.setattr("jaxpeft.training.run.train", full)
    message = refused(f"--config={config_file()}")
    assert "no space left on the device of the workdir" in message
    assert "train.batch_size" not in message


def test_a_workdir_below_home_is_found_though_a_shell_leaves_its_tilde(cli, finished, tmp_path, monkeypatch, data):
    monkeypatch.setenv("HOME", str(finished.root.parent))
    monkeypatch.chdir(tmp_path)
    run = f"~/{finished.root.name}"
    code, _, message = cli("--mode=predict", f"--workdir={run}", f"--input={data}/test.jsonl", "--output=out.jsonl")
    assert (code, message) == (0, "")
    assert jaxpeft.load(run).classes == tiny.LABELS
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_a_cache_that_is_a_file_is_named(refused, config_file, tmp_path):
    (tmp_path / "notes.csv").touch()
    message = refused(f"--config={config_file(data__cache_dir=str(tmp_path / 'notes.csv'))}")
    folder = f"the folder {tmp_path}/notes.csv/tokens"
    assert f"{folder} cannot be made, or not for its owner alone: Not a directory; see data.cache_dir" in message


def test_a_cache_of_another_user_is_named(refused, config_file, tmp_path, monkeypatch):
    def not_the_owner(path, mode):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", not_the_owner)
    message = refused(f"--config={config_file(data__cache_dir=str(tmp_path / 'shared'))}")
    assert "not for its owner alone: Operation not permitted; see data.cache_dir" in message


def test_a_home_that_there_is_not_is_a_folder_that_is_not_found(refused, config_file):
    for changes in ({"data__path": "~nobody_of_that_name/notes"}, {"model__ref": "~nobody_of_that_name/base"}):
        assert "nobody_of_that_name" in refused(f"--config={config_file(**changes)}")


def test_too_little_memory_says_what_takes_less(refused, config_file, monkeypatch):
    def too_much(*arguments, **others):
        jnp.zeros(2**50).block_until_ready()

    monkeypatch.setattr("jaxpeft.training.run.train", too_much)
    message = refused(f"--config={config_file()}")
    for field in ("train.batch_size", "data.max_length", "model.remat", "model.dtype"):
        assert field in message
