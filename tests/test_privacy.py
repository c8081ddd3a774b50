"""Notes stay where they are: no network, nothing written outside the workdir, no text of a note in what is left."""

import json
import os
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest

from jaxpeft.data.readers import READERS, TARGETS
from jaxpeft.data.synthetic import GENERATORS, write
from tests import tiny

SENTINEL = "w7 w11 w13 zanzibar w17"  # a word of no vocabulary in a sequence that no training row has
# Runs the program with every way out of the machine closed.
OFFLINE = """
import runpy, socket, sys

def refuse(*arguments, **others):
    raise AssertionError("the network was asked for")

for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, refuse)
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, refuse)
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""
# Reads every corpus as its owner ships it: arguments are FORMAT=TARGET=PATH.
READ = """
import sys
from jaxpeft.config import DataConfig
from jaxpeft.data.load import load

for argument in sys.argv[1:]:
    form, target, path = argument.split("=")
    print(form, target, len(load(DataConfig(format=form, target=target or None, path=path), 0, None, False).train))
"""


@pytest.fixture(scope="module")
def job(tmp_path_factory, base):
    """The whole main job in processes whose HOME cannot be written: (its folder, all that it printed)."""
    folder = tmp_path_factory.mktemp("job")
    data = tiny.write_data(folder / "data")
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (data / f"{split}.jsonl").read_text().splitlines()]
        longest = max(rows, key=lambda row: len(row["text"]))
        words = longest["text"].split()  # as many as before: nothing new has to be compiled
        longest["text"] = " ".join([*words[5:], SENTINEL])
        tiny.write_jsonl(data / f"{split}.jsonl", rows)
    tiny.write_config(folder / "config.py", tiny.experiment(base, data))
    (folder / "home").write_text("a file, so that nobody can write below it, not even root")
    (folder / "tmp").mkdir()
    run = f"--workdir={folder}/run"
    printed = ""
    for arguments in (
        [f"--config={folder}/config.py", run],
        ["--mode=evaluate", run],
        ["--mode=predict", run, f"--input={data}/test.jsonl", f"--output={folder}/out.csv"],
    ):
        printed += run_offline(folder, arguments)
    return folder, printed


def run_offline(folder, arguments, module="jaxpeft.main"):
    """Runs a program with HOME and TMPDIR in the folder; returns what it printed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "HF_", "MPL"))}
    places = {"PYTHONPATH": f"{tiny.ROOT}{os.pathsep}{folder}", "HOME": folder / "home", "TMPDIR": folder / "tmp"}
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, module, *arguments],
        cwd=folder / "tmp",
        env=kept | {name: str(place) for name, place in places.items()},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_nothing_is_written_outside_the_workdir(job):
    folder, _ = job
    assert {path.name for path in folder.iterdir()} == {"data", "config.py", "home", "tmp", "run", "out.csv"}
    assert not list((folder / "tmp").iterdir())
    assert len(list((folder / "data").iterdir())) == 3


def test_nothing_is_written_into_a_home_that_can_be_written(tmp_path, base, data):
    cheap = {"peft__method": "head", "train__steps": 1, "data__buckets": 1}
    config = tiny.write_config(tmp_path / "config.py", tiny.experiment(base, data, **cheap))
    for name in ("home", "tmp"):
        (tmp_path / name).mkdir()
    run_offline(tmp_path, [f"--config={config}", f"--workdir={tmp_path}/run"])
    assert not [*(tmp_path / "home").rglob("*"), *(tmp_path / "tmp").rglob("*")]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory):
    """A folder with data in the form of every reader: (it, FORMAT=TARGET=PATH of each)."""
    folder = tmp_path_factory.mktemp("corpora")
    tables = {
        split: datasets.Dataset.from_list(tiny.rows(40, seed))
        for seed, split in enumerate(("train", "validation", "test"))
    }
    for split, table in tables.items():
        for form in ("jsonl", "csv", "parquet"):
            (folder / form).mkdir(exist_ok=True)
        table.to_json(str(folder / "jsonl" / f"{split}.jsonl"))
        table.to_csv(str(folder / "csv" / f"{split}.csv"), index=False)
        table.to_parquet(str(folder / "parquet" / f"{split}.parquet"))
    datasets.DatasetDict(tables).save_to_disk(str(folder / "hf"))
    for corpus, generator in GENERATORS.items():
        write(corpus, folder / corpus, max(60, generator.minimum), 0)
    (folder / "read.py").write_text(READ)
    (folder / "home").write_text("a file: nobody can write below it")
    (folder / "tmp").mkdir()
    return folder, [f"{form}={target}={folder / form}" for form in READERS for target in TARGETS.get(form, ("",))]


def test_no_reader_leaves_anything_anywhere(corpora):
    folder, arguments = corpora

    def state():
        return {path: path.is_file() and path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = state()
    printed = run_offline(folder, arguments, "read")
    assert len([line for line in printed.splitlines() if int(line.split()[-1]) > 0]) == len(arguments)
    assert state() == before


def test_no_text_of_a_note_is_left_or_printed(job):
    folder, printed = job
    for words in (SENTINEL, "zanzibar"):
        assert words not in printed
        for path in [*files(folder / "run"), *files(Path(os.environ["JAX_COMPILATION_CACHE_DIR"]))]:
            assert words.encode() not in path.read_bytes(), path
    assert SENTINEL in (folder / "out.csv").read_text()  # the rows that were asked for, where they were asked for


def test_token_ids_of_notes_are_in_the_cache_alone(job, base):
    folder, _ = job
    vocabulary = (base / "vocab.txt").read_text().split()
    ids = [vocabulary.index(word) if word in vocabulary else 1 for word in SENTINEL.split()]
    patterns = [np.array(ids, kind).tobytes() for kind in ("int32", "int64", "uint16")]
    holders = {
        path.parent for path in files(folder / "run") if any(pattern in path.read_bytes() for pattern in patterns)
    }
    assert holders == {folder / "run" / "data" / "tokens"}
    assert (folder / "run" / "data" / "tokens").stat().st_mode & 0o777 == 0o700
