"""IA3 in PEFT's files: `ia3_l` is a column (D_out, 1), for feed-forward modules a row (1, D_in)."""

from collections.abc import Mapping
from typing import Any

from jaxpeft.config import Ia3Config, PeftConfig
from jaxpeft.models.tensors import in_each_layer
from jaxpeft.peft.hf_slots import Slot, adapted_modules, for_peft, locate, shortest_names
from jaxpeft.peft.inject import adapted

ROLES = ("ia3_l",)


def slots(model: Any) -> dict[str, Slot]:
    """Where the leaves of an adapted model go."""
    found = {}
    for path, name, layer in adapted(model):
        size = layer.ia3.shape[-1]
        shape = (1, size) if layer.scales_input else (size, 1)
        for index, module in in_each_layer(name, model.config.num_hidden_layers):
            found[f"{module}.ia3_l"] = Slot(f"{path}.ia3", index, shape)
    return found


def to_hf(model: Any, config: PeftConfig) -> dict[str, Any]:
    """The method's keys of adapter_config.json."""
    scaled: dict[bool, list[str]] = {True: [], False: []}
    for path, _, layer in adapted(model):
        scaled[layer.scales_input].append(path)
    inputs, outputs = (
        for_peft(shortest_names(model, paths), model.config.num_hidden_layers)
        for paths in (scaled[True], scaled[False])
    )
    return {
        "target_modules": sorted(inputs + outputs),
        "feedforward_modules": inputs,
        "init_ia3_weights": True,
        "fan_in_fan_out": False,
    }


def from_hf(model: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> PeftConfig:
    """Our settings, by the tensors alone: which modules there are, and whether each holds a row or a column."""
    modules = adapted_modules(shapes, ROLES)
    is_row = {module: shapes[f"{module}.ia3_l"][:1] == (1,) for module in modules}
    inputs, outputs = (
        shortest_names(model, locate(model, [module for module in modules if is_row[module] == row]))
        for row in (True, False)
    )
    return PeftConfig(
        method="ia3", target_modules=tuple(outputs + inputs), ia3=Ia3Config(feedforward_modules=tuple(inputs))
    )
