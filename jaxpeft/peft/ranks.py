"""LoRA of several ranks and alphas as one stack of trees: the narrower are filled up with zeros that stay zero.

    s A B  =  (A diag(c)) B        c [R] is s up to the rank and 0 beyond

A model of the largest rank R and s = 1 that has A diag(c) for its A is one of rank r and its own s: what lies beyond
the rank gets no gradient, and what is zero does not decay.
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft.config import LoraConfig, PeftConfig
from jaxpeft.peft.lora import scale_of
from jaxpeft.peft.partition import Tree

AXIS = {"lora_a": -1, "lora_b": -2}  # that is as long as the rank


def differ(configs: Sequence[PeftConfig]) -> bool:
    """Whether the runs of these settings need `common` ones; without, all have one rank and one s."""
    return len({(config.lora.rank, config.lora.alpha) for config in configs}) > 1


def common(configs: Sequence[PeftConfig]) -> PeftConfig:
    """Settings of the model of the largest rank and s = 1."""
    rank = max(config.lora.rank for config in configs)
    lora = dataclasses.replace(configs[0].lora, rank=rank, alpha=float(rank), rslora=False)
    return dataclasses.replace(configs[0], lora=lora)


def column_scales(config: LoraConfig, rank: int) -> np.ndarray:
    """What the columns of A are multiplied by in a model of the largest `rank`, float32 [R]."""
    scale = scale_of(config.rank, config.alpha, config)
    return np.where(np.arange(rank) < config.rank, scale, 0.0).astype(np.float32)


def scaled(tree: Tree, scales: jax.Array) -> Tree:
    """The leaves that the common model has for those of a run."""
    return {path: leaf * scales if _role(path) == "lora_a" else leaf for path, leaf in tree.items()}


def widened(tree: Tree, rank: int) -> Tree:
    """The tree filled up with zeros to `rank`."""

    def one(path: str, leaf: jax.Array) -> jax.Array:
        axis, pad = AXIS[_role(path)], [(0, 0)] * leaf.ndim
        pad[axis] = 0, rank - leaf.shape[axis]
        return jnp.pad(leaf, pad)

    return {path: one(path, leaf) if _role(path) in AXIS else leaf for path, leaf in tree.items()}


def narrowed(tree: Tree, rank: int) -> Tree:
    """The first `rank` entries: the inverse of `widened`."""

    def one(path: str, leaf: jax.Array) -> jax.Array:
        return leaf[..., :rank] if _role(path) == "lora_a" else leaf[..., :rank, :]

    return {path: one(path, leaf) if _role(path) in AXIS else leaf for path, leaf in tree.items()}


def _role(path: str) -> str:
    return path.rsplit(".", 1)[-1]
