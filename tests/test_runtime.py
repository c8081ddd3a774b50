"""Where compiled programs go, and that memory in use is seen."""

import contextlib
import mmap
from pathlib import Path

import pytest

from jaxpeft.runtime import PeakMemory, cache_folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_compiled_programs_go_where_the_environment_says_else_below_home(home, tmp_path, monkeypatch):
    assert cache_folder(tmp_path) == home / ".cache" / "jaxpeft" / "xla"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder(tmp_path) == tmp_path / "xdg" / "jaxpeft" / "xla"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "/chosen")
    assert cache_folder(tmp_path) == Path("/chosen")


def test_compiled_programs_go_into_the_workdir_where_home_cannot_be_written(home, tmp_path):
    home.write_text("a file")
    assert cache_folder(tmp_path / "run") == tmp_path / "run" / "cache" / "xla"


@contextlib.contextmanager
def memory_taken(size):
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:  # never what malloc kept of other tests
        for page in range(0, len(block), mmap.PAGESIZE):
            block[page] = 1
        yield


def test_memory_that_was_given_back_still_counts_once_it_was_seen():
    memory = PeakMemory()
    with memory_taken(2**26):
        memory.sample()
    assert memory.report()["peak_bytes"] > 0.9 * 2**26


def test_memory_taken_before_and_given_back_since_hides_nothing():
    with memory_taken(2**27):
        memory = PeakMemory()
    memory.sample()
    with memory_taken(2**26):
        memory.sample()
    assert memory.report()["peak_bytes"] > 0.9 * 2**26


def test_compiled_programs_go_into_the_workdir_of_a_user_without_a_home(home, tmp_path, monkeypatch):
    def unknown(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unknown)
    assert cache_folder(tmp_path / "run") == tmp_path / "run" / "cache" / "xla"
