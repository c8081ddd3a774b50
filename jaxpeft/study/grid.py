"""From a study to its runs: every combination of axes as one resolved config."""

import copy
import dataclasses
import difflib
import functools
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from jaxpeft import population
from jaxpeft.config import Config, leaves, set_leaf, settle
from jaxpeft.errors import InputError, first_few
from jaxpeft.study.design import AXES, Axes, Choice, Fields, Grid, Rule, Study, called, run_file
from jaxpeft.study.planned import Planned, check_places, distinct, named
from jaxpeft.validate import validate

ALWAYS = ("experiment", "model", "method", "task", "seed")  # axes that every run has, whatever its grid names
FIELDS = tuple(leaves(Config()))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The runs of a study in the order of its grids, and the ids that belong to each experiment."""

    runs: tuple[Planned, ...]
    experiments: dict[str, list[str]]


def resolve(study: Study, folder: Path, corpora: Mapping[str, str] | None = None, *, for_plan: bool = False) -> Plan:
    """All runs of a study.

    Args:
        study: the design. folder: that of the study's file; config files of tasks are looked for here and above.
        corpora: `data.format` -> path, for configs that leave `data.path` open.
        for_plan: neither data nor weights have to be there.

    Raises InputError for an empty grid, an unknown axis, axes and rules that contradict each other, two runs that are
    one, rules that match nothing, and configs that `validate` refuses.
    """
    _check_tuples(study)
    _check_axes(study)
    tasks = _Tasks(folder)
    runs: dict[str, Planned] = {}
    experiments: dict[str, list[str]] = {}
    used: set[int] = set()
    for name, grid in study.experiments.items():
        found = [_planned(study, name, grid, chosen, tasks, used) for chosen in _combinations(study, grid, tasks)]
        kept = distinct([run for run in found if run is not None], name)
        if not kept:
            raise InputError(f"experiment {name!r} has no run: an axis is empty or rules leave everything out")
        experiments[name] = [run.id for run in kept]
        check_places(runs, kept)
        runs = {run.id: run for run in kept} | runs
    ordered = [runs[name] for name in dict.fromkeys(itertools.chain(*experiments.values()))]
    rules = [*study.rules, *(rule for grid in study.experiments.values() for rule in grid.rules)]
    if idle := [rule.why for rule in rules if id(rule) not in used]:
        raise InputError(*(f"the rule {why!r} matches no run: is a name in its `when` misspelt?" for why in idle))
    return Plan(_settled(ordered, corpora or {}, for_plan), experiments)


def _check_tuples(study: Study) -> None:
    """Raises InputError for what a forgotten comma has made no tuple."""
    several = {"the study's rules": study.rules}
    for name, grid in study.experiments.items():
        several[f"experiment {name!r}: its rules"] = grid.rules
        several |= {f"experiment {name!r}: axis {axis!r}": values for axis, values in grid.axes.items()}
    if wrong := [name for name, values in several.items() if not isinstance(values, tuple | list)]:
        raise InputError(*(f"{name}: expected a tuple; one of a single value ends in a comma, (x,)" for name in wrong))


def _check_axes(study: Study) -> None:
    """Raises InputError for names that no config has."""
    problems: list[str] = []
    if not study.experiments:
        problems.append(f"study {study.name!r} has no experiment")
    for name, grid in study.experiments.items():
        if "task" not in grid.axes:
            problems.append(f"experiment {name!r} has no axis 'task': name the config files to begin from")
        for axis, values in grid.axes.items():
            own = all(isinstance(value, Choice) for value in values)
            if axis != "task" and not own and AXES.get(axis, axis) not in FIELDS:
                known = ("task", *(short for short, field in AXES.items() if field in FIELDS), *FIELDS)
                close = "".join(f"; {one}?" for one in difflib.get_close_matches(axis, known, n=1))
                problems.append(f"experiment {name!r}: there is no axis {axis!r}{close}")
            names = [_name(value) for value in values]
            problems += [
                f"experiment {name!r}: axis {axis!r} has {twice!r} twice"
                for twice in dict.fromkeys(names)
                if names.count(twice) > 1
            ]
    tasks = dict.fromkeys(_name(value) for grid in study.experiments.values() for value in grid.axes.get("task", ()))
    problems += [
        f"tasks {one!r} and {other!r} have one name in the report, {task_title(one)!r}: name one by "
        f"Choice('another_name', config={other!r})"
        for one, other in itertools.combinations(tasks, 2)
        if task_title(one) == task_title(other)
    ]
    if problems:
        raise InputError(*problems)


class _Tasks:
    """The config files that runs begin from, each read once."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._read: dict[str, Config] = {}

    def read(self, value: Any) -> Config:
        """The config of a value of the axis `task`: everybody's, to be copied."""
        name = str((value.config or value.name) if isinstance(value, Choice) else value)
        if name not in self._read:
            self._read[name] = self._load(name)
        return self._read[name]

    def _load(self, name: str) -> Config:
        file = name if name.endswith(".py") else f"{name}.py"
        candidates = (self._folder / file, self._folder.parent / file, Path("configs") / file)
        path = next((one for one in candidates if one.is_file()), None)
        if path is None:
            raise InputError(f"task {name!r}: no config file {', '.join(map(str, candidates))}")
        get_config = run_file(path, "task").get("get_config")
        config = called(get_config, path) if callable(get_config) else None
        if not isinstance(config, Config):
            raise InputError(f"task {name!r}: {path} has no get_config() that returns a jaxpeft.config.Config")
        return config


