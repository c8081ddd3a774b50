"""Layers under one scan: how many an iteration has, and that it makes no difference to what they compute."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpeft.models import stack
from jaxpeft.models.dropout import dropout
from jaxpeft.models.stack import scan_layers

DEPTH = 3
X, SEEDS = jnp.linspace(-1, 1, 2 * 4 * 8).reshape(2, 4, 8), jnp.arange(2 * 4 * 2, dtype=jnp.uint32).reshape(2, 4, 2)


class Layer(nnx.Module):
    def __init__(self, depth):
        self.kernel = nnx.Param(jnp.linspace(-0.5, 0.5, depth * 8 * 8).reshape(depth, 8, 8))

    def __call__(self, x, *, prefix, seeds):
        return x + dropout(jnp.tanh(x @ self.kernel[...]), 0.0 if seeds is None else 0.5, seeds, jnp.arange(8))


def layers_an_iteration(depth=DEPTH, seeds=SEEDS, unroll=None):
    traced = jax.make_jaxpr(lambda x: scan_layers(Layer(depth), x, seeds=seeds, unroll=unroll))(X)
    (scan,) = [equation for equation in traced.eqns if equation.primitive.name == "scan"]
    return scan.params["unroll"]


def test_a_step_of_few_tokens_has_all_layers_in_a_row_and_evaluation_has_not():
    assert layers_an_iteration() == DEPTH
    assert layers_an_iteration(seeds=None) == 1


@pytest.mark.parametrize("named", [1, 2, 99])
def test_what_the_config_names_stands(named):
    assert layers_an_iteration(unroll=named) == layers_an_iteration(seeds=None, unroll=named) == min(named, DEPTH)


def test_layers_stay_in_a_scan_where_they_are_many_or_wide_or_on_a_gpu(monkeypatch):
    assert layers_an_iteration(depth=stack.DEPTH_UNROLLED + 1) == 1
    with monkeypatch.context() as patched:
        patched.setattr(stack, "STATES_UNROLLED", X.size - 1)
        assert layers_an_iteration() == 1
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert layers_an_iteration() == 1


def test_in_a_row_they_compute_what_they_do_in_a_scan():
    def loss(kernel, unroll):
        layers = Layer(DEPTH)
        layers.kernel.set_value(kernel)
        return (scan_layers(layers, X, seeds=SEEDS, unroll=unroll)[0] ** 2).sum()

    kernel = Layer(DEPTH).kernel.get_value()
    found = [jax.value_and_grad(loss)(kernel, unroll) for unroll in (1, None)]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6), *found)
