"""What a study is: its question, its experiments as grids of axes, and the rules of what goes with what.

A study file defines `get_study()`, or `get_study(corpora)` where its grid depends on what --corpus names, and returns
a `Study`. Fields of configs go by their dotted names, as on a command line: `peft.lora.rank`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxpeft.data.readers import FORMATS
from jaxpeft.errors import InputError

_Kind = TypeVar("_Kind")

Axes = Mapping[str, Any]  # axis -> the name or value that one run has of it
Fields = Mapping[str, Any]  # dotted field of a config -> value, or a function of the run's axes that gives it

# Short names of what studies vary. Any dotted field of a config is an axis as well; `task` names a config file.
AXES: Mapping[str, str] = {
    "model": "model.ref",
    "method": "peft.method",
    "seed": "seed",
    "rank": "peft.lora.rank",
    "alpha": "peft.lora.alpha",
    "dropout": "peft.lora.dropout",
    "few_shot": "data.few_shot",
    "protocol": "data.protocol",
    "max_length": "data.max_length",
    "learning_rate": "train.learning_rate",
    "epochs": "train.epochs",
    "steps": "train.steps",
    "seconds": "train.seconds",
    "keep_layers": "model.keep_layers",
}


@dataclasses.dataclass(frozen=True)
class Choice:
    """One value of an axis that stands for several fields, or has a name of its own.

    `config` is for the axis `task`: the config file to begin from, if it is not the one that `name` says.
    """

    name: str
    fields: Fields = dataclasses.field(default_factory=dict)
    config: str | None = None


@dataclasses.dataclass(frozen=True)
class Rule:
    """What runs that agree with `when` also have, or that they are left out. Of several that match the last counts.

    `when` maps an axis to a value or to a tuple of values. `why` is the rule in words, for whoever reads the study.
    """

    when: Mapping[str, Any]
    why: str
    fields: Fields = dataclasses.field(default_factory=dict)
    leave_out: bool = False

    def matches(self, axes: Axes) -> bool:
        """Whether a run of these axes is meant."""
        return all(
            axes.get(axis) in wanted if isinstance(wanted, tuple) else axes.get(axis) == wanted
            for axis, wanted in self.when.items()
        )


@dataclasses.dataclass(frozen=True)
class Grid:
    """One experiment: every combination of its axes' values, `fields` in all of them, less what rules leave out."""

    axes: Mapping[str, tuple[Any, ...]]
    fields: Fields = dataclasses.field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


@dataclasses.dataclass(frozen=True)
class Device:
    """A machine to plan for: a name of `training/cards.py`, and 10^12 operations a second that a step reaches on it."""

    card: str
    tflops: float


@dataclasses.dataclass(frozen=True)
class TaskSize:
    """How large a corpus is, for plans made where it is not: training examples and labels."""

    examples: int
    classes: int


DEVICES = (Device("h100-80g", 60.0), Device("rtx2080ti-11g", 6.0))


@dataclasses.dataclass(frozen=True)
class Study:
    """A question and the experiments that answer it.

    Attributes:
        experiments: name -> grid. A run that two of them have in common is run once.
        fields, rules: those of every experiment; a grid's own come after them.
        prices: money an hour by device: the longest key that stands in its name, as whole words, counts; "cpu" is any
            CPU.
        currency, price_source: of the prices; where and when they were read.
        reference: axes of the system that costs are told as multiples of; () = none.
        devices: machines that `--dry_run` plans for. sizes: of the corpora, by task, for the same.
        fresh_process: every run has a process of its own, so that its memory and its cold start are its own. False
            keeps one for runs that follow one another on one base, which saves its start; memory is then not told.
        seeds_together: runs that differ in their seed alone train in one step, as a population, where one can hold
            them (docs/population.md says when that pays). Seconds are then a run's part of all, memory is not told.
    """

    name: str
    question: str
    experiments: Mapping[str, Grid]
    fields: Fields = dataclasses.field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    prices: Mapping[str, float] = dataclasses.field(default_factory=dict)
    currency: str = "USD"
    price_source: str = ""
    reference: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    devices: tuple[Device, ...] = DEVICES
    sizes: Mapping[str, TaskSize] = dataclasses.field(default_factory=dict)
    fresh_process: bool = True
    seeds_together: bool = False


def load_study(path: Path, corpora: Mapping[str, str] | None = None) -> Study:
    """What `get_study()` of a study file returns, or `get_study(corpora)`, of names of --corpus and their paths.

    Raises InputError for a missing or broken file, and for a name that is no `data.format` where the file does not ask
    for others.
    """
    return load(path, "get_study", Study, corpora)


def load(path: Path, function: str, kind: type[_Kind], corpora: Mapping[str, str] | None = None) -> _Kind:
    """What a function of a Python file returns, which may take the corpora.

    Raises InputError where it is missing, or returns something else, and as `load_study` does.
    """
    getter = run_file(path, "--config").get(function)
    if not callable(getter):
        named = f"{kind.__module__}.{kind.__name__}"
        raise InputError(f"--config={path}: expected a function {function}() that returns a {named}")
    asks = bool(called(lambda: inspect.signature(getter).parameters, path))
    if not asks and (unknown := [name for name in corpora or {} if name not in FORMATS]):
        raise InputError(f"--corpus={unknown[0]}=...: no data.format; there are {', '.join(FORMATS)}")
    found = called((lambda: getter(dict(corpora or {}))) if asks else getter, path)
    if not isinstance(found, kind):
        raise InputError(f"--config={path}: {function}() returned {type(found).__name__}, expected a {kind.__name__}")
    return found


def run_file(path: Path, named: str) -> dict[str, Any]:
    """The names that a Python file defines. Raises InputError, which says that `named` names it."""
    if not path.is_file():
        raise InputError(f"{named}={path}: no such file")
    namespace: dict[str, Any] = {"__name__": "config", "__file__": str(path)}
    code = called(lambda: compile(path.read_bytes(), str(path), "exec"), path)  # Python knows encodings and marks
    called(lambda: exec(code, namespace), path)
    return namespace


def called(function: Callable[[], Any], path: Path) -> Any:
    """What a function of the file returns. Raises InputError for whatever it raises."""
    try:
        return function()
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise InputError(f"{path} cannot be run: {type(error).__name__}: {lines[0]}") from None
