"""Files of a run are whole, whoever writes them."""

import errno
import os
import threading
import time

import pytest

from jaxpeft.errors import InputError
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir, read_json, write_text
from tests import tiny


def test_several_may_write_one_file_at_once(tmp_path, monkeypatch):
    """Both have written their text before either puts it in its place."""
    together, troubles = threading.Barrier(2), []
    monkeypatch.setattr(os, "fsync", lambda _: together.wait(timeout=10))

    def write(text):
        try:
            write_text(tmp_path / "report.md", text)
        except OSError as error:
            troubles.append(error)

    threads = [threading.Thread(target=write, args=(letter * 9,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
    assert (tmp_path / "report.md").read_text() in ("a" * 9, "b" * 9)


def test_a_link_stays_one_and_what_is_written_is_where_it_leads(tmp_path):
    for folder in ("notes", "here"):
        (tmp_path / folder).mkdir()
    link = tmp_path / "here" / "out.jsonl"
    link.symlink_to(tmp_path / "notes" / "out.jsonl")
    write_text(link, "x")
    assert link.is_symlink()
    assert (tmp_path / "notes" / "out.jsonl").read_text() == "x"
    assert list((tmp_path / "here").iterdir()) == [link]


def test_before_the_first_step_another_config_may_take_the_folder(tmp_path, base, data):
    workdir, larger = Workdir(tmp_path / "run"), tiny.experiment(base, data, train__batch_size=64)
    workdir.claim(tiny.experiment(base, data))
    workdir.cut_metrics(0)  # as a run does before its first step, for which memory may not suffice
    workdir.checkpoints.mkdir()
    workdir.claim(larger)
    workdir.append_metrics({"step": 1})
    with pytest.raises(InputError, match="holds a run of another config"):
        workdir.claim(tiny.experiment(base, data))


def test_a_full_disk_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "result.json").write_text("{}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device; what was there is untouched"):
        write_text(tmp_path / "result.json", "[]")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "{}")]


def test_two_processes_do_not_train_in_one_folder(tmp_path, base, data):
    config, workdir = tiny.experiment(base, data), Workdir(tmp_path / "run")
    workdir.claim(config)
    with (
        workdir.held(),  # a lock is of an open file: in one process it refuses the second as it does in two
        pytest.raises(InputError, match=r"another process trains in .*run: wait for it, or name another --workdir"),
    ):
        train(tiny.experiment(base, data, seed=7), Workdir(workdir.root), started=time.time())
    assert not workdir.metrics.exists()
    assert read_json(workdir.config)["seed"] == config.seed  # what the first one trains by
    with workdir.held():
        pass  # given back
