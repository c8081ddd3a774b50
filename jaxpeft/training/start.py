"""A run's first step: its examples, its system, and `peft.init_from`, an adapter's settings and then its numbers."""

import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jaxpeft import peft
from jaxpeft.config import Config, expanded
from jaxpeft.data.naming import listed
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Examples, private_folder
from jaxpeft.errors import InputError
from jaxpeft.models import MODELS, pretrained
from jaxpeft.peft.hf_config import combine, peft_config_from
from jaxpeft.peft.hf_format import import_tensors
from jaxpeft.tasks.task import Task
from jaxpeft.training import processes, system
from jaxpeft.training.adapter_folder import Adapter, labels_json, read_adapter
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.loop import seed_of
from jaxpeft.training.progress import Progress
from jaxpeft.training.system import System, abstract
from jaxpeft.training.workdir import UNWRITABLE, Workdir
from jaxpeft.validate import validate

SPLITS = ("train", "validation", "test")


def settle(config: Config) -> tuple[Config, Adapter | None]:
    """The config that a run goes by, and the adapter that it starts from, if `peft.init_from` names one.

    Settings that the config leaves at their defaults are the adapter's. Raises InputError where two contradict.
    """
    if config.peft.init_from is None:
        return config, None
    adapter = read_adapter(Path(config.peft.init_from))
    hf_config = pretrained.read_config(pretrained.resolve(config.model.ref, allow_download=config.model.allow_download))
    model = abstract(config, hf_config, 2)  # how many labels there are has no part in it
    _check_architecture(adapter, model.model_type, model.base_prefix)
    _check_layers(adapter, model.config.num_hidden_layers)
    settled = copy.deepcopy(config)
    settled.peft = combine(model, config.peft, peft_config_from(model, adapter.config, adapter.shapes))
    validate(Config(peft=settled.peft))  # values that somebody else wrote
    return settled, adapter


def build(config: Config, classes: Sequence[str], adapter: Adapter | None) -> tuple[System, str]:
    """The system at its first step, and a line that says where its trained leaves come from.

    Raises InputError for an adapter of another task, base or labels, or whose tensors do not fit.
    """
    system.check_attention(config)
    seed = seed_of(config, "init")
    if adapter is None:
        built = system.build(config, classes, seed=seed)
        if built.new_tensors:
            return built, f"newly initialised, and trained: {', '.join(built.new_tensors)}"
        return built, f"trains from the checkpoint's own weights{_other_labels(config, classes)}"
    built = system.build(config, classes, seed=seed, saved=adapter.shapes)
    has_head = _fill(built, adapter, config)
    head = "its head included"
    if not has_head and built.new_tensors:
        head = f"which has no head; newly initialised: {', '.join(built.new_tensors)}"
    elif not has_head:
        head = f"which has no head; the checkpoint's is taken{_other_labels(config, classes)}"
    return built, f"starts from the adapter {adapter.folder}, {head}"


def _other_labels(config: Config, classes: Sequence[str]) -> str:
    """What to say of the labels that the base's classifier was trained for. Raises InputError for another order."""
    hf_config = pretrained.read_config(pretrained.resolve(config.model.ref, allow_download=config.model.allow_download))
    given = hf_config.get("id2label") or {}
    names = [str(given[number]) for number in map(str, range(len(given))) if number in given]
    if names == list(classes) or all(re.fullmatch(r"LABEL_\d+", name) for name in names):
        return ""
    if sorted(names) == sorted(classes):
        raise InputError(
            f"the classifier of {config.model.ref} has the labels in another order: set data.labels to {listed(names)}"
        )
    return f"; its classifier was trained for other labels, {listed(names)}"


def build_beside(config: Config, classes: Sequence[str], adapter: Adapter | None, other: System) -> System:
    """What `build` makes of another config of the same task, on the base of a system that it made."""
    built = system.build_beside(config, classes, other, new=other.new_tensors, seed=seed_of(config, "init"))
    if adapter is not None:
        _fill(built, adapter, config)
    return built


def prepare_splits(config: Config, splits: Splits, model: System, task: Task, workdir: Workdir) -> dict[str, Examples]:
    """The splits by name, tokenised or from the cache. Raises InputError for another task's rows."""
    if not processes.is_first():
        return {name: prepare(getattr(splits, name), model.encoder, task, cache=None) for name in SPLITS}
    named = config.data.cache_dir  # a folder inside it: the user's own keeps the permissions that it has
    cache = expanded(named) / "tokens" if named else workdir.cache
    try:
        private_folder(cache)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise InputError(
                f"the folder {cache} cannot be made, or not for its owner alone: {error.strerror}; see data.cache_dir"
            ) from None
        raise
    return {name: prepare(getattr(splits, name), model.encoder, task, cache) for name in SPLITS}


