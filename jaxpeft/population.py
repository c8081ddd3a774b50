"""A config with a population as the configs of its members: the single runs that it stands for.

What is listed under `population` is crossed: 2 ranks and 4 seeds are 8 members. A member is named by its own values,
such as `rank8-seed12`.
"""

import copy
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from jaxpeft.config import Config, PopulationConfig, set_leaf


@dataclasses.dataclass(frozen=True)
class Axis:
    """A list of `population`: the field that it varies, and what a member's name says before the value."""

    field: str
    sign: str
    number: type = int

    def text(self, value: int | float) -> str:
        """A value as it stands in a member's name."""
        return f"{self.sign}{value:g}" if self.number is float else f"{self.sign}{value}"


AXES = {  # seeds last: members that differ in their seed alone stand together
    "ranks": Axis("peft.lora.rank", "rank"),
    "alphas": Axis("peft.lora.alpha", "alpha", float),
    "learning_rates": Axis("train.learning_rate", "lr", float),
    "head_learning_rates": Axis("train.head_learning_rate", "head_lr", float),
    "draws": Axis("seeds.data", "draw"),
    "seeds": Axis("seed", "seed"),
}
RANDOM = ("draws", "seeds")  # over which scores are averaged


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a population: its name, its values by axis, and the config of the single run that it equals."""

    name: str
    values: dict[str, int | float]
    config: Config


def is_one(config: Config) -> bool:
    """Whether a config stands for several runs."""
    return config.population != PopulationConfig()


def runs(config: Config) -> list[Run]:
    """The runs that a validated config stands for, in the order of their names' parts."""
    varied = {name: values for name in AXES if (values := _values(config, name))}
    found = []
    for combination in itertools.product(*varied.values()):
        own = dict(zip(varied, combination, strict=True))
        name = "-".join(AXES[axis].text(value) for axis, value in own.items())
        found.append(Run(name, own, _single(config, name, own)))
    return found


def problems(config: Config) -> Iterator[str]:
    """What is wrong with the population of a config, if it has one."""
    if not is_one(config):
        return
    yield from _value_problems(config)
    listed, peft = config.population, config.peft
    if peft.method == "full":
        yield "config.population shares one frozen base, and config.peft.method 'full' trains it: choose another method"
    of_lora = [f"population.{name}" for name in ("ranks", "alphas") if getattr(listed, name)]
    if of_lora and peft.method != "lora":
        yield f"config.{of_lora[0]} is LoRA's, and config.peft.method is {peft.method!r}"
    if of_lora and peft.init_from is not None:
        yield f"config.{of_lora[0]} is set, and the adapter of config.peft.init_from has a rank and an alpha of its own"
    for name in ("rank_pattern", "alpha_pattern"):
        if of_lora and getattr(peft.lora, name):
            yield f"config.{of_lora[0]} is for all modules alike, and config.peft.lora.{name} for some: set one"
    seeds = config.seeds
    data_seed = seeds.data if not listed.draws else listed.draws
    if listed.seeds and None not in (data_seed, seeds.init, seeds.dropout):
        yield "config.population.seeds changes nothing: seeds of data, init and dropout are all set by themselves"
    if config.model.attention == "cudnn":
        yield "config.model.attention is 'cudnn', which cannot train a population: set it to 'auto' or 'xla'"
    if config.train.seconds is not None:
        yield "config.train.seconds is set, and members of a population share their time: set train.steps or epochs"
    if config.parallel in ("pmap", "sharded") or config.mesh.model > 1 or config.mesh.fully_sharded:
        yield "config.population trains on one device: set parallel=jit and leave config.mesh as it is"


def _value_problems(config: Config) -> Iterator[str]:
    for name, axis in AXES.items():
        try:
            values = _values(config, name)
        except ValueError:
            yield f"config.population.{name} is {getattr(config.population, name)!r}, expected numbers"
            continue
        for value in values:
            if name in RANDOM and not 0 <= value < 2**32:
                yield f"config.population.{name} holds {value}, expected from 0 to 2^32 - 1"
            if name not in RANDOM and not 0 < value < float("inf"):
                yield f"config.population.{name} holds {value}, expected more than 0"
        texts = [axis.text(value) for value in values]
        if twice := [text for text in dict.fromkeys(texts) if texts.count(text) > 1]:
            yield f"config.population.{name} would have two members named {twice[0]}"


def _values(config: Config, name: str) -> list[Any]:
    return [AXES[name].number(value) for value in getattr(config.population, name)]


def _single(config: Config, name: str, values: dict[str, int | float]) -> Config:
    single = copy.deepcopy(config)
    single.name, single.parallel, single.population = f"{config.name}-{name}", "jit", PopulationConfig()
    for axis, value in values.items():
        set_leaf(single, AXES[axis].field, value)
    return single
