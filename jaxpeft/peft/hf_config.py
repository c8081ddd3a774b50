"""adapter_config.json of Hugging Face PEFT from our settings, and our settings from it."""

import copy
from collections.abc import Mapping
from typing import Any

from jaxpeft.config import PeftConfig, leaves, set_leaf
from jaxpeft.errors import InputError
from jaxpeft.models.tensors import in_each_layer
from jaxpeft.peft import hf_fields
from jaxpeft.peft.hf_format import FORMATS
from jaxpeft.peft.ia3 import scales_input
from jaxpeft.peft.inject import METHODS, targets
from jaxpeft.peft.partition import HEAD, base_path

ALWAYS_SAVED = ("classifier", "score")  # modules that PEFT's classifiers wrap by themselves
# What may differ from the adapter that a run starts from.
FREE = ("init_from", "lora.dropout", "lora.plus_ratio", "prompt.init")
BY_MEANING = ("target_modules", "target_regex", "ia3.feedforward_modules")  # compared by the layers that they mean


def adapter_config(model: Any, labels: Mapping[str, str], config: PeftConfig, base: str | None) -> dict[str, Any]:
    """The keys that PEFT needs for an adapted model, as PEFT writes them after training.

    `labels` are those of the model's leaves; `base` is what a reader finds the base under.
    """
    form = FORMATS[config.method]
    return {
        "peft_type": form.peft_type,
        "task_type": _task_type(model),
        "base_model_name_or_path": base,
        "revision": None,
        "inference_mode": True,
        "modules_to_save": _modules_to_save(model, labels),
        **form.to_hf(model, config),
    }


def peft_config_from(model: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> PeftConfig:
    """Our settings for an adapter of PEFT's.

    Args:
        model: the base, which may be abstract, without adapters.
        given: the parsed adapter_config.json; of its keys only `peft_type` must be there.
        shapes: plain name of each of the adapter's tensors -> shape. They say where adapters stand.

    Raises: InputError for what is not built here and would give another model, and for values of another type.
    """
    methods = {form.peft_type: method for method, form in FORMATS.items()}
    peft_type = hf_fields.text(given, "peft_type")
    if peft_type not in methods:
        known = ", ".join(sorted(methods))
        raise InputError(f"adapter_config.json: peft_type is {str(peft_type)[:50]!a}; supported are {known}")
    task_type = hf_fields.text(given, "task_type")
    if task_type not in (None, _task_type(model)):
        raise InputError(f"adapter_config.json: task_type is {task_type[:50]!a}, the task here is {_task_type(model)}")
    form = FORMATS[methods[peft_type]]
    if not any(name.endswith(form.roles) for name in shapes):
        raise InputError(f"the adapter's file holds no tensors of {peft_type}: expected names in {form.roles[0]!r}")
    return form.from_hf(model, given, shapes)


def combine(model: Any, given: PeftConfig, found: PeftConfig) -> PeftConfig:
    """The settings of a run that starts from an adapter.

    A field of `given` that has its default value is taken from `found`, the adapter's. Raises InputError that lists
    every other which contradicts it, but for those that an adapter does not depend on.
    """
    default, mine, theirs = leaves(PeftConfig()), leaves(given), leaves(found)
    compared = {name for name in mine if name.startswith(f"{found.method}.") or "." not in name} - set(FREE)
    result, problems = copy.deepcopy(found), []
    for name, value in mine.items():
        if value == default[name]:
            continue
        set_leaf(result, name, value)
        if name in compared and value != theirs[name] and name not in BY_MEANING:
            problems.append(f"peft.{name} is {value!r} here, {theirs[name]!r} in the adapter")
    if given.target_modules or given.target_regex:
        result.target_modules, result.target_regex = given.target_modules, given.target_regex
    if not problems and METHODS[found.method].wrap is not None:
        problems = _other_modules(model, result, found)
    if problems:
        raise InputError("peft.init_from: the settings contradict the adapter's; leave out or change:", *problems)
    return result


def _other_modules(model: Any, ours: PeftConfig, theirs: PeftConfig) -> list[str]:
    """What differs between the layers that two configs of one method mean."""
    taken = [set(targets(model, config).values()) for config in (ours, theirs)]
    if taken[0] != taken[1]:
        here, there = (", ".join(sorted(names)) for names in taken)
        return [f"peft.target_modules or target_regex takes {here}; the adapter stands in {there}"]
    scaled = [{name for name in taken[0] if scales_input(name, config.ia3)} for config in (ours, theirs)]
    if scaled[0] != scaled[1]:
        here, there = (", ".join(sorted(names)) for names in scaled)
        return [f"peft.ia3.feedforward_modules takes {here}; the adapter scales the inputs of {there}"]
    return []


def _task_type(model: Any) -> str:
    return "SEQ_CLS" if model.pools else "TOKEN_CLS"


def _modules_to_save(model: Any, labels: Mapping[str, str]) -> list[str]:
    """Modules that train as they are, under names that PEFT finds each by and nothing else."""
    head = {base_path(path) for path, label in labels.items() if label == HEAD}
    modules = (
        one.rpartition(".")[0]
        for tensor in model.tensors()
        if tensor.path in head
        for _, one in in_each_layer(tensor.name, model.config.num_hidden_layers)
    )
    tops = {name: name.split(".")[0] for name in modules}
    return sorted({top if top in ALWAYS_SAVED else name for name, top in tops.items()})
