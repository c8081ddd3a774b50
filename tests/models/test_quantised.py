"""Matrices in codes and scales: how near they are, what they weigh, and that floats of them are never kept."""

import re

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies

from jaxpeft.models.quantised import KINDS, TILE, dense, product, quantise

SIZES = [(1, 3), (63, 2), (64, 5), (96, 7), (312, 24)]  # D_in and D_out, with and without whole tiles


def normal(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(0, 0.05, shape), jnp.float32)


def stacked(matrices, kind):
    return jax.tree.map(lambda *parts: jnp.stack(parts), *(quantise(matrix, kind) for matrix in matrices))


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.01), ("nf4", 0.1)])
def test_normal_weights_stay_near(kind, most):
    weights = normal(3, 312, 96)
    off = jnp.linalg.norm(dense(stacked(weights, kind)) - weights, axis=(1, 2))
    error = off / jnp.linalg.norm(weights, axis=(1, 2))
    assert float(error.max()) < most


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_it_has_the_shape_of_its_matrix_and_a_stack_is_its_layers(kind, size):
    weights = normal(2, *size)
    stack = stacked(weights, kind)
    assert (stack.shape, stack.ndim, stack.size) == (weights.shape, 3, weights.size)
    assert dense(stack).dtype == jnp.float32
    for layer, matrix in zip(dense(stack), weights, strict=True):
        np.testing.assert_array_equal(layer, dense(quantise(matrix, kind)))


def test_codes_and_scales_have_their_bytes_on_every_device():
    weights = normal(4, 256, 128)
    floats = weights.nbytes
    assert stacked(weights, "int8").nbytes == floats // 4 + 4 * 128 * 4
    assert stacked(weights, "nf4").nbytes == floats // 8 + 4 * (256 // TILE) * 128 * 4


@hypothesis.given(
    strategies.sampled_from(KINDS),
    strategies.sampled_from(SIZES),
    strategies.integers(0, 2**32 - 1),
    strategies.floats(-30, 30),
)
def test_no_weight_is_further_off_than_half_a_step(kind, size, seed, exponent):
    """A step of nf4 is at most 0.304 of its scale (levels -1 and -0.696), one of int8 its scale."""
    matrix = normal(*size, seed=seed) * 2.0**exponent
    found = quantise(matrix, kind)
    scales = np.repeat(found.scales, len(matrix) if kind == "int8" else TILE, axis=0)[: len(matrix)]
    step = 1.0 if kind == "int8" else 0.304
    assert np.all(np.abs(dense(found) - matrix) <= 0.5001 * step * scales)


@hypothesis.given(strategies.sampled_from(SIZES), strategies.integers(0, 2**32 - 1))
def test_what_nf4_can_say_it_says_again(size, seed):
    found = quantise(normal(*size, seed=seed), "nf4")
    jax.tree.map(np.testing.assert_array_equal, quantise(dense(found), "nf4"), found)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_zeros(kind):
    np.testing.assert_array_equal(dense(quantise(jnp.zeros((70, 3)), kind)), 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_product_and_its_gradient_are_those_of_the_floats(kind, dtype):
    kernel, x = quantise(normal(96, 7), kind), normal(2, 5, 96, seed=1).astype(dtype)
    floats = dense(kernel).astype(dtype)

    def value(x, weights):
        return jnp.square(product(x, weights)).sum()

    ours, theirs = (jax.value_and_grad(value)(x, weights) for weights in (kernel, floats))
    assert ours[1].dtype == x.dtype
    for one, other in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True):
        np.testing.assert_allclose(np.float32(one), np.float32(other), atol=1e-6 * float(abs(other).max()))


def test_the_gradient_of_a_matrix_is_made_as_the_matrix_stands():
    x, kernel = np.ones((2, 40, 24), np.float32), np.ones((24, 32), np.float32)
    gradient = jax.jit(jax.grad(lambda kernel: jnp.sin(product(x, kernel)).sum())).lower(kernel).compile()
    assert not re.findall(r"\} (?:transpose|copy)\(", gradient.as_text())
    plain = jax.jit(jax.grad(lambda kernel: jnp.sin(x @ kernel).sum()))
    np.testing.assert_allclose(gradient(kernel), plain(kernel), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_kernel_gets_no_gradient(kind):
    kernel, x = quantise(normal(96, 7), kind), normal(5, 96, seed=1)
    gradient = jax.grad(lambda kernel: product(x, kernel).sum(), allow_int=True)(kernel)
    np.testing.assert_array_equal(gradient.scales, 0)
    assert gradient.codes.dtype == jax.dtypes.float0


@pytest.mark.parametrize("remat", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_training_through_a_scan_keeps_neither_floats_nor_a_second_set_of_codes(kind, remat):
    depth, width = 24, 256

    def loss(shift, kernel, x):
        def layer(x, own):
            return jnp.tanh(product(x, own[0])) + own[1], None

        return jax.lax.scan(jax.checkpoint(layer) if remat else layer, x, (kernel, shift))[0].sum()

    kernel = stacked(normal(depth, width, width), kind)
    arguments = jnp.zeros((depth, width)), kernel, jnp.ones((2, width))
    compiled = jax.jit(jax.grad(loss)).lower(*arguments).compile()
    floats = 4 * width * width  # of one layer
    assert compiled.memory_analysis().temp_size_in_bytes < min(4 * floats, kernel.nbytes)


def test_it_is_a_tree_of_two_arrays():
    kernel = quantise(normal(64, 3), "nf4")
    leaves, structure = jax.tree.flatten(kernel)
    assert [leaf.dtype for leaf in leaves] == [jnp.uint8, jnp.float32]
    assert structure != jax.tree.structure(quantise(normal(64, 3), "int8"))
