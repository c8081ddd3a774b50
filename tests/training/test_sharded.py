"""A run, however it is placed: the same losses and the same adapters, dropout on."""

import dataclasses

import numpy as np
import pytest

from tests import tiny
from tests.training.test_loop import make_loop

STEPS, TOLERANCE = 20, 1e-5
MESHES = {"4x1": {}, "2x2": {"mesh__model": 2}, "2x2, fully sharded": {"mesh__model": 2, "mesh__fully_sharded": True}}


def experiment(base, data, **changes):
    """Two forward passes a step, and the last of an epoch is short."""
    settings = {"train__steps": STEPS, "train__accumulate": 2, "train__learning_rate": 1e-3, "data__buckets": 1}
    return tiny.experiment(base, data, **settings | changes)


@dataclasses.dataclass
class Run:
    """What one run recorded, and the adapters that it ended with."""

    metrics: list
    trainable: dict


def run(config, root):
    loop = make_loop(config, root)
    outcome = loop.run()
    return Run(loop.workdir.read_metrics(), {path: np.asarray(leaf) for path, leaf in outcome.trainable.items()})


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A base whose table of words divides over two devices, as the other dimensions do."""
    changes = {"vocab_size": tiny.SIZES["vocab_size"] + 1}
    return tiny.write_base(tmp_path_factory.mktemp("base") / "base", tiny.tensors(**changes), **changes)


@pytest.fixture(scope="module")
def on_one_device(words, data, tmp_path_factory):
    return run(experiment(words, data), tmp_path_factory.mktemp("run"))


def assert_same(found, expected):
    assert [record["step"] for record in found.metrics] == list(range(1, STEPS + 1))
    losses = [[record["loss"] for record in one.metrics] for one in (found, expected)]
    np.testing.assert_allclose(*losses, rtol=0, atol=TOLERANCE)
    assert found.metrics[-1]["validation"] == pytest.approx(expected.metrics[-1]["validation"], abs=TOLERANCE)
    for path, leaf in expected.trainable.items():
        np.testing.assert_allclose(found.trainable[path], leaf, rtol=0, atol=TOLERANCE, err_msg=path)


@pytest.mark.parametrize("mesh", MESHES)
def test_sharded_trains_as_one_device_does(words, data, on_one_device, tmp_path, mesh):
    assert_same(run(experiment(words, data, parallel="sharded", **MESHES[mesh]), tmp_path), on_one_device)


def test_pmap_trains_as_one_device_does(words, data, on_one_device, tmp_path):
    assert_same(run(experiment(words, data, parallel="pmap"), tmp_path), on_one_device)


def test_a_quantised_base_is_split_as_well(words, data, tmp_path):
    losses = {}
    for parallel in ("jit", "sharded"):
        settings = {"model__quantise": "nf4", "train__steps": 3} | MESHES["2x2, fully sharded"]
        found = run(experiment(words, data, parallel=parallel, **settings), tmp_path / parallel)
        losses[parallel] = [record["loss"] for record in found.metrics]
    np.testing.assert_allclose(losses["sharded"], losses["jit"], rtol=0, atol=TOLERANCE)
