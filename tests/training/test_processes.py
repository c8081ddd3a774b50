"""Several processes: one run between them, one message when one dies, and who is taken for one of several."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest

from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.training import run
from jaxpeft.training.checkpoint import load_best
from jaxpeft.training.processes import in_cluster, shared, shared_tree
from jaxpeft.training.workdir import Workdir
from tests import tiny
from tests.training.test_sharded import Run, assert_same, experiment, on_one_device, words

__all__ = ["on_one_device", "words"]  # fixtures

DEVICES = "--xla_force_host_platform_device_count={}"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of the launcher: this interpreter as an environment in which all is installed."""
    folder = tmp_path_factory.mktemp("environment")
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/bash\n[[ "$*" == "-m pip "* ]] || exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return os.environ | {"VIRTUAL_ENV": str(folder), "XLA_FLAGS": DEVICES.format(2), "PYTHONPATH": str(tiny.ROOT)}


def launch(environment, *arguments):
    return subprocess.Popen(
        ["launch/multi_host.sh", *map(str, arguments)],
        cwd=tiny.ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process, seconds):
    """Exit code, standard output and standard error."""
    try:
        told, message = process.communicate(timeout=seconds)
        return process.returncode, told, message
    finally:
        process.terminate()


def run_of(workdir, like):
    return Run(workdir.read_metrics(), load_best(workdir.best, like.trainable))


def test_two_processes_of_two_devices_train_as_one_device_does(words, data, on_one_device, environment, tmp_path):
    config_file = tiny.write_config(tmp_path / "config.py", experiment(words, data, parallel="sharded"))
    workdir = Workdir(tmp_path / "run")
    code, told, message = ended(launch(environment, 2, f"--config={config_file}", f"--workdir={workdir.root}"), 300)
    assert (code, message) == (0, "")
    assert told.count("parameters  ") == 1
    assert_same(run_of(workdir, on_one_device), on_one_device)


def kill_one(workdir, number):
    """Kills a process of the run as a crash would."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            arguments = (folder / "cmdline").read_text().split("\0")
            if {f"--process={number}", f"--workdir={workdir.root}"} <= set(arguments):
                os.kill(int(folder.name), signal.SIGKILL)


def test_when_one_dies_one_message_tells_and_the_run_goes_on_with_one_process(
    words, data, on_one_device, environment, tmp_path
):
    config = experiment(words, data, parallel="auto", train__checkpoint_every=3)
    config_file, workdir = tiny.write_config(tmp_path / "config.py", config), Workdir(tmp_path / "run")
    arguments = f"--config={config_file}", f"--workdir={workdir.root}"
    process = launch(environment, 2, *arguments)
    with contextlib.ExitStack() as at_end:
        at_end.callback(process.terminate)
        while process.poll() is None and not list(workdir.checkpoints.glob("[1-9]")):
            time.sleep(0.002)
        kill_one(workdir, 1)
        code, _, message = ended(process, 60)
    assert code == 1
    assert message.count("\n") == 1, message
    assert "process 1 of 2 was killed by signal 9" in message
    assert not workdir.result.exists()
    done = tiny.run(*arguments, XLA_FLAGS=DEVICES.format(1))
    assert done.returncode == 0, done.stderr
    assert "continues at step" in done.stdout
    assert_same(run_of(workdir, on_one_device), on_one_device)


def test_what_a_user_can_mend_is_told_in_the_programs_own_words(environment):
    code, _, message = ended(launch(environment, 2, "--config=missing.py"), 60)
    assert (code, message) == (2, "error: --config=missing.py: no such file\n")


def test_the_number_of_processes_comes_first(environment):
    code, _, message = ended(launch(environment, "--config=missing.py"), 60)
    assert code == 2
    assert "expected the number of processes first" in message


SLURM = {"SLURM_STEP_NODELIST": "node[1-2]", "SLURM_PROCID": "0", "SLURM_NTASKS": "2"}
OPEN_MPI = {"OMPI_MCA_orte_hnp_uri": "1.0;tcp://127.0.0.1:1", "OMPI_COMM_WORLD_SIZE": "2"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({}, False),
        (SLURM, True),
        (SLURM | {"SLURM_NTASKS": "1"}, False),
        (SLURM | {"SLURM_STEP_NUM_TASKS": "1"}, False),  # the shell of salloc
        ({"SLURM_NTASKS": "2"}, False),  # in a script of sbatch, beside the steps
        (OPEN_MPI, True),
        (OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),  # any container of a cluster
    ],
)
def test_a_process_is_one_of_several_where_a_cluster_started_it_so(monkeypatch, found, expected):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert in_cluster() is expected


def test_an_open_mpi_that_does_not_say_where_the_others_are_is_refused(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # Open MPI 5 sets no OMPI_MCA_orte_hnp_uri
    with pytest.raises(InputError, match="--coordinator=HOST:PORT"):
        in_cluster()


def test_alone_there_is_nothing_to_share():
    value = {"step": 3, "best_value": None}
    assert shared(value) is value
    assert shared_tree(value) is value


def test_a_process_that_reads_other_files_than_the_first_or_has_another_config_is_stopped(monkeypatch):
    examples = {"train": types.SimpleNamespace(checksum=lambda: 1)}
    model = types.SimpleNamespace(base_sha256="a", encoder=types.SimpleNamespace(sha256="b"), classes=tiny.LABELS)
    monkeypatch.setattr(run.processes, "several", lambda: True)
    monkeypatch.setattr(run.processes, "shared", lambda value: value)
    config = Config()
    run._check_alike(config, model, examples)
    first = {name: run._own(config, model, examples)[name] for name in ("config",)}
    config.data.path = "elsewhere"  # where files lie may differ
    monkeypatch.setattr(run.processes, "shared", lambda value: value | first)
    run._check_alike(config, model, examples)
    config.train.learning_rate *= 2
    monkeypatch.setattr(run.processes, "shared", lambda value: value | first | {"model.ref": "c", "data (train)": 0})
    with pytest.raises(InputError, match=r"another model.ref and config and data \(train\) than the first"):
        run._check_alike(config, model, examples)
