"""Configs with a population: the single runs that they stand for, and what is refused."""

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft import population
from jaxpeft.config import Config, PopulationConfig, from_dict, leaves, settle, to_json
from jaxpeft.errors import InputError
from jaxpeft.validate import validate
from tests import tiny
from tests.test_config import SHIPPED, parsed


def with_population(**lists):
    return tiny.experiment("base", "data", **{f"population__{name}": values for name, values in lists.items()})


def test_what_is_listed_is_crossed_and_seeds_stand_together():
    config = with_population(seeds=(1, 2), ranks=(4, 16), learning_rates=("3e-4",))
    runs = population.runs(config)
    assert [run.name for run in runs] == [f"rank{rank}-lr0.0003-seed{seed}" for rank in (4, 16) for seed in (1, 2)]
    assert runs[3].values == {"ranks": 16, "learning_rates": 3e-4, "seeds": 2}
    single = runs[3].config
    assert (single.seed, single.peft.lora.rank, single.train.learning_rate) == (2, 16, 3e-4)
    assert single.name == "tiny-rank16-lr0.0003-seed2"
    assert not population.is_one(single)
    changed = {name for name, value in leaves(single).items() if value != leaves(config)[name]}
    fields = {"name", "seed", "peft.lora.rank", "train.learning_rate"}
    assert changed == fields | {"population.seeds", "population.ranks", "population.learning_rates"}


def test_each_list_varies_its_field():
    values = {"ranks": (3,), "alphas": ("24",), "learning_rates": ("0.5",), "head_learning_rates": ("2",)}
    (run,) = population.runs(with_population(**values, draws=(7,), seeds=(9,)))
    single = run.config
    assert run.name == "rank3-alpha24-lr0.5-head_lr2-draw7-seed9"
    assert (single.peft.lora.rank, single.peft.lora.alpha) == (3, 24.0)
    assert (single.train.learning_rate, single.train.head_learning_rate) == (0.5, 2.0)
    assert (single.seeds.data, single.seed) == (7, 9)
    assert {field.name for field in dataclasses.fields(PopulationConfig)} == population.AXES.keys()


def test_without_lists_it_is_a_single_run():
    assert not population.is_one(Config())
    validate(Config())


@pytest.mark.parametrize(
    ("lists", "changes", "message"),
    [
        ({"ranks": (4, 4)}, {}, "two members named rank4"),
        ({"alphas": ("8", "8.0")}, {}, "two members named alpha8"),
        ({"ranks": (0,)}, {}, "population.ranks holds 0, expected more than 0"),
        ({"learning_rates": ("nan",)}, {}, "holds nan"),
        ({"learning_rates": ("fast",)}, {}, r"population.learning_rates is \('fast',\), expected numbers"),
        ({"seeds": (-1,)}, {}, "population.seeds holds -1"),
        ({"draws": (2**32,)}, {}, "population.draws holds 4294967296"),
        ({"seeds": (1, 2)}, {"peft__method": "full"}, "'full' trains it"),
        ({"ranks": (4,)}, {"peft__method": "ia3"}, "population.ranks is LoRA's"),
        ({"alphas": ("4",)}, {"peft__lora__rank_pattern": ("query=2",)}, "peft.lora.rank_pattern for some"),
        ({"ranks": (4,)}, {"peft__lora__alpha_pattern": ("query=2",)}, "peft.lora.alpha_pattern for some"),
        ({"ranks": (4,)}, {"peft__init_from": "folder"}, "a rank and an alpha of its own"),
        ({"seeds": (1,)}, {"seeds__data": 1, "seeds__init": 1, "seeds__dropout": 1}, "seeds changes nothing"),
        ({"seeds": (1,), "draws": (1,)}, {"seeds__init": 1, "seeds__dropout": 1}, "seeds changes nothing"),
        ({"seeds": (1,)}, {"train__seconds": 5.0}, "share their time"),
        ({"seeds": (1,)}, {"parallel": "pmap"}, "trains on one device"),
        ({"seeds": (1,)}, {"parallel": "auto", "mesh__model": 2}, "trains on one device"),
    ],
)
def test_what_a_population_refuses(lists, changes, message):
    config = with_population(**lists)
    for name, value in changes.items():
        tiny.set_field(config, name.replace("__", "."), value)
    with pytest.raises(InputError, match=message):
        validate(config)


def test_plan_is_for_one_run():
    validate(with_population(), for_plan=True)
    with pytest.raises(InputError, match="plans one run"):
        validate(with_population(seeds=(1,)), for_plan=True)


def test_lists_of_numbers_on_a_command_line():
    fields = ("alphas", "learning_rates", "head_learning_rates")
    texts = ("1e-4,3e-4", "('16', '32')", "(2.5, 1)")
    given = [f"--config.population.{name}={text}" for name, text in zip(fields, texts, strict=True)]
    found = parsed(SHIPPED[0], *given, "--config.population.ranks=4,8", "--config.population.seeds=3")
    assert [found[f"population.{name}"] for name in fields] == [["1e-4", "3e-4"], ["16", "32"], ["2.5", "1"]]
    assert (found["population.ranks"], found["population.seeds"]) == ([4, 8], [3])


NUMBERS = st.one_of(st.integers(1, 10**9), st.floats(1e-30, 1e30)).map(str)
TEXTS = st.one_of(st.text(max_size=12), st.lists(NUMBERS, max_size=3).map(",".join))


@given(st.lists(TEXTS, max_size=3), st.lists(st.integers(), max_size=3))
def test_any_lists_are_members_of_distinct_names_or_a_message(texts, numbers):
    config = settle(with_population(learning_rates=tuple(texts), ranks=tuple(numbers), seeds=tuple(numbers)))
    assert settle(config) == config
    problems = list(population.problems(config))
    if problems or not population.is_one(config):
        return
    runs = population.runs(config)
    names = [run.name for run in runs]
    assert len(set(names)) == len(names) > 0
    for run in runs:
        assert re.fullmatch(r"[a-z_]+[\d.e+-]+(-[a-z_]+[\d.e+-]+)*", run.name)
        assert leaves(from_dict(json.loads(to_json(run.config)))) == leaves(run.config)
