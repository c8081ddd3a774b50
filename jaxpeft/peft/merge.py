"""Folds adapters into the base: the same outputs at the base's speed, and a model that needs no adapters.

merge(model)             each adapted layer puts its update into its base's kernel and bias, and computes as its base
unmerge(model)           takes it out again, up to rounding
merged_tensors(model)    the tensors of the merged model, one at a time, under Hugging Face's names; model unchanged

Arithmetic is in float32; the result is rounded to the type that the base is held in.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models.quantised import Quantised
from jaxpeft.models.tensors import LAYER, in_each_layer
from jaxpeft.peft.inject import BASE, adapted
from jaxpeft.peft.partition import base_path, flatten


def merge(model: Any) -> Any:
    """Merges every adapter, in place, and returns the model; what is merged already stays as it is.

    Raises InputError for an adapter that is no part of a linear layer, and for a quantised base.
    """
    for layer in _mergeable(model).values():
        _merge_layer(layer)
    return model


def unmerge(model: Any) -> Any:
    """Undoes `merge`, in place, and returns the model.

    Raises InputError, and leaves all as it was, where a vector of IA3 has a zero: what that scaled is lost.
    """
    merged = {path: layer for path, _, layer in adapted(model) if layer.merged}
    if lost := [path for path, layer in merged.items() if not layer.can_unmerge()]:
        raise InputError(f"{', '.join(lost)} cannot be unmerged: weights were scaled by zero; load the base again")
    for layer in merged.values():
        layer.unmerge()
        layer.merged = False
    return model


def merged_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Name and shape of each tensor of the merged model, in the order in which `merged_tensors` gives them."""
    return {name: shape for name, shape, _ in _parts(model)}


def merged_tensors(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Name and values of each tensor of the merged model, as torch holds it; one layer's matrix is merged at a time.

    Raises InputError for an adapter that is no part of a linear layer, and for a quantised base.
    """
    for name, _, read in _parts(model):
        yield name, read()


def _parts(model: Any) -> Iterator[tuple[str, tuple[int, ...], Callable[[], np.ndarray]]]:
    """Name, shape and reader of each tensor, module by module and in each layer by layer."""
    layers, leaves = _mergeable(model), flatten(model)[1]
    for module, group in itertools.groupby(model.tensors(), lambda tensor: tensor.path.rpartition(".")[0]):
        tensors = list(group)
        for index, _ in in_each_layer(tensors[0].name, model.config.num_hidden_layers):
            base = functools.cache(functools.partial(_merged_base, layers[module], index)) if module in layers else None
            for tensor in tensors:
                role = tensor.path.rpartition(".")[2]
                leaf = leaves[tensor.path if base is None else f"{module}.{BASE}.{role}"]
                shape = leaf.shape[len(index) :]
                name = tensor.name.replace(LAYER, str(*index))
                read = functools.partial(_read, leaf, index, base, role, tensor.transpose)
                yield name, shape[::-1] if tensor.transpose else shape, read


def _read(
    leaf: jax.Array, index: tuple[int, ...], base: Callable[[], Any] | None, role: str, transpose: bool
) -> np.ndarray:
    values = np.asarray(leaf[index] if base is None else getattr(base(), role)[...])
    return values.T if transpose else values


def _mergeable(model: Any) -> dict[str, Any]:
    """Path -> adapted layer. Raises InputError for adapters elsewhere, and for a quantised base."""
    if any(isinstance(leaf, Quantised) for leaf in flatten(model)[1].values()):
        raise InputError("adapters cannot be merged into a quantised base: load it with model.quantise=none")
    layers = {path: layer for path, _, layer in adapted(model)}
    base = {tensor.path for tensor in model.tensors()}
    outside = [
        path for path in flatten(model)[1] if base_path(path) not in base and path.rpartition(".")[0] not in layers
    ]
    if outside:
        raise InputError(
            f"{', '.join(outside)} is no part of a linear layer and cannot be merged into one: use the adapter as it is"
        )
    return layers


def _merge_layer(layer: Any) -> Any:
    if not layer.merged:
        layer.merge()
        layer.merged = True
    return layer


def _merged_base(layer: Any, index: tuple[int, ...]) -> Any:
    """The base of one layer of a stack, with that layer's update in it."""
    graphdef, state = nnx.split(layer)
    return _merge_layer(nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[index], state), copy=True)).base
