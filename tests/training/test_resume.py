"""Killed at any moment and started again, a run ends as if nothing had happened."""

import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import time

import jax
import numpy as np
import pytest

from jaxpeft.errors import InputError
from jaxpeft.training import checkpoint
from jaxpeft.training.checkpoint import load_best
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny
from tests.training.test_loop import make_loop

STEPS_PER_EPOCH = 10
MEASURED = ("timing", "memory")  # differ from run to run


def steps_logged(workdir):
    return [record["step"] for record in workdir.read_metrics()]


def start_and_kill(config_file, workdir, after):
    """Starts the program and kills it once it has logged a step beyond `after`; returns the last step logged."""
    arguments = tiny.command(f"--config={config_file}", f"--workdir={workdir.root}")
    process = subprocess.Popen(arguments, cwd=tiny.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        while process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.002)
            steps = steps_logged(workdir)
            if steps and steps[-1] > after:
                process.send_signal(signal.SIGSTOP)  # holds it still, to look where it is
                step = steps_logged(workdir)[-1]
                if step % STEPS_PER_EPOCH:  # in the middle of an epoch
                    return step
                process.send_signal(signal.SIGCONT)
        raise AssertionError(f"it ended by itself: {process.stdout.read()}")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_killed_three_times_it_ends_as_an_uninterrupted_run_does(finished, base, data, tmp_path):
    workdir = Workdir(tmp_path / "run")
    config_file = tiny.write_config(tmp_path / "config.py", tiny.experiment(base, data))
    draw, killed_at = random.Random(str(os.getpid())), []
    for first, last in ((8, 14), (24, 32), (40, 46)):
        killed_at.append(start_and_kill(config_file, workdir, draw.randint(first, last)))
        assert killed_at[-1] < 60
        assert not workdir.result.exists()
    done = tiny.run(f"--config={config_file}", f"--workdir={workdir.root}")
    assert done.returncode == 0, done.stderr
    assert "continues at step" in done.stdout
    assert steps_logged(workdir) == list(range(1, 61)), killed_at
    assert_same_run(workdir, finished)
    assert json.loads(workdir.result.read_text())["memory"]["peak_bytes"] > 0  # only a process of its own can tell


def assert_same_run(workdir, expected):
    assert workdir.read_metrics() == expected.read_metrics()
    results = [json.loads(one.result.read_text()) for one in (workdir, expected)]
    for result in results:
        for name in MEASURED:
            del result[name]
    assert results[0] == results[1]
    for split in ("validation", "test"):
        assert workdir.predictions(split).read_bytes() == expected.predictions(split).read_bytes()
    ours, theirs = (best_of(one) for one in (workdir, expected))
    for path, leaf in theirs.items():
        assert ours[path].tobytes() == leaf.tobytes(), path


def best_of(workdir):
    shapes = {
        f"layers.attention.{name}.lora_{kind}": np.zeros((3, 24, 8) if kind == "a" else (3, 8, 24), np.float32)
        for name in ("query", "value")
        for kind in "ab"
    }
    shapes |= {"classifier.kernel": np.zeros((24, 3), np.float32), "classifier.bias": np.zeros(3, np.float32)}
    return {path: np.asarray(leaf) for path, leaf in load_best(workdir.best, shapes).items()}


@pytest.fixture
def interrupted(base, data, tmp_path):
    """A run that broke off at step 23; its latest checkpoints are of steps 20 and 21."""
    workdir, config = Workdir(tmp_path / "broken"), tiny.experiment(base, data)
    workdir.claim(config)
    loop = make_loop(config, workdir.root)

    def broken(*arguments):
        if loop.position.step == 23:
            raise KeyboardInterrupt
        return step(*arguments)

    step, loop.step_function = loop.step_function, broken
    with pytest.raises(KeyboardInterrupt):
        loop.run()
    loop.checkpoints.close()
    assert sorted(int(folder.name) for folder in workdir.checkpoints.iterdir()) == [20, 21]
    return workdir, config


def test_of_a_truncated_checkpoint_the_one_before_is_used_and_it_says_so(interrupted, finished, capsys):
    workdir, config = interrupted
    for path in (workdir.checkpoints / "21").rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    train(config, workdir, started=time.time())
    shown = capsys.readouterr().out
    assert "checkpoint 21 is unreadable" in shown
    assert "continues at step 20 of 60" in shown
    assert steps_logged(workdir) == list(range(1, 61))
    assert_same_run(workdir, finished)


def test_where_no_checkpoint_can_be_read_nothing_is_overwritten_and_it_says_so(interrupted):
    workdir, config = interrupted
    logged = workdir.metrics.read_bytes()
    for path in workdir.checkpoints.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"none of the checkpoints in .* can be read: delete that folder"):
        train(config, workdir, started=time.time())
    assert workdir.metrics.read_bytes() == logged


@pytest.mark.parametrize(
    "trouble", [OSError(errno.EIO, "Input/output error"), MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: 9 GB")]
)
def test_what_the_machine_lacks_does_not_make_a_checkpoint_unreadable(interrupted, monkeypatch, trouble):
    workdir, config = interrupted

    def broken(*arguments):
        raise Exception("an array could not be read") from trouble  # as orbax wraps what fails

    monkeypatch.setattr(checkpoint.ocp, "load_checkpointables", broken)
    with pytest.raises(type(trouble)) as raised:
        train(config, workdir, started=time.time())
    assert raised.value is trouble


@pytest.mark.parametrize("damage", ["trainable", "optimizer", "best", "metadata"])
def test_any_damaged_part_makes_a_checkpoint_unreadable(interrupted, damage, capsys):
    workdir, config = interrupted
    checkpoint = workdir.checkpoints / "21"
    if damage == "metadata":
        for path in checkpoint.glob("*METADATA*"):
            path.write_bytes(path.read_bytes()[:10])
    else:
        shutil.rmtree(checkpoint / damage)
    loop = make_loop(config, workdir.root)
    loop.total = 21
    outcome = loop.run()
    shown = capsys.readouterr().out
    assert "checkpoint 21 is unreadable" in shown
    assert "continues at step 20 of 21" in shown
    assert outcome.position.step == 21


def test_a_run_that_goes_on_needs_no_more_of_a_device_than_one_that_begins(interrupted):
    workdir, config = interrupted
    loop = make_loop(config, workdir.root)
    shapes = loop.system.trainable
    state = jax.eval_shape(loop.update.init, shapes)
    checkpoints = checkpoint.Checkpoints(workdir.checkpoints)
    found = checkpoints.restore(shapes, state, loop.check, print)
    checkpoints.close()
    assert {type(leaf) for leaf in jax.tree.leaves(found[:3])} == {np.ndarray}  # in the host's memory
    loop.total = 21
    loop.run()
    assert not any(isinstance(leaf, jax.Array) for leaf in loop.system.trainable.values())  # the first values are gone


def test_a_checkpoint_of_other_shapes_is_passed_over(interrupted, capsys):
    workdir, config = interrupted
    loop = make_loop(config, workdir.root)
    wider = {path: np.zeros((*leaf.shape, 2), leaf.dtype) for path, leaf in loop.system.trainable.items()}
    checkpoints = checkpoint.Checkpoints(workdir.checkpoints)
    with pytest.raises(InputError, match="none of the checkpoints"):
        checkpoints.restore(wider, jax.eval_shape(loop.update.init, wider), loop.check, print)
    checkpoints.close()
    assert "checkpoint 21 is unreadable (ValueError)" in capsys.readouterr().out
