"""Layers of one shape held as one tree with a leading layer axis, and run by a scan.

Compile time does not grow with depth, adapters are one leaf a target, and sharding is one rule.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models.dropout import fold

# On a CPU a training step's scan copies each layer's kernels out of their stack, and what the backward pass reads into
# stacks and out again: a tenth of the step and more. In a row layers take longer to compile, and more memory, both the
# more the deeper the model is. So they stand in a row where they are no more than this, and no more numbers lie between
# two of them.
DEPTH_UNROLLED, STATES_UNROLLED = 6, 1 << 21

BEFORE_LAYERS, AFTER_LAYERS = 1 << 16, (1 << 16) + 1  # dropout streams beside those of the layers 0, 1, ...


def scan_layers(
    layers: nnx.Module,
    x: jax.Array,
    *args: Any,
    prefix: jax.Array | None = None,
    seeds: jax.Array | None,
    remat: bool = False,
    unroll: int | None = None,
    keep_all: bool = False,
) -> tuple[jax.Array, jax.Array | None]:
    """Runs x through `layers`, one block whose leaves are [L, ...], one slice after the other.

    `args` go to each layer unchanged; each gets its slice of `prefix` [L, ...] and dropout seeds of its own. `remat`
    recomputes a layer in the backward pass. `unroll` is how many layers an iteration of the scan has: more take longer
    to compile; None is what pays. Returns the last output and, with `keep_all`, every layer's [L, ...].
    """
    graphdef, params = nnx.split(layers)
    depth = jax.tree.leaves(params)[0].shape[0]

    def block(x, own):
        layer, own_prefix, index = own
        own_seeds = None if seeds is None else fold(seeds, index)
        x = nnx.merge(graphdef, layer, copy=True)(x, *args, prefix=own_prefix, seeds=own_seeds)
        return x, (x if keep_all else None)

    body = jax.checkpoint(block) if remat else block
    if unroll is None:
        trains, on_cpu = seeds is not None, jax.default_backend() == "cpu"
        pays = trains and on_cpu and depth <= DEPTH_UNROLLED and x.size <= STATES_UNROLLED
        unroll = depth if pays else 1
    return jax.lax.scan(body, x, (params, prefix, jnp.arange(depth)), unroll=min(unroll, depth))
