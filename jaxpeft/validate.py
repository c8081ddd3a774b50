"""Checks a whole config before anything runs, and reports every problem at once."""

import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

from jaxpeft import population
from jaxpeft.config import Config, leaves
from jaxpeft.data.cuts import LONG_TEXT
from jaxpeft.data.readers import FORMATS, corpus_format, target_problem
from jaxpeft.data.synthetic import GENERATORS
from jaxpeft.errors import InputError
from jaxpeft.models import shapes
from jaxpeft.models.attention import IMPLEMENTATIONS
from jaxpeft.models.quantised import KINDS
from jaxpeft.peft import METHODS, patterns
from jaxpeft.tasks.registry import TASKS
from jaxpeft.tasks.sequence_classification import POOLING

CHOICES: dict[str, tuple[str, ...]] = {
    "task": tuple(TASKS),
    "parallel": ("auto", "jit", "pmap", "sharded"),
    "model.dtype": ("float32", "bfloat16"),
    "model.quantise": ("none", *KINDS),
    "model.attention": IMPLEMENTATIONS,
    "model.lowercase": ("auto", "yes", "no"),
    "peft.method": tuple(METHODS),
    "peft.lora.bias": ("none", "all", "lora_only"),
    "peft.prompt.init": ("vocabulary", "noise"),
    "data.format": FORMATS,
    "data.protocol": ("fixed", "paper"),
    "data.unit": ("sentence", "document"),
    "data.long_text": LONG_TEXT,
    "data.window_pooling": POOLING,
    "data.synthetic.corpus": tuple(GENERATORS),
    "train.schedule": ("linear", "cosine", "constant"),
    "train.class_weights": ("none", "balanced"),
    "train.test_on": ("best", "last"),
}
POSITIVE = (
    "mesh.model",
    "model.unroll",
    "peft.lora.rank",
    "peft.lora.alpha",
    "peft.lora.plus_ratio",
    "peft.prompt.tokens",
    "peft.p_tuning.tokens",
    "peft.p_tuning.hidden_size",
    "peft.prefix.tokens",
    "data.few_shot",
    "data.max_length",
    "data.window_stride",
    "data.buckets",
    "data.synthetic.documents",
    "train.epochs",
    "train.seconds",
    "train.batch_size",
    "train.accumulate",
    "train.learning_rate",
    "train.head_learning_rate",
    "train.clip",
    "train.eval_every",
    "train.checkpoint_every",
    "train.eval_batch_size",
    "train.patience",
)
RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "model.keep_layers": (
        lambda layers: all(layer >= 0 for layer in layers) and list(layers) == sorted(set(layers)),
        "numbers of layers, from 0 and rising, none twice; () keeps all",
    ),
    "peft.lora.dropout": (lambda value: 0 <= value < 1, "a probability below 1"),
    "peft.lora.layers_to_transform": (lambda layers: all(layer >= 0 for layer in layers), "numbers of layers, from 0"),
    "train.steps": (lambda value: value >= 0, "0 (nothing trains: the start is scored) or more"),
    "data.negative_share": (lambda value: 0 < value <= 1, "a share above 0, up to 1"),
    "diagnostics.forgetting_texts": (lambda value: value >= 0, "0 (not measured) or more"),
    "train.focal_gamma": (lambda value: value >= 0, "0 (plain cross-entropy) or more"),
    "train.warmup_ratio": (lambda value: 0 <= value <= 1, "a share from 0 to 1"),
    "train.weight_decay": (lambda value: value >= 0, "0 or more"),
    **{name: (lambda value: 0 <= value < 2**32, "from 0 to 2^32 - 1") for name in ("seed", "seeds.data")},
    **{name: (lambda value: 0 <= value < 2**32, "from 0 to 2^32 - 1") for name in ("seeds.init", "seeds.dropout")},
}


def validate(config: Config, *, for_plan: bool = False) -> None:
    """Raises InputError that lists all that is wrong with the config: types, choices, ranges, combinations.

    `for_plan`: neither data nor weights have to be there.
    """
    problems = list(_type_problems(config))
    if not problems:
        problems = [*_value_problems(leaves(config)), *_combination_problems(config), *population.problems(config)]
        if not for_plan:
            problems += _presence_problems(config)
        elif population.is_one(config):
            problems.append("config.population is set, and --mode=plan plans one run: leave it out to plan a member")
    if problems:
        raise InputError(*problems)


def _type_problems(config: Any, prefix: str = "") -> Iterator[str]:
    hints = typing.get_type_hints(type(config))
    for name, value in vars(config).items():
        if name not in hints:
            yield f"config.{prefix}{name} is no field; fields are {', '.join(hints)}"
        elif isinstance(hints[name], type) and hasattr(hints[name], "__dataclass_fields__"):
            if isinstance(value, hints[name]):
                yield from _type_problems(value, f"{prefix}{name}.")
            else:
                yield f"config.{prefix}{name} must be a {hints[name].__name__}, not {type(value).__name__}"
        elif not _fits(value, hints[name]):
            yield f"config.{prefix}{name} is {value!r}, expected {_type_name(hints[name])}"


