"""Configs: every leaf can be overridden from the command line, and `validate` reports all problems at once."""

import dataclasses
import json
import subprocess
import sys
import types
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.config import Config, from_dict, leaves, set_leaf, settle, to_json
from jaxpeft.errors import InputError
from jaxpeft.validate import validate
from tests import tiny

SHIPPED = sorted(path.relative_to(tiny.ROOT) for path in (tiny.ROOT / "configs").glob("*.py"))
PARSE = """
import json, sys
from jaxpeft import main
from jaxpeft.config import leaves, settle
main.parse(sys.argv)
print(json.dumps(leaves(settle(main.CONFIG.value))))
"""


def hints(block=Config, prefix=""):
    """Dotted name -> type of every leaf."""
    found = {}
    for name, hint in typing.get_type_hints(block).items():
        found |= hints(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else {prefix + name: hint}
    return found


def another(hint, value):
    """A value of the type, other than `value`, and how it is written on a command line."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(one for one in typing.get_args(hint) if one is not type(None))
    if hint is bool:
        return not value, str(not value)
    if hint is int:
        return 77, "77"
    if hint is float:
        return 0.125, "0.125"
    if hint is str:
        return "other", "other"
    kind = typing.get_args(hint)[0]
    return ([3, 5], "(3, 5)") if kind is int else (["one", "two"], "('one', 'two')")


@pytest.mark.parametrize("config_file", SHIPPED, ids=str)
def test_every_leaf_of_a_shipped_config_can_be_overridden(config_file):
    namespace = {}
    exec((tiny.ROOT / config_file).read_text(), namespace)
    config = namespace["get_config"]()
    validate(config)
    chosen = {name: another(hint, leaves(config)[name]) for name, hint in hints().items()}
    assert chosen.keys() == leaves(config).keys()
    overrides = [f"--config.{name}={text}" for name, (_, text) in chosen.items()]
    chosen["data.cache_dir"] = str(tiny.ROOT / "other"), "other"  # a folder whether it exists or not
    assert parsed(config_file, *overrides) == {name: value for name, (value, _) in chosen.items()}


def parsed(config_file, *arguments):
    command = [sys.executable, "-c", PARSE, f"--config={config_file}", *arguments]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_lists_of_numbers_of_a_command_line_are_valid():
    code = PARSE.replace("settle(main.CONFIG.value)", "main._config()")
    command = [sys.executable, "-c", code, f"--config={SHIPPED[0]}", "--config.population.learning_rates=1e-4,3e-4"]
    done = subprocess.run(command, cwd=tiny.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["population.learning_rates"] == ["1e-4", "3e-4"]


def test_none_is_a_word_where_a_field_is_text():
    found = parsed(SHIPPED[0], "--config.data.negative_label=None", "--config.train.clip=None")
    assert (found["data.negative_label"], found["train.clip"]) == ("None", None)
    assert parsed(SHIPPED[0], "--config.train.clip=None", "--config.train.clip=2.0")["train.clip"] == 2.0


@pytest.mark.parametrize(
    ("text", "entries"),
    [("('query','key')", ["query", "key"]), ("query,key", ["query", "key"]), ("query", ["query"]), ("()", [])],
)
def test_lists_of_modules_can_be_written_in_two_ways(text, entries):
    fields = ("peft.target_modules", "peft.ia3.feedforward_modules")
    found = parsed(SHIPPED[0], *(f"--config.{field}={text}" for field in fields))
    assert [found[field] for field in fields] == [entries, entries]


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("('query=4','value=8')", ["query=4", "value=8"]),
        ("query=4,value=8", ["query=4", "value=8"]),
        (r"layer\.\d{1,2}\..*=4, (?=v).*=8", [r"layer\.\d{1,2}\..*=4", "(?=v).*=8"]),
        ("(query|key)=4,value=8", ["(query|key)=4", "value=8"]),
        ("query", ["query"]),
        ("()", []),
    ],
)
def test_patterns_can_be_written_in_two_ways_and_hold_commas(text, entries):
    found = parsed(SHIPPED[0], *(f"--config.peft.lora.{field}={text}" for field in ("rank_pattern", "alpha_pattern")))
    assert found["peft.lora.rank_pattern"] == found["peft.lora.alpha_pattern"] == entries


NAMES = st.from_regex(r"[a-z](\.|\\d\{[1-9],[1-9]\}|\(\?=[a-z]\)|[a-z0-9|]){0,12}", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.one_of(st.integers(1, 999), st.floats(1e-9, 1e9))), min_size=1, max_size=4))
def test_joined_patterns_come_apart_again(pairs):
    entries = tuple(f"{name}={value}" for name, value in pairs)
    config = Config()
    for joined in (",".join(entries), " , ".join(entries)):
        config.peft.lora.rank_pattern = (joined,)
        assert settle(config).peft.lora.rank_pattern == entries
        assert settle(config).peft.lora.rank_pattern == entries


def test_numbers_of_layers_on_a_command_line():
    fields = ("peft.lora.layers_to_transform", "model.keep_layers")
    for text, layers in (("(0, 2)", [0, 2]), ("0,2", [0, 2]), ("3", [3]), ("()", [])):
        found = parsed(SHIPPED[0], *(f"--config.{field}={text}" for field in fields))
        assert [found[field] for field in fields] == [layers, layers]


def test_an_optional_field_can_be_cleared_and_no_other():
    assert parsed(SHIPPED[0], "--config.train.clip=None")["train.clip"] is None
    config = Config()
    set_leaf(config, "train.epochs", None)
    with pytest.raises(InputError, match=r"train\.epochs is None, expected int"):
        validate(config)


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    (tmp_path / "notes.csv").touch()
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.data.path = config.peft.init_from = config.data.split_lists = "notes.csv"
    settled = settle(config)
    assert settled.data.path == settled.peft.init_from == settled.data.split_lists == str(tmp_path / "notes.csv")
    assert config.model.ref.startswith("package:")


@pytest.mark.parametrize(
    ("name", "value"), [("data.path", ["a", "b"]), ("peft.lora", None), ("data", {"format": "csv"})]
)
def test_what_is_no_path_or_no_block_is_left_for_validation_to_refuse(name, value):
    config = Config()
    set_leaf(config, name, value)
    with pytest.raises(InputError, match=rf"{name} "):
        validate(settle(config))


def test_a_cache_that_does_not_exist_yet_is_named_as_it_will_be_once_it_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config()
    config.data.cache_dir = "cache"
    first = settle(config).data.cache_dir
    (tmp_path / "cache").mkdir()
    config.data.cache_dir = "cache"
    assert settle(config).data.cache_dir == first == str(tmp_path / "cache")


def test_fields_have_types_that_a_command_line_can_give():
    plain = {int, float, bool, str}
    for name, hint in hints().items():
        if typing.get_origin(hint) is tuple:
            assert typing.get_args(hint) in ((int, ...), (str, ...)), name
        elif typing.get_origin(hint) is typing.Union:
            assert set(typing.get_args(hint)) - {type(None)} <= plain, name
        else:
            assert hint in plain, name


def test_json_has_an_inverse():
    config = Config(name="x")
    config.peft.target_modules = ("query", "key")
    config.train.steps = 5
    assert from_dict(json.loads(to_json(config))) == config
    assert settle(from_dict(json.loads(to_json(config)))) == config


def test_of_another_version_a_field_too_few_is_at_its_default_and_one_too_many_is_refused():
    config = Config(name="x")
    values = json.loads(to_json(config))
    del values["train"]["warmup_ratio"], values["diagnostics"]
    assert from_dict(values) == config
    values["train"]["warm_up"] = 0.1
    with pytest.raises(InputError, match=r"this one has no field train\.warm_up"):
        from_dict(values)


def changed(**changes):
    config = Config()
    for name, value in changes.items():
        tiny.set_field(config, name.replace("__", "."), value)
    return config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train__epochs": 1.5}, "config.train.epochs is 1.5, expected int"),
        ({"train__epochs": True}, "config.train.epochs is True, expected int"),
        ({"train__steps": "5"}, "config.train.steps is '5', expected int or None"),
        ({"peft__target_modules": ["query"]}, "config.peft.target_modules is ['query'], expected tuple[str, ...]"),
        ({"peft__lora": None}, "config.peft.lora must be a LoraConfig, not NoneType"),
        ({"task": "poetry"}, "config.task is 'poetry', expected one of sequence_classification"),
        (
            {"peft__method": "lorra"},
            "config.peft.method is 'lorra', expected one of lora, ia3, prompt, p_tuning, prefix, bitfit, full, head",
        ),
        ({"train__batch_size": 0}, "config.train.batch_size is 0, expected more than 0"),
        ({"train__learning_rate": float("nan")}, "config.train.learning_rate is nan, expected more than 0"),
        ({"train__learning_rate": float("inf")}, "config.train.learning_rate is inf, expected more than 0"),
        ({"peft__lora__dropout": 1.0}, "config.peft.lora.dropout is 1.0, expected a probability below 1"),
        ({"train__warmup_ratio": -0.1}, "config.train.warmup_ratio is -0.1, expected a share from 0 to 1"),
        ({"seeds__init": 2**32}, "config.seeds.init is 4294967296, expected from 0 to 2^32 - 1"),
        ({"data__format": "csv"}, "config.data.path is not set"),
        ({"data__labels": ("a,b",)}, "config.data.labels is ('a,b',): expected two or more"),
        ({"train__steps": -1}, "config.train.steps is -1, expected 0 (nothing trains"),
        ({"data__labels": ("a,b",), "task": "token_classification"}, "config.data.labels is ('a,b',): expected two"),
        ({"data__target": "weather"}, "config.data.target is 'weather': mimic3 has triage"),
        ({"data__target": "x", "data__format": "csv"}, "config.data.target is 'x': csv has none to choose from"),
        ({"data__unit": "page"}, "config.data.unit is 'page', expected one of sentence, document"),
        ({"data__split_lists": "x", "data__format": "csv"}, "config.data.split_lists is set, and data.format 'csv'"),
        ({"data__long_text": "middle"}, "is 'middle', expected one of head, tail, head_tail, windows"),
        ({"data__window_stride": 0}, "config.data.window_stride is 0, expected more than 0"),
        ({"data__window_stride": 9}, "data.window_stride is set, and config.data.long_text 'head' has no windows"),
        ({"data__window_pooling": "last"}, "config.data.window_pooling is 'last', expected one of mean, max"),
        ({"data__negative_share": 0.0}, "config.data.negative_share is 0.0, expected a share above 0, up to 1"),
        ({"data__negative_share": 0.5}, "is for task relation_extraction, and the task is sequence_classification"),
        ({"train__class_weights": "yes"}, "config.train.class_weights is 'yes', expected one of none, balanced"),
        ({"train__focal_gamma": -1.0}, "config.train.focal_gamma is -1.0, expected 0 (plain cross-entropy) or more"),
        ({"train__select_metric": "ece"}, "is 'ece'; sequence_classification can select by accuracy, f1_macro"),
        ({"train__select_metric": "f1_macro", "task": "token_classification"}, "can select by f1_strict, precision"),
        ({"data__few_shot": 0}, "config.data.few_shot is 0, expected more than 0"),
        ({"data__protocol": "papers"}, "config.data.protocol is 'papers', expected one of fixed, paper"),
        ({"data__max_length": 4}, "config.data.max_length is 4, expected at least 8"),
        ({"peft__target_regex": "(", "peft__method": "ia3"}, "is no regular expression"),
        ({"peft__target_regex": "x", "peft__target_modules": ("y",)}, "are both set: set one"),
        ({"peft__target_modules": ("query",), "peft__method": "bitfit"}, "config.peft.target_modules is set, and peft"),
        ({"peft__target_regex": "x", "peft__method": "prompt"}, "config.peft.target_regex is set, and peft.method"),
        ({"peft__target_regex": "x", "peft__lora__layers_to_transform": (0,)}, "are both set: name targets instead"),
        ({"peft__lora__layers_to_transform": (0, -1)}, "is (0, -1), expected numbers of layers, from 0"),
        ({"peft__lora__bias": "some"}, "config.peft.lora.bias is 'some', expected one of none, all, lora_only"),
        ({"peft__lora__plus_ratio": 0.0}, "config.peft.lora.plus_ratio is 0.0, expected more than 0"),
        ({"peft__lora__rank_pattern": ("query",)}, "config.peft.lora.rank_pattern holds 'query', expected PATTERN="),
        ({"peft__lora__rank_pattern": ("=4",)}, "holds '=4', expected PATTERN=a whole number above 0"),
        ({"peft__lora__rank_pattern": ("q=4.5",)}, "'q=4.5' gives '4.5', expected a whole number above 0"),
        ({"peft__lora__rank_pattern": ("q=0",)}, "'q=0' gives '0', expected a whole number above 0"),
        ({"peft__lora__alpha_pattern": ("q=nan",)}, "'q=nan' gives 'nan', expected a number above 0"),
        ({"peft__lora__alpha_pattern": ("q=",)}, "'q=' gives '', expected a number above 0"),
        ({"peft__lora__alpha_pattern": ("(=4",)}, "config.peft.lora.alpha_pattern: '(' is no regular expression"),
        ({"mesh__model": 0}, "config.mesh.model is 0, expected more than 0"),
        ({"mesh__model": 2, "parallel": "pmap"}, "mesh.model is for parallel=sharded, and config.parallel is 'pmap'"),
        ({"mesh__fully_sharded": True, "parallel": "jit"}, "config.mesh.fully_sharded is for parallel=sharded"),
        ({"mesh__model": 2, "peft__method": "full"}, "splits what is frozen, and config.peft.method 'full' freezes"),
        ({"peft__lora__alpha_pattern": ("q=4", "q=5")}, "config.peft.lora.alpha_pattern has 'q' twice"),
    ],
)
def test_what_is_wrong_is_named_with_what_was_expected(changes, message):
    with pytest.raises(InputError) as raised:
        validate(changed(**changes))
    assert message in str(raised.value)


def test_several_problems_come_in_one_message():
    with pytest.raises(InputError) as raised:
        validate(changed(task="poetry", train__epochs=-1, data__buckets=0, data__format="csv"))
    assert len(raised.value.problems) == 4
    assert str(raised.value).startswith("4 problems:\n  - config.task")


def test_every_pattern_that_is_wrong_is_named():
    with pytest.raises(InputError) as raised:
        validate(
            changed(peft__lora__rank_pattern=("a", "b=x", "(?i)c=4"), peft__lora__alpha_pattern=("(=1", "d=2", "d=3"))
        )
    assert len(raised.value.problems) == 5


def test_an_attribute_that_is_no_field_is_refused():
    config = Config()
    config.train.epoch = 3
    with pytest.raises(InputError, match=r"config\.train\.epoch is no field"):
        validate(config)