def announce(
    config: Config, model: System, examples: Mapping[str, Examples], splits: Splits, progress: Progress
) -> None:
    """Says what is about to be trained, and on what."""
    counts = model.count()
    sizes = ", ".join(f"{name} {len(split)}" for name, split in examples.items())
    cut = examples["train"].encoded.truncated
    held = f", layers {', '.join(map(str, kept))} alone" if (kept := config.model.keep_layers) else ""
    held += "" if model.quantise == "none" else f", its layers in {model.quantise}"
    progress.say(f"{config.name}: {config.peft.method} on {config.model.ref}{held}")
    longest = config.data.max_length
    progress.say(f"examples: {sizes}; {len(model.classes)} labels; {cut} training texts cut at {longest} tokens")
    progress.say(f"trains {counts['trainable_params']:,} of {counts['total_params']:,} parameters")
    if model.ignored_tensors:
        progress.say(f"tensors of the checkpoint without use here: {', '.join(model.ignored_tensors)}")
    if lacking := splits.report["labels_without_training_rows"]:
        progress.say(f"{lacking} labels have no training rows: those that had them are for validation")
    for name in SPLITS[1:]:
        if shared := _shared_with_training(splits.report, name):
            progress.say(f"{name} shares with training: {shared}")
        if unseen := splits.report[f"unseen_{name}_rows"]:
            progress.say(f"{name}: {unseen} rows have a label that training lacks; each counts as wrong")


def _shared_with_training(report: Mapping[str, int], split: str) -> str:
    """What a split and training both have, counted in words; nothing where they share nothing."""
    kinds = {"": "texts", "_near": "nearly the same texts", "_patients": "patients", "_docs": "documents"}
    counts = {kind: report.get(f"train_{split}{ending}", 0) for ending, kind in kinds.items()}
    return ", ".join(f"{kind} {count:,}" for kind, count in counts.items() if count)


def _fill(built: System, adapter: Adapter, config: Config) -> bool:
    """Puts the adapter's numbers into the trainable leaves; returns whether its head was among them."""
    problems = list(_label_problems(adapter, labels_json(config, built)))
    model = peft.unflatten(built.graphdef, {**built.trainable, **built.frozen})
    try:
        if problems:
            raise InputError(*problems)
        filled, has_head = import_tensors(model, built.labels, config.peft.method, adapter.tensors)
    except InputError as error:
        raise InputError(f"peft.init_from: {adapter.folder} does not fit this run:", *error.problems) from None
    built.trainable |= {path: jnp.asarray(leaf) for path, leaf in filled.items()}
    return has_head


def _check_architecture(adapter: Adapter, model_type: str, base_prefix: str) -> None:
    known = {head.base_prefix: name for name, one in MODELS.items() for head in one.heads.values()}
    theirs = {known[part] for name in adapter.shapes if (part := name.split(".")[0]) in known}
    if theirs and known[base_prefix] not in theirs:
        raise InputError(
            f"peft.init_from: {adapter.folder} is for another architecture: its tensors are a {min(theirs)}'s, "
            f"the base is a {model_type}"
        )


def _check_layers(adapter: Adapter, depth: int) -> None:
    """Refuses a base of another depth than the pruned one that the adapter was trained on, as far as it says."""
    kept = (adapter.labels or {}).get("keep_layers") or ()
    if kept and len(kept) != depth:
        raise InputError(
            f"peft.init_from: {adapter.folder} is for a base of {len(kept)} layers{_of_checkpoint(kept)}, the base "
            f"here has {depth}: set model.keep_layers to the same"
        )


def _of_checkpoint(layers: Sequence[int]) -> str:
    return f" (model.keep_layers={str(tuple(layers))[:60]})" if layers else ""


def _label_problems(adapter: Adapter, ours: dict[str, Any]) -> Iterator[str]:
    """Where the adapter's labels.json, if it has one, says another thing than that of this run would."""
    if (theirs := adapter.labels) is None:
        return
    if theirs["task"] != ours["task"]:
        yield f"it is for {theirs['task'][:50]}, the task here is {ours['task']}"
    if theirs["base_sha256"] != ours["base_sha256"]:
        yield (
            f"it was trained on another base than model.ref: sha256 {theirs['base_sha256'][:12]!a}"
            f"{_of_checkpoint(theirs['keep_layers'])} there, {ours['base_sha256'][:12]}"
            f"{_of_checkpoint(ours['keep_layers'])} here"
        )
    there, here = theirs["labels"], ours["labels"]
    if there != here and sorted(there) == sorted(here):
        yield f"its labels are in another order than the data's: set data.labels={tuple(there)!r}"
    elif there != here:
        only_there, only_here = (listed(sorted(set(a) - set(b))) for a, b in ((there, here), (here, there)))
        yield (
            f"its {len(there)} labels are not the data's {len(here)}: "
            f"only it has {only_there}; only the data has {only_here}"
        )
