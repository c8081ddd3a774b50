"""The tensors of an adapter in Hugging Face PEFT's file, both ways.

    layers.attention.query.lora_a    [L, D_in, R]   ...layer.{i}.attention.self.query.lora_A.weight (R, D_in), L of them
    layers.attention.query.base.bias [L, D_out]     ...layer.{i}.attention.self.query.base_layer.bias, where it trains
    classifier.kernel                [D, C]         classifier.weight (C, D), and so all that is labelled head

A file of its own for each method (`hf_lora`, `hf_ia3`, `hf_prompt`) says where its leaves go; this one adds what trains
of the base itself, and moves the numbers.
"""

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxpeft.config import PeftConfig
from jaxpeft.errors import InputError, first_few
from jaxpeft.models.tensors import in_each_layer
from jaxpeft.peft import hf_ia3, hf_lora, hf_prompt
from jaxpeft.peft.hf_slots import TRANSPOSED, Slot, adapted_modules
from jaxpeft.peft.inject import adapted
from jaxpeft.peft.partition import FROZEN, HEAD, base_path, flatten

_PREFIX = re.compile(r"base_model\.(model\.)?")
_WRAPPERS = re.compile(r"\.(modules_to_save\.default|modules_to_save|base_layer|default)(?=\.|$)")


@dataclasses.dataclass(frozen=True)
class Format:
    """How a method stands in PEFT's files."""

    peft_type: str
    roles: tuple[str, ...]  # what the names of its tensors end with, after the module's
    slots: Callable[[Any], dict[str, Slot]]  # adapted model -> where its leaves go, by name without the prefix
    to_hf: Callable[[Any, PeftConfig], dict[str, Any]]  # adapted model, config -> its keys of adapter_config.json
    # model without adapters, adapter_config.json, plain name of each tensor -> shape
    from_hf: Callable[[Any, Mapping[str, Any], Mapping[str, tuple[int, ...]]], PeftConfig]
    prefix: str = "base_model.model."  # of modules' names


FORMATS: Mapping[str, Format] = {
    "lora": Format("LORA", hf_lora.ROLES, hf_lora.slots, hf_lora.to_hf, hf_lora.from_hf),
    "ia3": Format("IA3", hf_ia3.ROLES, hf_ia3.slots, hf_ia3.to_hf, hf_ia3.from_hf),
    "prompt": Format(
        "PROMPT_TUNING",
        hf_prompt.ROLES,
        hf_prompt.prompt_slots,
        hf_prompt.prompt_to_hf,
        hf_prompt.prompt_from_hf,
        "base_model.",
    ),
    "p_tuning": Format(
        "P_TUNING",
        hf_prompt.ROLES,
        hf_prompt.p_tuning_slots,
        hf_prompt.p_tuning_to_hf,
        hf_prompt.prompt_from_hf,
        "base_model.",
    ),
    "prefix": Format(
        "PREFIX_TUNING",
        hf_prompt.ROLES,
        hf_prompt.prefix_slots,
        hf_prompt.prefix_to_hf,
        hf_prompt.prefix_from_hf,
        "base_model.",
    ),
}


def slots(model: Any, labels: Mapping[str, str], method: str) -> dict[str, Slot]:
    """Where every trained number of an adapted model goes, by the tensor's name in the file, without its prefix.

    The model may be abstract; `labels` are those of its leaves.
    """
    form, leaves = FORMATS[method], flatten(model)[1]
    found = form.slots(model)
    wrapped = set(adapted_modules(found, form.roles))
    own = {base_path(path): path for path, label in labels.items() if label != FROZEN}
    held = {f"{path}.base.bias" for path, _, layer in adapted(model) if getattr(layer, "holds_biases", False)}
    for tensor in model.tensors():
        if (path := own.get(tensor.path)) is None:
            continue
        for index, name in in_each_layer(tensor.name, model.config.num_hidden_layers):
            module, _, last = name.rpartition(".")
            if module not in wrapped and path in held:  # a bias that trains where there is an adapter alone
                continue
            shape = leaves[path].shape[len(index) :]
            slot = Slot(path, index, shape[::-1], TRANSPOSED) if tensor.transpose else Slot(path, index, shape)
            found[f"{module}.base_layer.{last}" if module in wrapped else name] = slot
    return found


