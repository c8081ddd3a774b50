"""Where compiled programs go, and that memory in use is seen."""

import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxpeft.runtime import PeakMemory, cache_folder
from tests import tiny


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


def test_memory_that_was_given_back_still_counts_once_it_was_seen():
    memory = PeakMemory()
    block = np.ones(2**23)  # 64 MiB
    memory.sample()
    del block
    assert memory.report()["peak_bytes"] > 0.9 * 2**26


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="malloc of glibc")
def test_small_things_leave_the_place_of_a_steps_memory_free():
    """Only addresses are taken: nothing writes to the blocks, so that they take no memory."""
    script = """
import ctypes
from jaxpeft.runtime import keep_freed_memory
keep_freed_memory()
libc = ctypes.CDLL(None)
libc.aligned_alloc.restype = libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
block = lambda: libc.aligned_alloc(ctypes.c_size_t(64), ctypes.c_size_t(2**29))
places = []
for _ in range(3):
    places.append(block())
    small = [libc.malloc(ctypes.c_size_t(2**20)) for _ in range(8)]
    libc.free(places[-1])
print(len(set(places)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tiny.ROOT)
    assert done.stdout == "1\n"
