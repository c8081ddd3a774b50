"""From a search to its systems: the config of each, its space, and a name that holds all that its trials depend on."""

import copy
import dataclasses
import difflib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.config import Config, expanded, leaves, set_leaf
from jaxpeft.errors import InputError
from jaxpeft.models.pretrained import resolve as find_base
from jaxpeft.population import is_one
from jaxpeft.study import grid
from jaxpeft.study.design import AXES, Grid, Study
from jaxpeft.study.planned import digest, is_place, settings
from jaxpeft.study.search.design import ALPHA_OVER_RANK, Dimension, LogUniform, OneOf, Search, Space, Uniform
from jaxpeft.tasks.registry import TASKS
from jaxpeft.validate import validate

SEARCHED = ("train.", "peft.", "data.max_length", "data.long_text")  # how fields that a space may vary begin
# Fields that say what is compared, and by what: a score would not be the same one in every trial.
FIXED = ("train.select_metric", "train.test_on", "train.steps", "peft.method", "peft.init_from")
WEIGHTS = ("*.safetensors", "*.bin")


@dataclasses.dataclass(frozen=True)
class System:
    """A system to search for.

    Attributes:
        name: of its Optuna study: the system in words, and a hash of settings, base, space, score and pruning.
        axes: as in a study. config: that of every trial, but for what the space says.
        metric: the validation score that is made as high as possible.
    """

    name: str
    axes: dict[str, Any]
    config: Config
    space: Space
    metric: str

    def configured(self, params: Mapping[str, Any]) -> Config:
        """The config of a trial. Raises InputError where its values do not go together."""
        config = copy.deepcopy(self.config)
        for name, value in params.items():
            if name != ALPHA_OVER_RANK:
                set_leaf(config, field_of(name), value)
        if ALPHA_OVER_RANK in params:
            config.peft.lora.alpha = params[ALPHA_OVER_RANK] * config.peft.lora.rank
        validate(config)
        return config


def field_of(name: str) -> str:
    """The field of a config that a name in a space is about."""
    return "peft.lora.alpha" if name == ALPHA_OVER_RANK else AXES.get(name, name)


def systems_of(search: Search, folder: Path, corpora: Mapping[str, str] | None = None) -> list[System]:
    """The systems of a search, in the order of its axes.

    `folder` is that of the search file: config files of tasks are looked for here and above; `corpora` are paths by
    `data.format`. Raises InputError for what a study would refuse, a method without a space, a space with a name that
    no config has or with values that no run can have, and a fresh seed that the trials had.
    """
    if "seed" in search.axes:
        raise InputError("axes: no 'seed' here: trials have the config's, and the best is tested on `seeds`")
    study = Study(search.name, search.question, {"search": Grid(search.axes, search.fields, search.rules)})
    planned = grid.resolve(study, folder, corpora).runs
    if missing := [run.missing for run in planned if run.missing]:
        raise InputError(*dict.fromkeys(missing))
    varied = {
        field for axis, values in search.axes.items() for value in values for field in grid.fields_of(axis, value)
    }
    found: list[System] = []
    problems: list[str] = []
    for run in planned:
        space = search.spaces.get(run.config.peft.method)
        own = list(_problems(run.config, space, varied, search.seeds))
        problems += [f"{run.id}: {problem}" for problem in own]
        if not own and space is not None:
            found.append(_system(search, run, space))
    if problems:
        raise InputError(*dict.fromkeys(problems))
    return found


def _problems(config: Config, space: Space | None, varied: set[str], seeds: tuple[int, ...]) -> Iterator[str]:
    if space is None:
        yield f"`spaces` has none for the method {config.peft.method!r}"
        return
    if is_one(config):
        yield "config.population has to be empty: a trial is one run"
    sources = {config.seed, config.seeds.data, config.seeds.init, config.seeds.dropout}
    if used := sorted(set(seeds) & (sources - {None})):
        yield f"`seeds` has {used[0]}, which the trials have too: the best would be tested on the seed that chose it"
    if not space:
        yield "its space is empty"
    wrong = [problem for name, one in space.items() for problem in _wrong(name, one, config.peft.method, varied)]
    if ALPHA_OVER_RANK in space and {"alpha", "peft.lora.alpha"} & space.keys():
        wrong.append(f"the space has both alpha and {ALPHA_OVER_RANK}")
    yield from wrong or _corners(config, space)


