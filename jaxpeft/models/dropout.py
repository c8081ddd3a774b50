"""Dropout masks that depend on (seed, step, example) alone, so every placement of a batch draws the same ones.

A mask is a counter-based hash of the element's index and two words an example: about ten integer
operations an element, fused into the consumer and recomputed in the backward pass, so no mask is ever
stored. threefry masks cost about a fifth of a training step on a CPU.
"""

import functools

import jax
import jax.numpy as jnp


def example_seeds(seed: int, step: jax.Array, examples: jax.Array) -> jax.Array:
    """Two words an example, uint32 [B, 2], from the dropout seed, the step and the example's number [B]."""
    key = jax.random.fold_in(jax.random.key(seed, impl="threefry2x32"), step)
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(examples)
    return jax.random.key_data(keys)


def fold(seeds: jax.Array | None, number: jax.Array | int) -> jax.Array | None:
    """Seeds [B, 2] of a sub-stream: one for each layer, and in it one for each place that drops. None stays None."""
    if seeds is None:
        return None
    return _mix(seeds ^ (jnp.asarray(number, jnp.uint32) * jnp.uint32(0x9E3779B9) + jnp.uint32(1)))


def dropout(x: jax.Array, rate: float, seeds: jax.Array | None) -> jax.Array:
    """Zeroes elements of x [B, ...] with probability `rate` and divides the rest by what is kept.

    `seeds` [B, 2] picks the mask; None means evaluation: x unchanged.
    """
    if seeds is None or rate == 0.0:
        return x
    return _masked(x, seeds, rate)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _masked(x: jax.Array, seeds: jax.Array, rate: float) -> jax.Array:
    scale = jnp.asarray(1.0 / (1.0 - rate), x.dtype)
    return jnp.where(_keep(x.shape, seeds, rate), x * scale, jnp.zeros((), x.dtype))


def _masked_forward(x, seeds, rate):
    return _masked(x, seeds, rate), seeds


def _masked_backward(rate, seeds, gradient):
    return _masked(gradient, seeds, rate), None


_masked.defvjp(_masked_forward, _masked_backward)


def _keep(shape: tuple[int, ...], seeds: jax.Array, rate: float) -> jax.Array:
    """Boolean mask of `shape` [B, ...], True with probability 1 - rate to within 2^-32."""
    index = jnp.zeros(shape[1:], jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape) - 1)):
        index += jax.lax.broadcasted_iota(jnp.uint32, shape[1:], axis) * jnp.uint32(stride)
        stride *= shape[axis + 1]
    first, second = (seeds[:, word].reshape(-1, *[1] * (len(shape) - 1)) for word in (0, 1))
    bits = _mix(_mix(index[None] ^ first) ^ second)
    return bits >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def _mix(bits: jax.Array) -> jax.Array:
    """A bijection of uint32 in which every input bit flips every output bit about half the time (lowbias32)."""
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = (bits ^ (bits >> 15)) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
