"""What the runs of a study would take, without running or compiling anything: `--dry_run`.

Leaves, optimizer state and work are exact, by the shapes and formulas of `--mode=plan`. That mode compiles the step to
know its activations, ten to thirty seconds a program, which would be hours for a grid; here they are by `activations`,
within 3 % of the compiled step of BERT, DistilBERT and MobileBERT.
"""

import copy
import dataclasses
import functools
import json
import math
from collections.abc import Sequence
from typing import Any

from jaxpeft.config import Config, from_dict, leaves, to_json
from jaxpeft.data.load import load
from jaxpeft.errors import InputError
from jaxpeft.models import pretrained, shapes
from jaxpeft.study import activations, models, random_base
from jaxpeft.study.design import Device, Study, TaskSize
from jaxpeft.study.planned import Planned
from jaxpeft.tasks.registry import TASKS
from jaxpeft.training.blueprint import draw
from jaxpeft.training.cards import CARDS, memory_limit
from jaxpeft.training.loop import seed_of
from jaxpeft.training.plan_memory import padded_length, resident
from jaxpeft.training.plan_work import step_operations
from jaxpeft.training.report import aligned

ASSUMED = TaskSize(examples=1000, classes=2)
OF_SHAPE = ("model.", "peft.", "data.max_length", "train.batch_size", "train.eval_batch_size", "train.accumulate")
NOTES = """\
memory: leaves and optimizer state exactly, activations by tracing the step at full length, not by compiling it
work: every text as long as data.max_length lets it be; evaluations, compilation and reading come on top
hours: by the rate that the study assumes of a device ({rates}), a time budget where the run has one
fits: within what JAX takes of the device's memory ({limits})"""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What one run would take: bytes of one device, operations, steps, and its own budget of seconds, if it has one.

    `reason` says why nothing is known.
    """

    memory: int = 0
    flops: int = 0
    steps: int = 0
    seconds: float | None = None
    reason: str | None = None

    def hours(self, device: Device) -> float:
        """Of training on a device."""
        needed = self.flops / (device.tflops * 1e12)
        return (needed if self.seconds is None else min(needed, self.seconds)) / 3600


class Estimator:
    """Estimates runs. Those of one shape are traced once, and a corpus is read once."""

    def __init__(self, sizes: dict[str, TaskSize]):
        self._sizes = sizes
        self._shapes: dict[str, tuple[int, int]] = {}

    def run(self, run: Planned) -> Estimate:
        """What a run would take."""
        config, settings = run.config, run.config.train
        if config.data.long_text == "windows":
            return Estimate(reason="windows of long texts are not counted without reading them")
        try:
            size = self._size(run)
            memory, operations = self._shape(config, size.classes)
        except InputError as error:
            return Estimate(reason=str(error))
        examples = size.examples
        if config.data.few_shot is not None and config.task != "token_classification":
            examples = min(examples, config.data.few_shot * size.classes)
        steps = math.ceil(examples / (settings.batch_size * settings.accumulate)) * settings.epochs
        if settings.steps is not None:
            steps = min(steps, settings.steps)
        return Estimate(memory, operations * steps, steps, settings.seconds)

    def _size(self, run: Planned) -> TaskSize:
        if known := self._sizes.get(str(run.axes["task"])):
            return known
        data = run.config.data
        if data.format != "synthetic" and data.path is None:
            return ASSUMED
        alone = Config(task=run.config.task, data=copy.deepcopy(data))
        alone.data.near_duplicates, alone.data.protocol = False, "fixed"
        if run.config.task != "token_classification":  # documents are drawn there, and labels elsewhere
            alone.data.few_shot = None
        return _read_size(to_json(alone))

    def _shape(self, config: Config, classes: int) -> tuple[int, int]:
        values = {name: value for name, value in leaves(config).items() if name.startswith(OF_SHAPE)}
        sizes = sizes_of(config)
        values |= {"model.ref": sizes or config.model.ref, "task": TASKS[config.task].head, "peft.lora.alpha": None}
        key = repr(sorted(values.items()))
        if key not in self._shapes:  # how many labels there are changes next to nothing, and every task's trace is one
            self._shapes[key] = memory_and_step(config, classes, sizes)
        return self._shapes[key]


def sizes_of(config: Config) -> dict[str, Any] | None:
    """The `config.json` of a base that need not be there; None where the plan mode knows it or reads it.

    Raises InputError where nothing is known of the base.
    """
    ref = config.model.ref
    if ref.startswith(random_base.PREFIX):
        return dict(random_base.sizes_of(ref))
    if ref in models.SIZES:
        return dict(models.SIZES[ref])
    return None if ref.startswith(shapes.PREFIX) else pretrained.read_config(pretrained.resolve(ref))


def memory_and_step(config: Config, classes: int, sizes: dict[str, Any] | None) -> tuple[int, int]:
    """Bytes of a device at the peak, and operations of a step at full length. Raises InputError where a run would."""
    config, settings = copy.deepcopy(config), config.train
    config.model.unroll = config.model.unroll or 1  # a layer is traced once, and an accelerator has no other program
    blueprint = draw(config, _class_names(config, classes), sizes)
    gradients = (1 if settings.accumulate == 1 else 2) * activations.tree_bytes(blueprint.trainable)
    step, layer = activations.step_and_layer_bytes(blueprint, sizes)
    training = gradients + step
    evaluation = layer * settings.eval_batch_size // settings.batch_size  # at most: nothing is kept for gradients
    operations = step_operations(blueprint, settings.batch_size * settings.accumulate, padded_length(blueprint))
    return sum(resident(blueprint).values()) + max(training, evaluation), operations


def _class_names(config: Config, classes: int) -> tuple[str, ...]:
    """As many labels of the form that the task wants."""
    if config.task == "token_classification":
        return ("O", *(f"{'BI'[number % 2]}-{number // 2}" for number in range(classes - 1)))
    return (config.data.negative_label, *map(str, range(classes - 1)))


@functools.cache
def _read_size(config_json: str) -> TaskSize:
    """How large a corpus is that can be read, by the config that says where it is."""
    config = from_dict(json.loads(config_json))
    splits = load(config.data, seed_of(config, "data"), None, False)
    return TaskSize(len(splits.train), len(TASKS[config.task].classes_of(splits.labels)))


def table(study: Study, runs: Sequence[Planned]) -> str:
    """Runs that differ in their seed alone as one line, what they take, and totals, as text for a terminal."""
    estimator = Estimator(dict(study.sizes))
    if unknown := [device.card for device in study.devices if device.card not in CARDS]:
        raise InputError(f"the study's devices: no card {unknown[0]!r}; there are {', '.join(CARDS)}")
    limits = {device: (memory_limit(device.card, None) or (0, ""))[0] for device in study.devices}
    groups: dict[str, list[Planned]] = {}
    for run in runs:
        groups.setdefault(repr({**run.axes, "seed": None}), []).append(run)
    estimates = {key: estimator.run(members[0]) for key, members in groups.items()}
    rows = [["run", "n", "GiB", "PFLOP", *(f"h {device.card}" for device in study.devices)]]
    for key, members in groups.items():
        found = estimates[key]
        if found.reason is not None:
            rows.append([_label(members[0]), str(len(members)), f"unknown: {found.reason}"])
            continue
        hours = [f"{found.hours(device):.2f}" if found.memory <= limits[device] else "no" for device in study.devices]
        numbers = [f"{found.memory / 2**30:.2f}", f"{found.flops / 1e15:,.3f}", *hours]
        rows.append([_label(members[0]), str(len(members)), *numbers])
    width = max(map(len, rows))
    parts = [aligned([[*row, *[""] * (width - len(row))] for row in rows]), f"{len(runs)} runs"]
    parts += [_total(device, limits[device], groups, estimates) for device in study.devices]
    rates = ", ".join(f"{device.card} {device.tflops:g} TFLOP/s" for device in study.devices)
    told = ", ".join(f"{device.card} {limit / 2**30:.1f} GiB" for device, limit in limits.items())
    return "\n".join([*parts, "", NOTES.format(rates=rates, limits=told)])


def _label(run: Planned) -> str:
    named = ("experiment", "model", "method", "task")
    others = [f"{axis}={run.axes[axis]}" for axis in run.axes if axis not in (*named, "seed")]
    told = [text for text in others if not text.endswith("=None")]
    return " ".join([f"{run.axes['experiment']}:", *(str(run.axes[axis]) for axis in named[1:]), *told])


def _total(device: Device, limit: int, groups: dict[str, list[Planned]], estimates: dict[str, Estimate]) -> str:
    fits = [key for key, found in estimates.items() if found.reason is None and found.memory <= limit]
    hours = sum(len(groups[key]) * estimates[key].hours(device) for key in fits)
    over = sum(len(groups[key]) for key, found in estimates.items() if found.reason is None and key not in fits)
    return f"{device.card}: {sum(len(groups[key]) for key in fits)} runs fit, {hours:,.1f} h; {over} do not fit"