def _type_name(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(map(_type_name, typing.get_args(hint)))
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, one) for one in arguments)
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(one, arguments[0]) for one in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def _value_problems(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if name in CHOICES and value not in CHOICES[name]:
            yield f"config.{name} is {value!r}, expected one of {', '.join(CHOICES[name])}"
        if name in POSITIVE and value is not None and not 0 < value < float("inf"):
            yield f"config.{name} is {value!r}, expected more than 0"
        if name in RANGES and value is not None and not RANGES[name][0](value):
            yield f"config.{name} is {value!r}, expected {RANGES[name][1]}"


def _combination_problems(config: Config) -> Iterator[str]:
    peft, data, mesh = config.peft, config.data, config.mesh
    if mesh.model > 1 or mesh.fully_sharded:
        field = "mesh.model" if mesh.model > 1 else "mesh.fully_sharded"
        if config.parallel in ("jit", "pmap"):
            yield f"config.{field} is for parallel=sharded, and config.parallel is {config.parallel!r}"
        if peft.method == "full":
            yield f"config.{field} splits what is frozen, and config.peft.method 'full' freezes nothing"
    yield from _target_problems(config)
    if peft.target_regex is not None:
        if peft.target_modules:
            yield "config.peft.target_modules and config.peft.target_regex are both set: set one"
        try:
            re.compile(peft.target_regex)
        except re.error as error:
            yield f"config.peft.target_regex {peft.target_regex!r} is no regular expression: {error}"
        if peft.method == "lora" and peft.lora.layers_to_transform:
            yield "config.peft.target_regex and config.peft.lora.layers_to_transform are both set: name targets instead"
    if config.model.quantise != "none" and peft.method in METHODS and not METHODS[peft.method].freezes_base:
        frozen = ", ".join(name for name, method in METHODS.items() if method.freezes_base)
        yield (
            f"config.model.quantise is {config.model.quantise!r}, and peft.method {peft.method!r} trains the base "
            f"itself: set model.quantise=none, or a method that leaves the base as it is ({frozen})"
        )
    if config.model.attention == "cudnn" and config.model.dtype == "float32":
        yield "config.model.attention is 'cudnn', which computes in half precision: set model.dtype=bfloat16"
    yield from patterns.problems("peft.lora.rank_pattern", peft.lora.rank_pattern, whole=True)
    yield from patterns.problems("peft.lora.alpha_pattern", peft.lora.alpha_pattern, whole=False)
    if problem := target_problem(data):
        yield f"config.{problem}"
    if data.split_lists is not None and corpus_format(data) != "mimic3":
        yield f"config.data.split_lists is set, and data.format {data.format!r} has no use for lists of SUBJECT_ID"
    if len(data.labels) == 1 and (config.task != "token_classification" or "," in data.labels[0]):
        yield f"config.data.labels is {data.labels!r}: expected two or more; on a command line write \"('a','b')\""
    if config.task in TASKS:
        yield from _task_problems(config)
    if data.window_stride is not None and data.long_text != "windows":
        yield f"config.data.window_stride is set, and config.data.long_text {data.long_text!r} has no windows"
    if data.max_length < 8:
        yield f"config.data.max_length is {data.max_length}, expected at least 8"


def _target_problems(config: Config) -> Iterator[str]:
    """Targets of a method that has none would be passed over."""
    peft = config.peft
    takes = [name for name, method in METHODS.items() if method.wrap is not None]
    for field in ("target_modules", "target_regex"):
        if getattr(peft, field) and peft.method in METHODS and peft.method not in takes:
            yield (
                f"config.peft.{field} is set, and peft.method {peft.method!r} stands in no modules of its own choice: "
                f"leave it out, or take {' or '.join(takes)}"
            )


def _presence_problems(config: Config) -> Iterator[str]:
    """What a run needs and a plan does without."""
    if config.data.path is None and config.data.format != "synthetic":
        yield f"config.data.path is not set, and data.format {config.data.format!r} reads one"
    if config.model.ref.startswith(shapes.PREFIX):
        yield f"config.model.ref {config.model.ref!r} is sizes without weights: only --mode=plan takes it"


def _task_problems(config: Config) -> Iterator[str]:
    known, chosen = TASKS[config.task].metric_names, config.train.select_metric
    if chosen is not None and chosen not in known:
        yield f"config.train.select_metric is {chosen!r}; {config.task} can select by {', '.join(known)}"
    if config.data.negative_share is not None and config.task != "relation_extraction":
        yield f"config.data.negative_share is for task relation_extraction, and the task is {config.task}"
