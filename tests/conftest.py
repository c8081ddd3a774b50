"""What all tests share: four fake CPU devices, no network, a compilation cache, and parity only beside torch."""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
import time

import hypothesis
import pytest

from jaxpeft.training import canvas
from tests import tiny

# JAX reads these once, when it is imported, so they are set before any test module is. Subprocesses inherit them.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
DEVICES = "--xla_force_host_platform_device_count"
if DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}=4".strip()

# Tests compile the same small programs again and again, in this process and in those that they start. The folder
# lasts one session, so that no test can pass on what an earlier version of the code compiled; name a folder of your
# own in JAX_COMPILATION_CACHE_DIR to keep it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    cache = tempfile.mkdtemp(prefix="jaxpeft-tests-")  # mode 0700
    atexit.register(shutil.rmtree, cache, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
# pytest --hypothesis-profile=thorough tests/tasks: minutes instead of seconds.
hypothesis.settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=10_000)
hypothesis.settings.load_profile("ci")

if not (importlib.util.find_spec("torch") and importlib.util.find_spec("peft")):
    collect_ignore = ["parity"]  # the folder, and with it the conftest there


def pytest_addoption(parser):
    parser.addoption(
        "--parity", choices=["pairwise", "full"], default="pairwise", help="how much of the matrix beside torch to run"
    )


def pytest_configure(config):
    # Pictures of the runs that tests make are drawn, but coarsely: they took a third of a short run's time.
    canvas.LAYOUT, canvas.SAVING = None, {"dpi": 30}
    config.addinivalue_line("markers", "full_parity: a cell of the matrix that only --parity=full runs")
    config.addinivalue_line("markers", "slow: whole runs, killed or side by side; -m 'not slow' leaves them out")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--parity") != "full":
        left_out = [item for item in items if item.get_closest_marker("full_parity")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """The folder of a tiny random BERT."""
    return tiny.write_base(tmp_path_factory.mktemp("shared") / "base")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of three small splits."""
    return tiny.write_data(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, base, data):
    """The workdir of an uninterrupted run of 60 steps. To be read only: copy it to change it."""
    from jaxpeft.training.run import train
    from jaxpeft.training.workdir import Workdir

    workdir = Workdir(tmp_path_factory.mktemp("shared") / "run")
    train(tiny.experiment(base, data), workdir, started=time.time())
    return workdir


@pytest.fixture(scope="session")
def tagged_data(tmp_path_factory):
    """A folder of three small splits of words with tags."""
    return tiny.write_data(tmp_path_factory.mktemp("shared") / "tagged", make=tiny.tagged_rows)


@pytest.fixture(scope="session")
def tagged_base(tmp_path_factory):
    """The folder of a tiny BERT that knows something of those words."""
    return tiny.write_base(tmp_path_factory.mktemp("shared") / "tagged_base", tiny.tagged_tensors())


@pytest.fixture(scope="session")
def finished_entities(tmp_path_factory, tagged_base, tagged_data):
    """The workdir of a finished run of 60 steps that finds entities. To be read only: copy it to change it."""
    from jaxpeft.training.run import train
    from jaxpeft.training.workdir import Workdir

    workdir = Workdir(tmp_path_factory.mktemp("shared") / "entities")
    train(tiny.experiment(tagged_base, tagged_data, task="token_classification"), workdir, started=time.time())
    return workdir


@pytest.fixture
def config_file(base, data, tmp_path):
    """Writes a config file; changes as in `tiny.experiment`."""

    def write(**changes):
        return tiny.write_config(tmp_path / "config.py", tiny.experiment(base, data, **changes))

    return write


@pytest.fixture
def cli(monkeypatch, capsys):
    """The program in this process: cli(*arguments) -> (exit code, standard output, standard error)."""
    from absl.testing import flagsaver

    from jaxpeft import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["jaxpeft", *map(str, arguments)])  # where ml_collections looks for overrides
        capsys.readouterr()
        with flagsaver.flagsaver():
            try:
                main.main(main.parse(sys.argv))
                code = 0
            except SystemExit as stop:
                code = stop.code
        return code, *capsys.readouterr()

    return run
