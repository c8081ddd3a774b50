"""What a search is: the systems to search for, the space of each method, and how trials are spent.

A search file defines `get_search()` and returns a `Search`. Axes, fields and rules are those of a study
(`jaxpeft/study/design.py`); every combination of axes is a system with a search of its own.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.study.design import Fields, Rule, load

ALPHA_OVER_RANK = "alpha_over_rank"  # LoRA's scale: alpha is this times the rank, whichever the rank is


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """A number whose logarithm is uniform between two positive bounds."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Uniform:
    """A number between two bounds."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some values: numbers, words, True, False or None."""

    values: tuple[Any, ...]


Dimension = LogUniform | Uniform | OneOf
Space = Mapping[str, Dimension]  # a short name of `AXES`, a dotted field or ALPHA_OVER_RANK -> where to look

_PAPER_RATE = {"learning_rate": LogUniform(1e-5, 1e-3)}
PAPER: Mapping[str, Space] = {  # Taylor et al. 2024: 20 trials a model and rank
    "lora": {**_PAPER_RATE, ALPHA_OVER_RANK: OneOf((0.3, 0.5, 1.0)), "dropout": OneOf((0.1, 0.3, 0.5))},
    "ia3": _PAPER_RATE,
}
_HIGH_RATE = {"learning_rate": LogUniform(1e-4, 1e-1)}
WIDE: Mapping[str, Space] = {  # a decade or two more: the fewer parameters train, the higher the rate they may need
    "lora": {
        "learning_rate": LogUniform(1e-5, 1e-2),
        "rank": OneOf((2, 4, 8, 16, 32, 64)),
        ALPHA_OVER_RANK: LogUniform(0.25, 8.0),
        "dropout": Uniform(0.0, 0.5),
    },
    "ia3": _HIGH_RATE,
    "prompt": _HIGH_RATE,
    "p_tuning": _HIGH_RATE,
    "prefix": _HIGH_RATE,
    "bitfit": {"learning_rate": LogUniform(1e-5, 1e-2)},
    "head": {"learning_rate": LogUniform(1e-5, 1e-1)},
    "full": {"learning_rate": LogUniform(1e-6, 1e-3)},
}


@dataclasses.dataclass(frozen=True)
class Search:
    """What to search for, and what to spend on it.

    Attributes:
        axes, fields, rules: as in a study; each combination of axes is searched for by itself. No axis is `seed`.
        spaces: method -> its space.
        trials: of each system, pruned ones and failed ones included, those that are tried again counted once.
        seeds: on which the best trial is trained anew and tested; none of them is the seed of the trials.
        startup: trials that are drawn at random, and not pruned, before those that learn from others.
        prune_from: the first evaluation at which a trial that is below the median of others there ends.
        sampler_seed: of the draws. One process makes the same trials again; of several the order is chance.
    """

    name: str
    question: str
    axes: Mapping[str, tuple[Any, ...]]
    spaces: Mapping[str, Space]
    fields: Fields = dataclasses.field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    trials: int = 20
    seeds: tuple[int, ...] = (101, 202, 303)
    startup: int = 5
    prune_from: int = 2
    sampler_seed: int = 0


def load_search(path: Path, trials: int | None = None, corpora: Mapping[str, str] | None = None) -> Search:
    """What `get_search()` of a search file returns, with so many trials if given; `corpora` as in `load_study`.

    Raises InputError.
    """
    search = load(path, "get_search", Search, corpora)
    search = dataclasses.replace(search, trials=search.trials if trials is None else trials)
    if not isinstance(search.seeds, tuple | list):
        raise InputError(f"--config={path}: seeds is {search.seeds!r}: expected a tuple, as ({search.seeds!r},)")
    problems = [
        f"{name} is {value!r}: expected a whole number, {least} or more"
        for name, value, least in (
            ("trials", search.trials, 1),
            ("startup", search.startup, 1),
            ("prune_from", search.prune_from, 1),
            ("sampler_seed", search.sampler_seed, 0),
            *(("a seed of `seeds`", seed, 0) for seed in search.seeds),
        )
        if isinstance(value, bool) or not isinstance(value, int) or value < least
    ]
    if not search.seeds or len(set(search.seeds)) < len(search.seeds):
        problems.append(f"seeds is {search.seeds!r}: expected one or more, all different")
    if problems:
        raise InputError(*(f"--config={path}: {problem}" for problem in problems))
    return search
