"""Who trains: every leaf is labelled, then trainable and frozen leaves are split into two trees.

    model                                        label
    layers.attention.query.base.kernel           frozen     in bf16 if the model computes in it, no gradient
    layers.attention.query.lora_a, lora_b        adapter    what the method trains (full: the encoder itself)
    layers.attention.query.lora_scale            frozen     a constant
    pooler.kernel (checkpoint lacked it)         head       the classifier, and all that is newly initialised
    classifier.kernel                            head

Trees are flat dicts, dotted path -> array: a path in a message, a mask and a checkpoint is the same string. Of a
quantised base a frozen kernel is two arrays under one path (`models.quantised`).
"""

from collections.abc import Collection, Mapping
from typing import Any

import jax
from flax import nnx

from jaxpeft.config import PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models.leaves import by_path
from jaxpeft.peft.inject import BASE, METHODS
from jaxpeft.peft.lora import LoraLinear

ADAPTER, HEAD, FROZEN = "adapter", "head", "frozen"
Tree = dict[str, jax.Array]


def flatten(model: Any) -> tuple[Any, Tree]:
    """A model as (structure, leaves)."""
    graphdef, state = nnx.split(model)
    return graphdef, {path: leaf.get_value() for path, leaf in by_path(state).items()}


def unflatten(graphdef: Any, leaves: Mapping[str, jax.Array]) -> Any:
    """The inverse of `flatten`; works under `jit` and `grad`."""
    state = nnx.from_flat_state([(tuple(path.split(".")), leaf) for path, leaf in leaves.items()])
    return nnx.merge(graphdef, state, copy=True)


def base_path(path: str) -> str:
    """The leaf's path in the model without adapters."""
    return ".".join(part for part in path.split(".") if part != BASE)


def label(paths: Collection[str], config: PeftConfig, head: Collection[str], new: Collection[str]) -> dict[str, str]:
    """Path -> `adapter`, `head` or `frozen`. Raises InputError where the method finds nothing to train.

    Args:
        paths: of every leaf of the adapted model. config: the method, and what its block says of biases.
        head: attributes of the model that are its head. new: paths of the base model that no checkpoint filled.
    """
    trains, settings = METHODS[config.method].trains, getattr(config, config.method, None)

    def one(path: str) -> str:
        if path.split(".")[0] in head or base_path(path) in new:
            return HEAD
        return ADAPTER if trains is not None and trains(path, settings) else FROZEN

    labels = {path: one(path) for path in paths}
    if trains is not None and ADAPTER not in labels.values():
        raise InputError(
            f"peft.method {config.method!r} finds nothing to train in this model"
            + (": it has no biases outside its head; choose another method" if config.method == "bitfit" else "")
        )
    return labels


def split(leaves: Tree, labels: Mapping[str, str]) -> tuple[Tree, Tree]:
    """(trainable, frozen); `{**trainable, **frozen}` is the inverse."""
    trainable = {path: leaf for path, leaf in leaves.items() if labels[path] != FROZEN}
    return trainable, {path: leaf for path, leaf in leaves.items() if labels[path] == FROZEN}


def count(model: Any, labels: Mapping[str, str]) -> dict[str, int]:
    """Parameters a label, of an adapted model that may be abstract. Entries that only fill a stack up are none."""
    totals = dict.fromkeys((ADAPTER, HEAD, FROZEN), 0)
    for path, leaf in flatten(model)[1].items():
        totals[labels[path]] += leaf.size
    for parents, module in nnx.iter_modules(model):
        if isinstance(module, LoraLinear):
            for name, entries in module.absent().items():
                path = ".".join(map(str, (*parents, name)))
                totals[labels[path]] -= entries
                totals[FROZEN] += entries if name.startswith(BASE) else 0  # the base's own, held still
    return totals
