"""The plan mode: what a run would take, before it runs. It trains nothing, allocates no weights and writes nothing."""

import copy
import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.load import load
from jaxpeft.errors import InputError
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.training import plan_memory, system
from jaxpeft.training.blueprint import Blueprint, draw, model_folder
from jaxpeft.training.cards import memory_limit
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.loop import seed_of
from jaxpeft.training.parallel import placement
from jaxpeft.training.plan_memory import Roles
from jaxpeft.training.plan_work import SHARE, Work, measured_rate, work

EXAMPLES = 1000  # assumed where there is no data to count


@dataclasses.dataclass(frozen=True)
class Fit:
    """The memory that batches have to fit into: bytes of one device, and what that is in words.

    `batches` are the largest that do, over all devices: `train.batch_size` and `train.eval_batch_size`.
    """

    limit: int
    source: str
    batches: dict[str, int]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run would take. `rate` is in operations a second, of all devices; memory in bytes by role, of one."""

    config: Config
    devices: int
    classes: int
    examples: int
    counts: dict[str, int]  # parameters by label
    training: Roles
    evaluation: Roles
    fit: Fit | None
    work: Work
    rate: float
    assumptions: tuple[str, ...]


def plan(
    config: Config, *, card: str | None = None, memory_gib: float | None = None, rate_tflops: float | None = None
) -> Plan:
    """Plans the run of a config.

    Args:
        config: the experiment. Its data need not be there, and `model.ref` may be a `shape:NAME`.
        card, memory_gib: a device that the largest batches are wanted for.
        rate_tflops: 10^12 operations a second that a step reaches on one device; None looks at a product here.

    Raises InputError for what a run would refuse, and for a card or a number that makes no sense.
    """
    limit = memory_limit(card, memory_gib)
    if rate_tflops is not None and not 0 < rate_tflops < float("inf"):
        raise InputError(f"--rate_tflops is {rate_tflops}, expected more than 0, in 10^12 operations a second")
    settings = config.train
    devices = placement(config.parallel, (settings.batch_size, settings.eval_batch_size), config.mesh).parts
    notes: list[str] = []
    classes, examples, lengths = _data(config, notes)
    blueprint = draw(config, classes)
    programs = draw(sized_alike(config), classes) if limit else blueprint
    here = limit is None
    training = functools.cache(functools.partial(plan_memory.training_memory, programs, here=here))
    evaluation = functools.cache(functools.partial(plan_memory.evaluation_memory, programs, here=here))
    notes += _notes_on_memory(config, limit is not None, devices)
    return Plan(
        config=config,
        devices=devices,
        classes=len(classes),
        examples=examples,
        counts=blueprint.count(),
        training=training(settings.batch_size // devices),
        evaluation=evaluation(settings.eval_batch_size // devices),
        fit=None if limit is None else _fit(*limit, devices, programs, training, evaluation),
        work=work(blueprint, examples, lengths),
        rate=devices * _rate(blueprint, rate_tflops, notes),
        assumptions=tuple(notes),
    )


def _data(config: Config, notes: list[str]) -> tuple[tuple[str, ...], int, np.ndarray | None]:
    """The classes, how many training examples there are, and the tokens of each, as far as the data can tell."""
    classes_of, folder, longest = TASKS[config.task].classes_of, model_folder(config), config.data.max_length
    if config.data.path is None and config.data.format != "synthetic":
        labels = config.data.labels or (config.data.negative_label, f"not {config.data.negative_label}")
        notes.append(f"no data.path: {EXAMPLES:,} training examples of {longest} tokens, {len(labels)} labels")
        return classes_of(labels), EXAMPLES, None
    source = dataclasses.replace(config.data, near_duplicates=False)
    splits = load(source, seed_of(config, "data"), None, config.model.allow_download)
    classes = classes_of(splits.labels)
    task = task_of(config, classes)
    if folder is None:
        task.check(splits.train)
        notes.append(f"a shape has no tokenizer: every training text is one example of {longest} tokens")
        return classes, len(splits.train), None
    encoded = prepare(splits.train, system.encoder_of(config, folder), task, None).encoded
    return classes, len(encoded), encoded.lengths


def sized_alike(config: Config) -> Config:
    """The config whose programs, compiled on a CPU, are as large as a card's: layers in a scan, and no bfloat16.

    float16 is as large, and a CPU computes in it; of bfloat16 the XLA of older jax keeps a copy in float32.
    """
    if jax.default_backend() != "cpu":
        return config
    alike = copy.deepcopy(config)
    alike.model.unroll = config.model.unroll or 1
    if config.model.dtype == "bfloat16":
        alike.model.dtype = "float16"
    return alike


def _notes_on_memory(config: Config, for_card: bool, devices: int) -> list[str]:
    """What the figures of memory stand on."""
    backend = jax.default_backend()
    notes = [f"memory is by the programs that XLA makes for this {backend}: another device's may differ"]
    if backend == "cpu" and config.model.dtype == "bfloat16":
        notes.append(
            "compiled in float16, which is as large as bfloat16 and which a CPU computes in"
            if for_card
            else "a CPU may keep a bfloat16 base in float32 beside it; with --card or --memory_gib that is left out"
        )
    if devices > 1:
        notes.append(f"each of {devices} devices holds the whole model and its part of a batch")
    return notes


def _fit(
    limit: int,
    source: str,
    devices: int,
    programs: Blueprint,
    training: Callable[[int], Roles],
    evaluation: Callable[[int], Roles],
) -> Fit:
    settings = programs.config.train
    first = {"train.batch_size": settings.batch_size, "train.eval_batch_size": settings.eval_batch_size}
    if sum(plan_memory.resident(programs).values()) > limit:  # no program has to be compiled to know
        return Fit(limit, source, dict.fromkeys(first, 0))
    batches = {}
    for (name, size), memory in zip(first.items(), (training, evaluation), strict=True):

        def bytes_of(batch: int, memory: Callable[[int], Roles] = memory) -> int:
            return sum(memory(batch).values())

        batches[name] = devices * plan_memory.largest_batch(bytes_of, limit, size // devices)
    return Fit(limit, source, batches)


def _rate(blueprint: Blueprint, rate_tflops: float | None, notes: list[str]) -> float:
    """Operations a second that a step is taken to reach on one device."""
    if rate_tflops is not None:
        notes.append(f"a step reaches {rate_tflops:g} TFLOP/s on one device, as given")
        return rate_tflops * 1e12
    product = measured_rate(blueprint)
    notes.append(
        f"a step reaches {SHARE:.0%} of the {product / 1e12:.3g} TFLOP/s of a plain matrix product on this "
        f"{jax.devices()[0].device_kind}; --rate_tflops=X gives what it does elsewhere"
    )
    return SHARE * product