def export_tensors(model: Any, labels: Mapping[str, str], method: str) -> dict[str, np.ndarray]:
    """The content of adapter_model.safetensors, float32."""
    leaves = {path: np.asarray(leaf, np.float32) for path, leaf in flatten(model)[1].items() if labels[path] != FROZEN}
    prefix = FORMATS[method].prefix
    return {
        prefix + name if "." in name else name: slot.take(leaves)  # virtual tokens are no module's
        for name, slot in slots(model, labels, method).items()
    }


def plain_names(tensors: Collection[str]) -> dict[str, str]:
    """A file's tensors: name as a checkpoint of the base has it, or with the adapter's role at its end -> full name.

    Takes the variants that PEFT has written and reads: with the adapter's name or without, `base_layer` or not,
    `lora_magnitude_vector.weight`. What its wrappers keep of the original modules is left out.
    """
    found: dict[str, str] = {}
    for full in sorted(tensors, key=len):  # a module's tensor may stand twice: plain, and longer by its wrapper's name
        name = _WRAPPERS.sub("", _PREFIX.sub("", full, count=1))
        if ".original_module." not in name:
            found.setdefault(name.replace(".lora_magnitude_vector.weight", ".lora_magnitude_vector"), full)
    return found


def whole_modules(model: Any, labels: Mapping[str, str], tensors: Collection[str]) -> tuple[str, ...]:
    """Paths of the base's leaves that are frozen here, and of which a file holds the whole module (plain names).

    PEFT's `modules_to_save` put them there: they were trained, so they are to train here too.
    """
    frozen = {base_path(path): path for path, label in labels.items() if label == FROZEN}
    lacking, held = set(), {}
    for tensor in model.tensors():
        module = tensor.path.rpartition(".")[0]
        depth = model.config.num_hidden_layers
        if all(name in tensors for _, name in in_each_layer(tensor.name, depth)):
            held[tensor.path] = module
        else:
            lacking.add(module)
    return tuple(path for path, module in held.items() if path in frozen and module not in lacking)


def import_tensors(
    model: Any, labels: Mapping[str, str], method: str, tensors: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
    """The trainable leaves of an adapted model as a file has them, and whether the head is among them.

    The head is there whole or not at all; all else must be. Raises InputError that lists every tensor which is
    missing, has no place, or has another shape, type or values than numbers.
    """
    places = slots(model, labels, method)
    plain = plain_names(tensors)
    found = {name: tensors[full] for name, full in plain.items()}
    expected = {_WRAPPERS.sub("", name): slot for name, slot in places.items()}
    head = {name for name, slot in expected.items() if labels[slot.path] == HEAD}
    has_head = not head.isdisjoint(found)
    if not has_head:
        expected = {name: slot for name, slot in expected.items() if name not in head}
    _check(model, expected, found, head)
    leaves = flatten(model)[1]
    filled = {path: np.array(leaves[path]) for path in {slot.path for slot in expected.values()}}
    for name, slot in expected.items():
        slot.put(filled, found[name])
    return filled, has_head


def _check(model: Any, expected: Mapping[str, Slot], found: Mapping[str, np.ndarray], head: Collection[str]) -> None:
    problems = [f"{name} is missing (expected shape {expected[name].shape})" for name in expected.keys() - found.keys()]
    problems += [
        f"{name[:200]!a} has no place in this {model.model_type} model" for name in found.keys() - expected.keys()
    ]
    classes = model.config.num_labels
    for name in expected.keys() & found.keys():
        values, shape = found[name], expected[name].shape
        if name in head and values.ndim and values.shape[1:] == shape[1:] and len(values) != shape[0] == classes:
            problems.append(f"{name}: the adapter's head has {len(values)} labels, the data has {shape[0]}")
        elif values.shape != shape:
            problems.append(f"{name} has shape {values.shape}, expected {shape}")
        elif not jnp.issubdtype(values.dtype, jnp.floating):
            problems.append(f"{name} holds {values.dtype}, expected floats")
        elif not np.isfinite(values.astype(np.float32)).all():
            problems.append(f"{name} holds values that are no finite numbers")
    if problems:
        raise InputError(*first_few(sorted(problems), 8))