def _wrong(name: str, dimension: Any, method: str, varied: set[str]) -> Iterator[str]:
    """What is wrong with one dimension, whatever the others are."""
    field = field_of(name)
    if field not in grid.FIELDS:
        close = difflib.get_close_matches(name, (*AXES, ALPHA_OVER_RANK, *grid.FIELDS), n=1)
        yield f"the space has {name!r}, and no config does" + "".join(f"; {one}?" for one in close)
    elif field in FIXED or not field.startswith(SEARCHED):
        yield f"the space has {name!r}, which has to be the same in all trials"
    elif not grid.applies(field, method):
        yield f"the space has {name!r}, which {method} does not read"
    elif field in varied:
        yield f"the space and an axis both have {name!r}"
    match dimension:
        case OneOf(values):
            several = values if isinstance(values, tuple | list) else ()
            if not several or not all(
                value is None or isinstance(value, bool | int | float | str) for value in several
            ):
                yield f"{name}: expected OneOf of one or more numbers, words, True, False or None"
        case LogUniform(low, high) | Uniform(low, high):
            lowest = 0 if isinstance(dimension, LogUniform) else -float("inf")
            numbers = isinstance(low, int | float) and isinstance(high, int | float)
            if not (numbers and lowest < low < high < float("inf")):
                yield f"{name}: expected {type(dimension).__name__} of two finite rising bounds" + (
                    " above 0" if lowest == 0 else ""
                )
        case _:
            yield f"{name} is a {type(dimension).__name__}: expected LogUniform, Uniform or OneOf"


def _corners(config: Config, space: Space) -> Iterator[str]:
    """What is wrong with configs at the ends of each dimension, the others at their first value."""
    first = {name: _ends(dimension)[0] for name, dimension in space.items()}
    system = System("", {}, config, space, "")
    told: dict[str, None] = {}
    for name, dimension in space.items():
        for value in _ends(dimension):
            try:
                system.configured(first | {name: value})
            except InputError as error:
                told |= dict.fromkeys(f"{name} at {value!r}: {problem}" for problem in error.problems)
    yield from told


def _ends(dimension: Dimension) -> tuple[Any, ...]:
    return dimension.values if isinstance(dimension, OneOf) else (dimension.low, dimension.high)


def _system(search: Search, run: grid.Planned, space: Space) -> System:
    metric = run.config.train.select_metric or TASKS[run.config.task].default_metric
    plain, defaults = copy.deepcopy(run.config), leaves(Config())
    for name in space:
        set_leaf(plain, field_of(name), defaults[field_of(name)])
    holds = {
        "settings": settings(plain),
        "base": _base(run.config),
        "space": described(space),
        "metric": metric,
        "pruning": [search.startup, search.prune_from],
        "sampler_seed": search.sampler_seed,
    }
    name = f"{run.config.name}-{metric}-{digest(holds)}"
    axes = {axis: value for axis, value in run.axes.items() if axis not in ("experiment", "seed")}
    return System(name, axes, run.config, space, metric)


def corpus_of(config: Config) -> str:
    """A hash of the names and sizes of the files that a config reads, wherever they lie; empty where it names none."""
    root = expanded(config.data.path or "")
    if config.data.path is None or not root.exists():  # made up, or a name on the hub
        return config.data.path or ""
    files = sorted(path for path in [root, *root.rglob("*")] if path.is_file())
    return digest({str(path.relative_to(root)): path.stat().st_size for path in files})


def _base(config: Config) -> str:
    """The base by its name or, where that is a place, by its weights: they may change under one path."""
    if not is_place(config.model.ref):
        return config.model.ref
    content = hashlib.sha256()
    folder = find_base(config.model.ref)
    for path in sorted(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        with path.open("rb") as file:
            content.update(hashlib.file_digest(file, "sha256").digest())
    return content.hexdigest()


def described(space: Space) -> dict[str, dict[str, Any]]:
    """A space as JSON."""
    return {
        name: {"kind": type(dimension).__name__, **dataclasses.asdict(dimension)} for name, dimension in space.items()
    }
