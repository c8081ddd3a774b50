"""Files of a run are whole, whoever writes them."""

import errno
import os
import threading

import pytest

from jaxpeft.errors import InputError
from jaxpeft.training.workdir import write_text


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


def test_a_full_disk_leaves_what_was_there_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "result.json").write_text("{}")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match="No space left on device; what was there is untouched"):
        write_text(tmp_path / "result.json", "[]")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("result.json", "{}")]