def _combinations(study: Study, grid: Grid, tasks: _Tasks) -> Iterator[dict[str, Any]]:
    """Axis -> value or Choice, for every combination. An axis of another method's block is left out."""
    seen = set()
    for values in itertools.product(*grid.axes.values()):
        chosen = dict(zip(grid.axes, values, strict=True))
        method = tasks.read(chosen["task"]).peft.method
        by_axes = [fields_of(axis, value) for axis, value in chosen.items()]
        for fields in (study.fields, grid.fields, *by_axes):
            method = fields.get("peft.method", method)
        kept = {
            axis: value
            for axis, value in chosen.items()
            if any(applies(field, method) for field in fields_of(axis, value) or (axis,))
        }
        key = tuple((axis, _name(value)) for axis, value in kept.items())
        if key not in seen:
            seen.add(key)
            yield kept


def task_title(name: Any) -> str:
    """What a report calls a task: a config without its folder."""
    return PurePath(str(name)).name.removesuffix(".py")


def applies(field: str, method: str) -> bool:
    """Whether a field has any effect under a method: `peft.lora.rank` has none under ia3."""
    parts = field.split(".")
    return len(parts) < 3 or parts[0] != "peft" or parts[1] == method


def _name(value: Any) -> Any:
    """What a value of an axis is called."""
    if isinstance(value, Choice):
        return value.name
    return ",".join(map(str, value)) if isinstance(value, (tuple, list)) else value


def fields_of(axis: str, value: Any) -> Fields:
    """The fields that a value of an axis sets."""
    if isinstance(value, Choice):
        return value.fields
    if axis == "task":
        return {}
    return {AXES.get(axis, axis): value}


def _planned(
    study: Study, experiment: str, grid: Grid, chosen: Mapping[str, Any], tasks: _Tasks, used: set[int]
) -> Planned | None:
    """The run of one combination, None where a rule leaves it out. `used` gets the rules that matched."""
    config = copy.deepcopy(tasks.read(chosen["task"]))
    axes = {"experiment": experiment} | {axis: _name(value) for axis, value in chosen.items()}
    for fields in (study.fields, grid.fields):
        _set_all(config, fields, axes, "the study's fields")
    by_axes: dict[str, str] = {}  # field -> the axis that sets it
    for axis, value in chosen.items():
        for field in fields_of(axis, value):
            if field in by_axes:
                raise InputError(f"experiment {experiment!r}: axes {by_axes[field]!r} and {axis!r} both set {field}")
            by_axes[field] = axis
    for axis, value in chosen.items():
        _set_all(config, fields_of(axis, value), axes, f"axis {axis!r}")
    axes = _complete(axes, study, config)
    rules = [rule for rule in (*study.rules, *grid.rules) if rule.matches(axes)]
    used.update(map(id, rules))
    if any(rule.leave_out for rule in rules):
        return None
    for rule in rules:
        _check_rule(rule, by_axes, experiment)
        _set_all(config, rule.fields, axes, f"the rule {rule.why!r}")
    axes = _complete(
        {axis: value for axis, value in axes.items() if axis in chosen} | {"experiment": experiment}, study, config
    )
    return named(axes, config)


def _check_rule(rule: Rule, by_axes: Mapping[str, str], experiment: str) -> None:
    for field in rule.fields:
        if field in by_axes:
            raise InputError(
                f"experiment {experiment!r} contradicts itself: axis {by_axes[field]!r} varies {field}, and the rule "
                f"{rule.why!r} sets it"
            )


def _set_all(config: Config, fields: Fields, axes: Axes, where: str) -> None:
    for field, value in fields.items():
        if field not in FIELDS:
            close = "".join(f"; {one}?" for one in difflib.get_close_matches(field, FIELDS, n=1))
            raise InputError(f"{where}: the config has no field {field!r}{close}")
        if callable(value):
            try:
                value = value(axes)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise InputError(f"{where}: the function of {field} fails for the axes {dict(axes)}: {what}") from None
        set_leaf(config, field, value)


def _complete(axes: dict[str, Any], study: Study, config: Config) -> dict[str, Any]:
    """All axes that the study has, those that this grid does not name as the config has them."""
    complete = {}
    for axis in dict.fromkeys((*ALWAYS, *(axis for grid in study.experiments.values() for axis in grid.axes))):
        field = AXES.get(axis, axis)
        if axis in axes:
            complete[axis] = axes[axis]
        elif field in FIELDS and applies(field, config.peft.method):
            complete[axis] = _name(functools.reduce(getattr, field.split("."), config))
        else:
            complete[axis] = None
    return complete


def _settled(runs: list[Planned], corpora: Mapping[str, str], for_plan: bool) -> tuple[Planned, ...]:
    """The runs with paths filled in and configs checked; raises InputError that lists what is wrong with which run."""
    problems: dict[str, list[str]] = {}
    settled = []
    for run in runs:
        if run.config.data.path is None:
            run.config.data.path = corpora.get(run.config.data.format)
        missing = None if for_plan else _missing(run.config)
        settled.append(dataclasses.replace(run, missing=missing))
        try:
            settle(run.config)
            if population.is_one(run.config):
                raise InputError("config.population has to be empty in a study; seeds_together trains seeds as one")
            validate(run.config, for_plan=for_plan or missing is not None)
        except InputError as error:
            for problem in error.problems:
                problems.setdefault(problem, []).append(run.id)
    told = [f"{ids[0]}{f' and {len(ids) - 1} more' if ids[1:] else ''}: {text}" for text, ids in problems.items()]
    if told:
        raise InputError(*first_few(told, 12))
    return tuple(settled)


def _missing(config: Config) -> str | None:
    """How to name the corpus that a run reads, where nobody has said where it is."""
    if config.data.path is not None or config.data.format == "synthetic":
        return None
    return f"its corpus is missing: --corpus={config.data.format}=PATH says where it is"
