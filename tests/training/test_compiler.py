"""XLA's options: for which programs, and that this XLA knows them."""

import jax
import numpy as np
import pytest

from jaxpeft.training import compiler
from jaxpeft.training.compiler import SHORT_TEXT, compiler_options, text_length
from jaxpeft.training.parallel import Placement, Pmap


def ids(length):
    return {"ids": np.zeros((1, 4, length), np.int32)}


def multiplied(place, length):
    """The program of a product over texts of this length, as text."""
    function = place.compiled(lambda batch: batch["ids"][0] @ batch["x"], batch_argument=0)
    batch = {"ids": np.ones((1, 4, length), np.float32), "x": np.ones((1, length, 16), np.float32)}
    function(place.shard(batch, axis=1) if place.parts == 1 else {n: np.stack([leaf] * 4) for n, leaf in batch.items()})
    (executable,) = function._executables.values()
    return executable.as_text()


@pytest.mark.parametrize("place", [Placement, Pmap])
def test_products_of_long_texts_are_eigen_s_and_of_short_ones_ynnpack_s(place):
    assert "ynn_fusion" in multiplied(place(), SHORT_TEXT)
    assert "ynn_fusion" not in multiplied(place(), SHORT_TEXT + 8)


def test_of_packed_rows_the_texts_count():
    packed = ids(4096) | {"grid": np.zeros((1, 1, 32, SHORT_TEXT), np.int32)}
    assert (text_length(packed), text_length(ids(4096))) == (SHORT_TEXT, 4096)


def test_evaluation_on_a_gpu_gives_the_same_bits_each_time(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options(8) is None
    x = np.ones(2, np.float32)
    options = compiler_options(8, deterministic=True)
    jax.jit(lambda x: -x).lower(x).compile(options)  # the compiler knows the names


def test_an_xla_without_the_option_does_without(monkeypatch):
    monkeypatch.setattr(compiler, "_YNNPACK", "xla_cpu_no_such_option")
    compiler._knows_ynnpack.cache_clear()
    try:
        assert compiler_options(8) is None
    finally:
        compiler._knows_ynnpack.cache_clear()
