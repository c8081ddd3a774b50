"""The layers that every architecture is made of. Leaves may carry a leading layer axis [L] for a scan.

Constructors allocate zeros and are meant for `nnx.eval_shape`; values come from `initialise` or a checkpoint.
Each layer computes in the type of its input: frozen weights are stored in that type or quantised, trained ones in
float32, and cast here.
"""

import zlib

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models.quantised import dense, product


class Linear(nnx.Module):
    """y = x W + b."""

    def __init__(self, d_in: int, d_out: int, *, stack: tuple[int, ...] = (), use_bias: bool = True):
        self.kernel = nnx.Param(jnp.zeros((*stack, d_in, d_out)))
        if use_bias:
            self.bias = nnx.Param(jnp.zeros((*stack, d_out)))
        self.use_bias = use_bias

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None = None) -> jax.Array:  # [..., D_in] -> [..., D_out]
        """`seeds` is for adapters that take this layer's place and drop; a plain layer has no dropout."""
        y = self.product(x)
        return y + self.bias[...].astype(x.dtype) if self.use_bias else y

    def product(self, x: jax.Array) -> jax.Array:
        """x W, [..., D_in] -> [..., D_out]."""
        return product(x, self.kernel.get_value())

    def weights(self) -> jax.Array:
        """W as floats, [..., D_in, D_out]: the type that it is held in, or float32."""
        return dense(self.kernel.get_value())


class LayerNorm(nnx.Module):
    """(x - mean) / sqrt(variance + eps) * scale + bias over the last axis, in float32 (Ba et al. 2016)."""

    def __init__(self, d: int, *, eps: float, stack: tuple[int, ...] = ()):
        self.scale = nnx.Param(jnp.zeros((*stack, d)))
        self.bias = nnx.Param(jnp.zeros((*stack, d)))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        return layer_norm(x, self.scale[...], self.bias[...], self.eps)


def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array, eps: float) -> jax.Array:
    """What `LayerNorm` computes, of its leaves: [..., D] -> [..., D]."""
    wide = x.astype(jnp.float32)
    centred = wide - wide.mean(axis=-1, keepdims=True)
    variance = jnp.square(centred).mean(axis=-1, keepdims=True)
    normal = centred * jax.lax.rsqrt(variance + eps)
    return (normal * scale + bias).astype(x.dtype)


class Embedding(nnx.Module):
    """A table [V, D] looked up by id."""

    def __init__(self, size: int, d: int):
        self.embedding = nnx.Param(jnp.zeros((size, d)))

    def __call__(self, ids: jax.Array) -> jax.Array:
        """[...] -> [..., D]."""
        return jnp.take(self.embedding[...], ids, axis=0, mode="clip")


def initialise(path: str, shape: tuple[int, ...], key: jax.Array, *, standard_deviation: float) -> jax.Array:
    """A fresh float32 leaf for a dotted path: matrices normal, biases zero, norm scales one (as BERT's authors)."""
    role = path.rsplit(".", 1)[-1]
    if role in ("kernel", "embedding"):
        own_key = jax.random.fold_in(key, zlib.crc32(path.encode()))
        return standard_deviation * jax.random.normal(own_key, shape)
    return jnp.ones(shape) if role == "scale" else jnp.zeros(shape)
