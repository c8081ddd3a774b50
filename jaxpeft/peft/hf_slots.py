"""Where a tensor of PEFT's file lies among our leaves, and module names both ways."""

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from jaxpeft.errors import InputError
from jaxpeft.models.tensors import in_each_layer
from jaxpeft.peft.inject import encoder_layers

TRANSPOSED = (1, 0)  # torch holds linear weights as (out, in)


@dataclasses.dataclass(frozen=True)
class Slot:
    """One tensor of `shape` in a file: the part `index` of the leaf `path`, its axes in another order if so said."""

    path: str
    index: tuple[int | slice, ...]
    shape: tuple[int, ...]
    axes: tuple[int, ...] | None = None

    def take(self, leaves: Mapping[str, np.ndarray]) -> np.ndarray:
        """The tensor as the file holds it."""
        part = leaves[self.path][self.index]
        return np.ascontiguousarray(self._turned(part)).reshape(self.shape)

    def put(self, leaves: Mapping[str, np.ndarray], values: np.ndarray) -> None:
        """Writes the file's tensor into its leaf."""
        turned = self._turned(leaves[self.path][self.index])  # a view
        turned[...] = values.reshape(turned.shape)

    def _turned(self, part: np.ndarray) -> np.ndarray:
        return part if self.axes is None else part.transpose(self.axes)


def adapted_modules(tensors: Iterable[str], roles: tuple[str, ...]) -> list[str]:
    """Names of the modules that have tensors of these roles, each once."""
    found = (name.removesuffix(f".{role}") for name in tensors for role in roles if name.endswith(f".{role}"))
    return list(dict.fromkeys(found))


def locate(model: Any, modules: Iterable[str]) -> dict[str, set[int]]:
    """Path of every stack of linear layers among `modules` -> the layers that are; {0} for one that stands alone.

    Raises InputError for modules that are no linear layer of the encoder.
    """
    depth = model.config.num_hidden_layers
    known = {
        one: (path, index[0] if index else 0)
        for path, name in encoder_layers(model).items()
        for index, one in in_each_layer(name, depth)
    }
    modules = list(modules)
    if unknown := [module for module in modules if module not in known]:
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        raise InputError(
            f"the adapter stands in {', '.join(map(ascii, unknown[:8]))}{more}: no linear layer of this "
            f"{model.model_type} model, which has {depth} layers"
        )
    found: dict[str, set[int]] = {}
    for module in modules:
        path, layer = known[module]
        found.setdefault(path, set()).add(layer)
    return found


def shortest_names(model: Any, paths: Collection[str]) -> list[str]:
    """The shortest ends of module names that mean these layers of the encoder, and no others.

    Even PEFT's rule for feed-forward modules, which takes an end that does not begin at a dot, finds no others.
    """
    layers, depth = encoder_layers(model), model.config.num_hidden_layers
    others = [one for path, name in layers.items() if path not in paths for _, one in in_each_layer(name, depth)]

    def means_others(end: str) -> bool:
        written = tuple(one for _, one in in_each_layer(end, depth))  # "0.output.dense" ends "ffn.0.output.dense" too
        return any(other.endswith(written) for other in others)

    found = []
    for path in paths:
        parts = layers[path].split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
        found.append(next(end for end in ends if not means_others(end)))
    return list(dict.fromkeys(found))


def for_peft(entries: Iterable[str], layers: int) -> list[str]:
    """Entries of a target list as PEFT understands them: one for each layer where ours says `{layer}`."""
    return sorted({one for entry in entries for _, one in in_each_layer(entry, layers)})
