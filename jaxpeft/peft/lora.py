"""LoRA (Hu et al. 2021, eq. 3): y = x W + b + s dropout(x) A B, with W and b frozen and s = alpha / rank.

One target's leaves:
    before  layers.attention.query.kernel              [L, D_in, D_out]
    after   layers.attention.query.base.kernel         [L, D_in, D_out]   frozen
            layers.attention.query.lora_a              [L, D_in, R]       trained
            layers.attention.query.lora_b              [L, R, D_out]      trained
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.config import LoraConfig
from jaxpeft.models.dropout import dropout

TRAINED = ("lora_a", "lora_b")
DEFAULT_TARGETS = {  # PEFT's where it has one, else those of the paper (Taylor et al. 2024)
    "bert": ("query", "value"),
    "distilbert": ("q_lin", "k_lin", "v_lin"),
    "llama": ("q_proj", "v_proj"),
    "mobilebert": ("query", "key", "value"),
    "roberta": ("query", "value"),
}


class LoraLinear(nnx.Module):
    """A linear layer with a low-rank update beside it."""

    def __init__(self, base: Any, config: LoraConfig, key: jax.Array):
        *stack, d_in, d_out = base.kernel.shape  # stack = [L] in an encoder, [] for a single layer
        bound = d_in**-0.5  # PEFT's kaiming_uniform(a=sqrt(5)), for each layer on its own
        self.base = base
        self.lora_a = nnx.Param(jax.random.uniform(key, (*stack, d_in, config.rank), minval=-bound, maxval=bound))
        self.lora_b = nnx.Param(jnp.zeros((*stack, config.rank, d_out)))  # zeros: the base model at step 0
        self.scaling = config.alpha / (config.rank**0.5 if config.rslora else config.rank)
        self.dropout = config.dropout

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None = None) -> jax.Array:  # [..., D_in] -> [..., D_out]
        """`seeds` [B, 2] turns the dropout of the update's input on."""
        down = dropout(x, self.dropout, seeds) @ self.lora_a[...].astype(x.dtype)  # [..., R]
        return self.base(x) + self.scaling * (down @ self.lora_b[...].astype(x.dtype))


def wrap(base: nnx.Module, name: str, config: LoraConfig, key: jax.Array) -> nnx.Module:
    """The layer that takes the place of the linear layer `name`."""
    return LoraLinear(base, config, key)
