"""IA3 (Liu et al. 2022, section 3.3): y = l * (x W + b), and for feed-forward targets y = (l * x) W + b.

One target's leaves:
    before  layers.attention.key.kernel        [L, D_in, D_out]
    after   layers.attention.key.base.kernel   [L, D_in, D_out]   frozen
            layers.attention.key.ia3           [L, D_out]         trained (feed-forward: [L, D_in])
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.config import Ia3Config
from jaxpeft.errors import InputError

DEFAULT_TARGETS = {  # PEFT's where it has one, else those of the paper (Taylor et al. 2024)
    "bert": ("key", "value", "output.dense"),
    "distilbert": ("k_lin", "v_lin", "lin1", "lin2"),
    "llama": ("k_proj", "v_proj", "down_proj"),
    "mobilebert": ("key", "value", "output.dense"),
    "roberta": ("key", "value", "output.dense"),
}
DEFAULT_FEEDFORWARD = {
    "bert": ("output.dense",),
    "distilbert": ("lin1", "lin2"),
    "llama": ("down_proj",),
    "mobilebert": ("output.dense",),
    "roberta": ("output.dense",),
}


class Ia3Linear(nnx.Module):
    """A linear layer whose output, or for feed-forward targets input, is scaled elementwise."""

    def __init__(self, base: Any, *, scales_input: bool):
        *stack, d_in, d_out = base.kernel.shape
        self.base = base
        self.ia3 = nnx.Param(jnp.ones((*stack, d_in if scales_input else d_out)))  # ones: the base model at step 0
        self.scales_input = scales_input
        self.merged = False

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None = None) -> jax.Array:  # [..., D_in] -> [..., D_out]
        """`seeds` is unused: IA3 has no dropout."""
        if self.merged:
            return self.base(x)
        scale = self.ia3[...].astype(x.dtype)
        return self.base(x * scale) if self.scales_input else self.base(x) * scale

    def merge(self) -> None:
        """Scales the base's kernel by rows, or by columns and its bias too."""
        self._scale_base(self.ia3[...])

    def unmerge(self) -> None:
        """Divides by the same."""
        self._scale_base(1 / self.ia3[...])

    def can_unmerge(self) -> bool:
        """Whether nothing of the base was scaled by zero."""
        return bool(jnp.all(self.ia3[...] != 0))

    def _scale_base(self, factors: jax.Array) -> None:
        by = jnp.expand_dims(factors, -1 if self.scales_input else -2)
        scaled = {"kernel": by} if self.scales_input or not self.base.use_bias else {"kernel": by, "bias": factors}
        for name, factor in scaled.items():
            leaf = getattr(self.base, name)
            leaf.set_value((leaf[...] * factor).astype(leaf.dtype))


def scales_input(name: str, config: Ia3Config) -> bool:
    """Whether the module `name` is a feed-forward one: as in PEFT, by a bare suffix."""
    return name.endswith(tuple(config.feedforward_modules))


def check(modules: Iterable[str], layers: int, config: Ia3Config) -> None:
    """Raises InputError for a feed-forward module that none of `modules` is: it would be scaled at its output."""
    modules = tuple(modules)
    if unmatched := [end for end in config.feedforward_modules if not any(name.endswith(end) for name in modules)]:
        raise InputError(
            f"peft.ia3.feedforward_modules: {', '.join(map(repr, unmatched))} is none of the modules that get an "
            f"adapter: {', '.join(modules)}"
        )


def trains(path: str, config: Ia3Config) -> bool:
    """Whether the leaf trains."""
    return path.endswith(".ia3")


def wrap(base: nnx.Module, name: str, config: Ia3Config, key: jax.Array) -> nnx.Module:
    """The layer that takes the place of the linear layer `name`."""
    return Ia3Linear(base, scales_input=scales_input(name, config))
