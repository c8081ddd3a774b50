"""Attaches a method's layers to a model, by the names of Hugging Face's modules.

Knows no model: it asks for `model.linear_names()` (dotted path -> module name, `{layer}` for the layer's
number) and `model.model_type`.
"""

import dataclasses
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import jax
from flax import nnx

from jaxpeft.config import PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models.leaves import parent_of
from jaxpeft.models.tensors import LAYER, in_each_layer
from jaxpeft.peft import bitfit, ia3, lora, prompt

BASE = "base"  # the attribute under which an adapted layer holds the frozen one


@dataclasses.dataclass(frozen=True)
class Method:
    """What a method adds and what it trains, outside the head."""

    trains: Callable[[str, Any], bool] | None = None  # (path of a leaf, the method's block) -> whether it trains
    default_targets: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    wrap: Callable[[nnx.Module, str, Any, jax.Array], nnx.Module] | None = None
    check: Callable[[Iterable[str], int, Any], None] | None = None  # the modules to wrap, layers, the method's block
    virtual: Callable[[Any, Any, jax.Array], nnx.Module] | None = None  # its tokens, of model, settings and key

    @property
    def freezes_base(self) -> bool:
        """Whether what trains stands beside the base or is its head: then the base stays as its checkpoint has it."""
        return self.trains is None or self.wrap is not None or self.virtual is not None


METHODS: Mapping[str, Method] = {
    "lora": Method(lora.trains, lora.DEFAULT_TARGETS, lora.wrap, lora.check),
    "ia3": Method(ia3.trains, ia3.DEFAULT_TARGETS, ia3.wrap, ia3.check),
    "prompt": Method(prompt.trains, virtual=prompt.Prompt),
    "p_tuning": Method(prompt.trains, virtual=prompt.PTuning),
    "prefix": Method(prompt.trains, virtual=prompt.Prefix),
    "bitfit": Method(bitfit.trains),
    "full": Method(lambda path, settings: True),
    "head": Method(),
}


def attach(model: Any, config: PeftConfig, key: jax.Array, new: Collection[str] = ()) -> Any:
    """Puts the adapters of `config.method` into the model, in place, and returns it.

    Each adapter draws from `key` and its own path, so the values do not depend on which others there are. Layers of
    `new`, paths of leaves that train as they are, get none. Raises InputError when a target matches nothing, or the
    method's block does not fit the model.
    """
    method = METHODS[config.method]
    if method.virtual is not None:
        model.virtual = method.virtual(model, getattr(config, config.method), key)
    if method.wrap is None:
        return model
    settings = _settings(config, model.model_type)
    found = targets(model, config, new)
    if method.check is not None:
        method.check(found.values(), model.config.num_hidden_layers, getattr(config, config.method))
    for path, name in found.items():
        parent, attribute = parent_of(model, path)
        own_key = jax.random.fold_in(key, zlib.crc32(path.encode()))
        setattr(parent, attribute, method.wrap(getattr(parent, attribute), name, settings, own_key))
    return model


def virtual_tokens(config: PeftConfig) -> int:
    """How many positions of a model the method takes from its texts."""
    return 0 if METHODS[config.method].virtual is None else getattr(config, config.method).tokens


def targets(model: Any, config: PeftConfig, new: Collection[str] = ()) -> dict[str, str]:
    """The linear layers that `config` names: dotted path -> module name.

    A list entry matches a whole module name or its end after a dot (PEFT's rule); `target_regex` matches
    whole names, and must take every layer of a stack or none. Raises InputError with the candidates when a
    list entry, or the pattern, matches nothing.
    """
    # A layer that trains anyway takes no adapter.
    candidates = {path: name for path, name in encoder_layers(model).items() if f"{path}.kernel" not in new}
    if config.target_regex is not None:
        found = {path: name for path, name in candidates.items() if _matches_stack(config.target_regex, name, model)}
        unmatched = [] if found else [config.target_regex]
    else:
        wanted = config.target_modules or METHODS[config.method].default_targets[model.model_type]
        found = {path: name for path, name in candidates.items() if any(_is_suffix(entry, name) for entry in wanted)}
        unmatched = [entry for entry in wanted if not any(_is_suffix(entry, name) for name in candidates.values())]
    if unmatched:
        raise InputError(
            f"peft.target_modules or target_regex: {', '.join(map(repr, unmatched))} matches no linear layer of this "
            f"{model.model_type} model; candidates are {', '.join(sorted(_short_names(candidates.values())))}"
        )
    return found


def encoder_layers(model: Any) -> dict[str, str]:
    """Dotted path -> module name of every linear layer that is no part of the head."""
    return {path: name for path, name in model.linear_names().items() if path.split(".")[0] not in model.head}


def adapted(model: Any) -> Iterator[tuple[str, str, Any]]:
    """Dotted path, module name and module of every layer that an adapter stands in."""
    for path, name in model.linear_names().items():
        parent, attribute = parent_of(model, path)
        if hasattr(layer := getattr(parent, attribute), BASE):
            yield path, name, layer


def _is_suffix(entry: str, name: str) -> bool:
    return name == entry or name.endswith("." + entry)


def _matches_stack(pattern: str, name: str, model: Any) -> bool:
    """Whether a pattern matches a module in every layer. Raises InputError where it matches in some alone."""
    hits = [re.fullmatch(pattern, one) is not None for _, one in in_each_layer(name, model.config.num_hidden_layers)]
    if any(hits) and not all(hits):
        raise InputError(
            f"peft.target_regex {pattern!r} matches {name} in {sum(hits)} of {len(hits)} layers; "
            "it must match in all of them"
        )
    return all(hits)


def _short_names(names: Iterable[str]) -> set[str]:
    """What follows the layer's number: the part that people write as a target."""
    return {name.split(f"{LAYER}.")[-1] for name in names}


def _settings(config: PeftConfig, model_type: str) -> Any:
    settings: Any = getattr(config, config.method, None)  # some have nothing to set
    if config.method == "ia3" and not settings.feedforward_modules and not config.target_modules:
        return dataclasses.replace(settings, feedforward_modules=ia3.DEFAULT_FEEDFORWARD[model_type])
    return settings
