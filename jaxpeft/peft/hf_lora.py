"""LoRA in PEFT's files: A is (R, D_in), B is (D_out, R), DoRA's magnitude (D_out,); each with its layer's own R."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxpeft.config import LoraConfig, PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models.tensors import LAYER, in_each_layer
from jaxpeft.peft import hf_fields, patterns
from jaxpeft.peft.hf_slots import TRANSPOSED, Slot, adapted_modules, for_peft, locate, shortest_names
from jaxpeft.peft.inject import adapted, encoder_layers

ROLES = ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")
# Keys that, where they are set, make another model; others say how an adapter began or was trained.
UNSUPPORTED = (
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
)
# Initialisations that take what they put into A B out of W.
CHANGES_BASE = ("corda", "loftq", "lora_ga", "olora", "pissa")


def slots(model: Any) -> dict[str, Slot]:
    """Where the leaves of an adapted model go."""
    found = {}
    for path, name, layer in adapted(model):
        d_in, d_out = layer.lora_a.shape[-2], layer.lora_b.shape[-1]
        for (index, module), rank in zip(in_each_layer(name, len(layer.ranks)), layer.ranks, strict=True):
            if rank == 0:
                continue
            columns: tuple[int | slice, ...] = (*index, slice(None), slice(rank))
            rows: tuple[int | slice, ...] = (*index, slice(rank))
            found[f"{module}.lora_A.weight"] = Slot(f"{path}.lora_a", columns, (rank, d_in), TRANSPOSED)
            found[f"{module}.lora_B.weight"] = Slot(f"{path}.lora_b", rows, (d_out, rank), TRANSPOSED)
            if layer.dora:
                found[f"{module}.lora_magnitude_vector"] = Slot(f"{path}.lora_magnitude", index, (d_out,))
    return found


def to_hf(model: Any, config: PeftConfig) -> dict[str, Any]:
    """The method's keys of adapter_config.json."""
    settings = config.lora
    paths = [path for path, *_ in adapted(model)]
    modules = adapted_modules(slots(model), ROLES)
    ranks = _in_any_order(patterns.parse(settings.rank_pattern), settings.rank, modules)
    return {
        "target_modules": for_peft(shortest_names(model, paths), model.config.num_hidden_layers),
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rslora,
        "use_dora": settings.dora,
        "bias": settings.bias,
        "rank_pattern": {pattern: int(rank) for pattern, rank in ranks.items()},
        "alpha_pattern": _in_any_order(patterns.parse(settings.alpha_pattern), settings.alpha, modules),
        "layers_to_transform": sorted(settings.layers_to_transform) or None,
        "layers_pattern": _stack_name(model) if settings.layers_to_transform else None,
        "init_lora_weights": True,
        "fan_in_fan_out": False,
    }


