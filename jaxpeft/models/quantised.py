"""Frozen matrices in 8 or 4 bits: held as codes and scales, and as floats only while they are multiplied.

    int8    w = scale * code           a scale an output                  Dettmers et al. 2022, but no outliers apart
    nf4     w = scale * level[code]    a scale 64 inputs of an output     Dettmers et al. 2023, appendix E

Codes and levels are qwix's. What is kept of nf4 is ours: two codes a byte, as 4-bit arrays of JAX take a byte each on
some devices, and inputs filled up with zeros to whole tiles.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

KINDS = ("int8", "nf4")
TILE = 64


@functools.partial(jax.tree_util.register_dataclass, data_fields=["codes", "scales"], meta_fields=["kind", "d_in"])
@dataclasses.dataclass(frozen=True)
class Quantised:
    """A matrix, or a stack of them: what a kernel's leaf holds in place of an array [..., D_in, D_out].

    Attributes:
        codes: int8 [..., D_in, D_out]; of nf4 uint8 [..., 32 x tiles, D_out], the first of two inputs in the low bits.
        scales: float32 [..., 1, D_out]; of nf4 [..., tiles, D_out].
        kind: int8 | nf4. d_in: how many inputs there are.
    """

    codes: jax.Array
    scales: jax.Array
    kind: str
    d_in: int

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the matrix."""
        return (*self.codes.shape[:-2], self.d_in, self.codes.shape[-1])

    @property
    def ndim(self) -> int:
        """Two, or three of a stack."""
        return self.codes.ndim

    @property
    def size(self) -> int:
        """Parameters, not bytes."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Of codes and scales."""
        return self.codes.nbytes + self.scales.nbytes


@functools.partial(jax.jit, static_argnames="kind")
def quantise(matrix: jax.Array, kind: str) -> Quantised:
    """float32 [D_in, D_out] in codes and scales; compiled, as qwix's search for the nearest level is wide otherwise."""
    import qwix  # here, as most runs have no use for what it imports

    d_in = len(matrix)
    if kind == "int8":
        found = qwix.quantize(matrix, kind, channelwise_axes=(1,))
        return Quantised(found.qvalue, found.scale, kind, d_in)
    whole = jnp.pad(matrix, ((0, -d_in % TILE), (0, 0)))
    found = qwix.quantize(whole, kind, channelwise_axes=(1,), tiled_axes={0: TILE})
    codes = found.qvalue.astype(jnp.uint8)
    return Quantised(codes[0::2] | codes[1::2] << 4, found.scale, kind, d_in)


def dense(kernel: jax.Array | Quantised) -> jax.Array:
    """The matrices [..., D_in, D_out] as floats: float32, or the array that was never quantised."""
    if not isinstance(kernel, Quantised):
        return kernel
    import qwix

    codes = kernel.codes
    if kernel.kind == "nf4":
        codes = jnp.stack([codes & 15, codes >> 4], axis=-2)  # [..., 32 x tiles, 2, D_out]
        codes = codes.reshape(*codes.shape[:-3], -1, codes.shape[-1])
    return qwix.dequantize(qwix.QArray(codes, kernel.scales, qtype=kernel.kind))[..., : kernel.d_in, :]


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array | Quantised) -> jax.Array:
    """x W in x's type, [..., D_in] and [D_in, D_out] -> [..., D_out]; what is quantised gets no gradient."""
    return x @ dense(kernel).astype(x.dtype)


def _forward(x: Any, kernel: Any) -> tuple[jax.Array, Any]:
    """Of arrays that say whether they have a gradient: where the matrix has none, x need not be kept."""
    trains = not isinstance(kernel, Quantised) and kernel.perturbed
    x, kernel = jax.tree.map(lambda leaf: leaf.value, (x, kernel))
    return product(x, kernel), (x if trains else None, kernel)


def _backward(saved: Any, gradient: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    # Floats are made of codes once more: JAX would keep those of the forward pass, and with them, behind a scan over
    # the layers, the whole model. And JAX's own gradient of a matrix is a transposed one, for which XLA turns all that
    # came in on a CPU.
    x, kernel = saved
    of_x = gradient @ dense(kernel).astype(gradient.dtype).T
    if x is None:
        return of_x, None
    rows = tuple(range(x.ndim - 1))
    return of_x, jax.lax.dot_general(x, gradient, ((rows, rows), ((), ()))).astype(kernel.dtype)


product.defvjp(_forward, _backward, symbolic_zeros=True)