def from_hf(model: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> PeftConfig:
    """Our settings: where there are adapters by the tensors, the rest by the keys. Raises InputError."""
    _refuse(given)
    modules = adapted_modules(shapes, ROLES)
    layers = locate(model, modules)
    rank = hf_fields.whole(given, "r", 8)
    ranks = _ranks(_patterns(given, "rank_pattern", modules), rank, modules, shapes)
    alphas = _patterns(given, "alpha_pattern", modules)
    return PeftConfig(
        method="lora",
        target_modules=tuple(shortest_names(model, layers)),
        lora=LoraConfig(
            rank=rank,
            alpha=hf_fields.number(given, "lora_alpha", 8),
            dropout=hf_fields.number(given, "lora_dropout", 0.0),
            rslora=hf_fields.boolean(given, "use_rslora"),
            dora=hf_fields.boolean(given, "use_dora"),
            bias=hf_fields.text(given, "bias") or "none",
            layers_to_transform=_layers(model, layers),
            rank_pattern=_entries(ranks),
            alpha_pattern=_entries(alphas),
        ),
    )


def _stack_name(model: Any) -> str:
    """What stands before a layer's number: told, since a reader that guesses takes MobileBERT's `ffn.0` for a layer."""
    name = next(name for name in encoder_layers(model).values() if LAYER in name)
    return name.partition(f".{LAYER}")[0].rpartition(".")[2]


def _layers(model: Any, found: Mapping[str, set[int]]) -> tuple[int, ...]:
    """The numbers of the layers that hold an adapter, () for all; every target must stand in the same ones."""
    every, depth = encoder_layers(model), model.config.num_hidden_layers
    stacks = {every[path]: layers for path, layers in found.items() if LAYER in every[path]}
    if all(len(layers) == depth for layers in stacks.values()):
        return ()
    chosen = next(iter(stacks.values()))
    if len(stacks) < len(found) or any(layers != chosen for layers in stacks.values()):
        listed = "; ".join(f"{name} in {sorted(layers)}" for name, layers in stacks.items())
        raise InputError(f"the adapter's targets stand in different layers, which is not supported: {listed}")
    return tuple(sorted(chosen))


def _in_any_order(given: Mapping[str, float], default: float, modules: Sequence[str]) -> Mapping[str, float]:
    """Patterns of which the first that matches counts, for a file that sorts them: by module where that matters."""
    values = {module: patterns.value_of(module, given, default) for module in modules}
    in_order = dict(sorted(given.items()))
    if all(patterns.value_of(module, in_order, default) == value for module, value in values.items()):
        return given
    return {module: value for module, value in values.items() if value != default}


def _patterns(given: Mapping[str, Any], key: str, modules: Sequence[str]) -> dict[str, float]:
    """The entries of rank_pattern or alpha_pattern that match a module; the others have no effect in PEFT."""
    found = given.get(key) or {}
    if not isinstance(found, dict):
        raise InputError(f"adapter_config.json: {key} is a {type(found).__name__}, expected an object")
    try:
        used = [pattern for pattern in found if any(patterns.matches(pattern, module) for module in modules)]
    except re.error as error:
        raise InputError(f"adapter_config.json: {key} holds what is no regular expression: {error}") from None
    return {pattern: hf_fields.number(found, pattern, 0) for pattern in used}


def _ranks(
    given: dict[str, float], default: int, modules: Sequence[str], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, float]:
    """Patterns that give each module a rank that its tensors have, by module where those of a file do not.

    PEFT sorts patterns when it saves, and of several that match another one is then the first.
    """
    ranks = {}
    for module in modules:
        meant = patterns.value_of(module, given, default)
        held = shapes.get(f"{module}.lora_A.weight", (meant,))[:1]
        matching = [value for pattern, value in given.items() if patterns.matches(pattern, module)]
        ranks[module] = next((value for value in matching if (value,) == held), meant)
        if (ranks[module],) != held:  # not later: a layer of that rank may be larger than memory
            raise InputError(
                f"adapter_config.json: the rank of {module} is {ranks[module]:g}, and its lora_A has the shape "
                f"{shapes[f'{module}.lora_A.weight']}"
            )
    same = all(patterns.value_of(module, given, default) == rank for module, rank in ranks.items())
    return given if same else ranks


def _entries(found: Mapping[str, float]) -> tuple[str, ...]:
    return tuple(f"{pattern}={value:.17g}" for pattern, value in found.items())


def _refuse(given: Mapping[str, Any]) -> None:
    problems = [f"adapter_config.json: {name} is not supported" for name in UNSUPPORTED if given.get(name)]
    begun = given.get("init_lora_weights")
    if isinstance(begun, str) and begun.lower().startswith(CHANGES_BASE):
        problems.append(
            f"adapter_config.json: init_lora_weights is {begun[:50]!a}, which changes the base's own weights; convert "
            "the adapter to plain LoRA with path_initial_model_for_weight_conversion of PEFT's save_pretrained"
        )
    if problems:
        raise InputError(*problems)
