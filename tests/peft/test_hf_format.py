"""Adapters in PEFT's format without PEFT: names, shapes, settings, what is refused and how."""

import json

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from jaxpeft import peft
from jaxpeft.config import PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.peft.hf_config import combine, peft_config_from
from jaxpeft.peft.hf_format import FORMATS, import_tensors, slots
from jaxpeft.training import start
from jaxpeft.training.adapter_folder import read_adapter, write_adapter
from jaxpeft.training.system import abstract
from tests import tiny, torch_writer

QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"
KINDS = {
    "lora": {},
    "rslora": {"lora__rslora": True, "lora__rank": 3},
    "dora on layers": {"lora__dora": True, "lora__layers_to_transform": (0, 2), "lora__bias": "lora_only"},
    "patterns": {"lora__rank_pattern": (r".*\.1\..*=3", "value=2"), "lora__alpha_pattern": ("key=2.5", "value=4")},
    "biases": {"lora__bias": "all", "lora__layers_to_transform": (1,)},
    "all layers": {"target_modules": ("dense", "query")},
    "pattern of names": {"target_regex": r".*\.(key|intermediate\.dense)"},
    "ia3": {"method": "ia3"},
    "ia3 on one of two": {
        "method": "ia3",
        "target_modules": ("{layer}.output.dense", "key", "intermediate.dense"),
        "ia3__feedforward_modules": ("intermediate.dense",),
    },
}
KINDS["patterns"]["target_modules"] = ("query", "key", "value")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint without a pooler and without a head."""
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(pooler=False))


@pytest.fixture(scope="module")
def with_pooler(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("pooler"))


def config_of(base, **changes):
    return tiny.experiment(base, base, **{f"peft__{name}": value for name, value in changes.items()})


def built(base, seed=1, labels=tiny.LABELS, **changes):
    config, adapter = start.settle(config_of(base, **changes))
    config.seed = seed
    return config, start.build(config, labels, adapter)[0]


def moved(config, system):
    """Its trained leaves, each trained number moved at random."""
    model = peft.unflatten(system.graphdef, {**system.trainable, **system.frozen})
    leaves, generator = {path: np.array(leaf) for path, leaf in system.trainable.items()}, np.random.default_rng(8)
    for slot in slots(model, system.labels, config.peft.method).values():
        slot.put(leaves, slot.take(leaves) + generator.normal(0, 0.2, slot.shape).astype(np.float32))
    return {path: jnp.asarray(leaf) for path, leaf in leaves.items()}


def written(folder, base, **changes):
    """An adapter of ours in a folder, and its trained leaves."""
    config, system = built(base, **changes)
    trainable = moved(config, system)
    write_adapter(folder, config, system, trainable)
    return trainable


@pytest.fixture(scope="module")
def plain(tmp_path_factory, base):
    """A LoRA adapter of ours. To be read only."""
    folder = tmp_path_factory.mktemp("plain") / "adapter"
    written(folder, base)
    return folder


@pytest.fixture
def changed(tmp_path, plain):
    """Writes a copy of the adapter as PEFT would have: other tensors, other keys."""

    def write(tensors=lambda tensors: tensors, **keys):
        settings = json.loads((plain / "adapter_config.json").read_text()) | keys
        kept = {name: value for name, value in settings.items() if value is not ...}
        (tmp_path / "adapter_config.json").write_text(json.dumps(kept))
        save_file(tensors(load_file(plain / "adapter_model.safetensors")), tmp_path / "adapter_model.safetensors")
        return tmp_path

    return write


def refused(base, folder, **changes):
    with pytest.raises(InputError) as raised:
        built(base, init_from=str(folder), **changes)
    return str(raised.value)


# What is written


def test_every_tensor_of_an_adapter_has_peft_s_name_and_torch_s_shape(tmp_path, base):
    trainable = written(tmp_path / "adapter", base, lora__rank=2)
    found = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    in_a_layer = {
        f"attention.self.{target}.{role}.weight": shape
        for target in ("query", "value")
        for role, shape in (("lora_A", (2, 24)), ("lora_B", (24, 2)))
    }
    expected = {
        f"base_model.model.bert.encoder.layer.{layer}.{name}": shape
        for layer in range(3)
        for name, shape in in_a_layer.items()
    } | {
        "base_model.model.bert.pooler.dense.weight": (24, 24),
        "base_model.model.bert.pooler.dense.bias": (24,),
        "base_model.model.classifier.weight": (3, 24),
        "base_model.model.classifier.bias": (3,),
    }
    assert {name: values.shape for name, values in found.items()} == expected
    assert {values.dtype for values in found.values()} == {np.dtype(np.float32)}
    one = found["base_model.model.bert.encoder.layer.1.attention.self.value.lora_B.weight"]
    np.testing.assert_array_equal(one, trainable["layers.attention.value.lora_b"][1].T)
    np.testing.assert_array_equal(found["base_model.model.bert.pooler.dense.weight"], trainable["pooler.kernel"].T)
    with safe_open(tmp_path / "adapter" / "adapter_model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


def test_vectors_of_ia3_are_columns_and_rows(tmp_path, base):
    written(tmp_path / "adapter", base, method="ia3")
    found = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    layer = "base_model.model.bert.encoder.layer.2"
    assert {name.removeprefix(f"{layer}."): value.shape for name, value in found.items() if layer in name} == {
        "attention.self.key.ia3_l": (24, 1),
        "attention.self.value.ia3_l": (24, 1),
        "attention.output.dense.ia3_l": (1, 24),
        "output.dense.ia3_l": (1, 40),
    }


def test_layers_of_their_own_rank_and_biases(tmp_path, base):
    written(tmp_path / "a", base, **KINDS["dora on layers"], lora__rank_pattern=("layer.2.*=5",))
    found = load_file(tmp_path / "a" / "adapter_model.safetensors")
    layer = "base_model.model.bert.encoder.layer"
    shapes = {name.removeprefix(f"{layer}."): one.shape for name, one in found.items() if "query" in name}
    assert shapes == {
        f"{number}.attention.self.query.{role}": shape
        for number, rank in ((0, 8), (2, 5))
        for role, shape in {
            "lora_A.weight": (rank, 24),
            "lora_B.weight": (24, rank),
            "lora_magnitude_vector": (24,),
            "base_layer.bias": (24,),
        }.items()
    }
    written(tmp_path / "b", base, **KINDS["biases"])
    found = load_file(tmp_path / "b" / "adapter_model.safetensors")
    for name in ("0.attention.self.query.bias", "1.attention.self.query.base_layer.bias", "0.output.LayerNorm.bias"):
        assert f"{layer}.{name}" in found


def test_the_settings_of_an_adapter(tmp_path, base):
    written(tmp_path / "adapter", base, lora__rank=4, lora__rank_pattern=("value=2",), lora__dora=True)
    text = (tmp_path / "adapter" / "adapter_config.json").read_text()
    assert json.loads(text) == {
        "peft_type": "LORA",
        "task_type": "SEQ_CLS",
        "base_model_name_or_path": str(base),
        "revision": None,
        "inference_mode": True,
        "fan_in_fan_out": False,
        "modules_to_save": ["bert.pooler.dense", "classifier"],
        "target_modules": ["query", "value"],
        "r": 4,
        "lora_alpha": 8.0,
        "lora_dropout": 0.1,
        "use_rslora": False,
        "use_dora": True,
        "bias": "none",
        "rank_pattern": {"value": 2},
        "alpha_pattern": {},
        "layers_to_transform": None,
        "init_lora_weights": True,
    }
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n"
    labels = json.loads((tmp_path / "adapter" / "labels.json").read_text())
    assert labels.pop("base_sha256") == built(base)[1].base_sha256
    assert labels == {
        "format": 1,
        "labels": list(tiny.LABELS),
        "task": "sequence_classification",
        "method": "lora",
        "model_type": "bert",
        "keep_layers": [],
        "files": ["adapter_config.json", "adapter_model.safetensors"],
    }


def test_patterns_whose_order_counts_are_written_by_module(tmp_path, base):
    """The file's keys are sorted, by PEFT too."""
    patterns = {"lora__rank_pattern": (".*query=5", r".*\.1\..*=3"), "lora__alpha_pattern": ("value=2.5", ".*=4")}
    trainable = written(tmp_path / "adapter", base, **patterns)
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    module = "bert.encoder.layer.{}.attention.self.{}"
    assert settings["rank_pattern"] == {
        **{module.format(layer, "query"): 5 for layer in range(3)},
        module.format(1, "value"): 3,
    }
    assert settings["alpha_pattern"][module.format(2, "value")] == 2.5
    again = built(base, init_from=str(tmp_path / "adapter"))[1]
    for path, leaf in trainable.items():
        np.testing.assert_array_equal(again.trainable[path], leaf, err_msg=path)


def test_patterns_that_peft_has_sorted_are_read_by_the_tensors(tmp_path, base):
    written(tmp_path / "adapter", base, lora__rank_pattern=(".*query=5", r".*\.1\..*=3"))
    file = tmp_path / "adapter" / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"rank_pattern": {r".*\.1\..*": 3, ".*query": 5}}))
    config, system = built(base, init_from=str(tmp_path / "adapter"))
    assert "bert.encoder.layer.1.attention.self.query=5" in config.peft.lora.rank_pattern
    model = peft.unflatten(system.graphdef, {**system.trainable, **system.frozen})
    assert model.layers.attention.query.ranks == (5, 5, 5)
    assert model.layers.attention.value.ranks == (8, 3, 8)


def test_a_package_is_no_name_for_peft(tmp_path, base):
    config, system = built(base)
    config.model.ref = "package:somewhere/model"
    write_adapter(tmp_path / "adapter", config, system, system.trainable)
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"] is None


# Ours, back again


@pytest.mark.parametrize("kind", KINDS)
def test_written_and_read_again_is_the_same_to_the_bit(tmp_path, base, kind):
    trainable = written(tmp_path / "adapter", base, **KINDS[kind])
    config, again = built(base, seed=77, init_from=str(tmp_path / "adapter"))
    assert again.trainable.keys() == trainable.keys()
    for path, leaf in trainable.items():
        np.testing.assert_array_equal(again.trainable[path], leaf, err_msg=path)
    first, _ = built(base, **KINDS[kind])
    same = ("method", "lora", "ia3")
    if kind != "ia3":  # whose default is spelled out
        assert [getattr(config.peft, name) for name in same] == [getattr(first.peft, name) for name in same]
    write_adapter(tmp_path / "second", config, again, again.trainable)
    texts = [(tmp_path / name / "adapter_config.json").read_text() for name in ("adapter", "second")]
    assert texts[0] == texts[1]


# What PEFT and its users write


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): values for name, values in tensors.items()}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".lora_A.weight", ".lora_A.default.weight"),
        ("base_model.model.classifier.", "base_model.model.classifier.modules_to_save.default."),
        ("base_model.model.classifier.", "base_model.classifier."),
        ("base_model.model.", ""),
    ],
)
def test_other_names_that_peft_accepts(changed, base, plain, old, new):
    ours, theirs = (built(base, init_from=str(folder))[1].trainable for folder in (plain, changed(renamed(old, new))))
    for path, leaf in ours.items():
        np.testing.assert_array_equal(theirs[path], leaf, err_msg=path)


def test_names_of_dora_with_and_without_weight(tmp_path, base):
    trainable = written(tmp_path / "adapter", base, lora__dora=True)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file(renamed("_magnitude_vector", "_magnitude_vector.weight")(load_file(file)), file)
    again = built(base, init_from=str(tmp_path / "adapter"))[1].trainable
    name = "layers.attention.query.lora_magnitude"
    np.testing.assert_array_equal(again[name], trainable[name])


def test_what_wrappers_keep_of_the_original_is_passed_over(changed, base, plain):
    def with_originals(tensors):
        head = "base_model.model.classifier"
        return tensors | {
            f"{head}.original_module.bias": np.zeros(3, np.float32),
            f"{head}.modules_to_save.bias": np.zeros(3, np.float32),  # a second time, under a longer name
        }

    ours, theirs = (built(base, init_from=str(folder))[1].trainable for folder in (plain, changed(with_originals)))
    np.testing.assert_array_equal(theirs["classifier.bias"], ours["classifier.bias"])


@pytest.mark.parametrize("form", torch_writer.FORMS)
def test_an_old_file_of_torch_whose_config_says_nothing(tmp_path, base, plain, form):
    tensors = load_file(plain / "adapter_model.safetensors")
    (tmp_path / "adapter_model.bin").write_bytes(torch_writer.dense(form, tensors))
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_dropout": 0.1, "a_key_to_come": [1]}')
    again = built(base, init_from=str(tmp_path))[1].trainable
    for path, leaf in built(base, init_from=str(plain))[1].trainable.items():
        np.testing.assert_array_equal(again[path], leaf, err_msg=path)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floats_become_float32(changed, base, dtype):
    folder = changed(lambda tensors: {name: values.astype(dtype) for name, values in tensors.items()})
    assert {leaf.dtype for leaf in built(base, init_from=str(folder))[1].trainable.values()} == {jnp.dtype("float32")}


def test_keys_that_say_what_the_tensors_say_anyway_have_no_effect(changed, base):
    folder = changed(target_modules="all-linear", exclude_modules=["key"], modules_to_save=None, fan_in_fan_out=True)
    config, _ = built(base, init_from=str(folder))
    assert config.peft.target_modules == ("query", "value")


def test_a_module_that_peft_saved_whole_trains_here_too(with_pooler, plain, changed):
    folder = changed()
    _, system = built(with_pooler, init_from=str(folder))
    assert system.labels["pooler.kernel"] == peft.HEAD
    expected = load_file(plain / "adapter_model.safetensors")["base_model.model.bert.pooler.dense.weight"]
    np.testing.assert_array_equal(system.trainable["pooler.kernel"], expected.T)


def test_without_a_head_in_the_file_it_is_newly_initialised_and_said_so(changed, with_pooler):
    folder = changed(lambda tensors: {name: one for name, one in tensors.items() if "lora" in name})
    config, adapter = start.settle(config_of(with_pooler, init_from=str(folder)))
    system, origin = start.build(config, tiny.LABELS, adapter)
    assert origin.endswith("which has no head; newly initialised: classifier.kernel, classifier.bias")
    _, fresh = built(with_pooler, seed=config.seed)
    np.testing.assert_array_equal(system.trainable["classifier.kernel"], fresh.trainable["classifier.kernel"])


# Settings of a run that starts from an adapter


def settled(base, folder, **changes):
    return start.settle(config_of(base, init_from=str(folder), **changes))[0].peft


def test_settings_left_at_their_defaults_are_the_adapter_s(tmp_path, base):
    written(tmp_path / "a", base, lora__rank=3, lora__alpha=5.0, lora__rslora=True, lora__dropout=0.3)
    found = settled(base, tmp_path / "a", lora__plus_ratio=4.0)
    assert (found.lora.rank, found.lora.alpha, found.lora.rslora, found.lora.dropout) == (3, 5.0, True, 0.3)
    assert found.lora.plus_ratio == 4.0
    assert settled(base, tmp_path / "a", lora__dropout=0.0).lora.dropout == 0.0
    written(tmp_path / "b", base, method="ia3")
    assert settled(base, tmp_path / "b").method == "ia3"


def test_settings_that_contradict_are_listed_on_both_sides(tmp_path, base):
    written(tmp_path / "a", base, lora__rank=3)
    message = refused(base, tmp_path / "a", lora__rank=4, lora__dora=True)
    assert "peft.lora.rank is 4 here, 3 in the adapter" in message
    assert "peft.lora.dora is True here, False in the adapter" in message
    assert "peft.method is 'ia3' here, 'lora' in the adapter" in refused(base, tmp_path / "a", method="ia3")
    message = refused(base, tmp_path / "a", target_modules=("query",))
    assert "takes bert.encoder.layer.{layer}.attention.self.query; the adapter stands in" in message
    written(tmp_path / "b", base, method="ia3")
    message = refused(base, tmp_path / "b", ia3__feedforward_modules=("key",))
    assert "peft.ia3.feedforward_modules takes bert.encoder.layer.{layer}.attention.self.key" in message


def test_targets_are_compared_by_the_layers_that_they_mean(plain, base):
    assert settled(base, plain, target_modules=("self.query", "self.value")).target_modules == (
        "self.query",
        "self.value",
    )
    regex = r".*\.(query|value)"
    found = settled(base, plain, target_regex=regex)
    assert (found.target_modules, found.target_regex) == ((), regex)


def test_a_block_of_another_method_is_no_contradiction(tmp_path, base):
    written(tmp_path / "a", base, method="ia3")
    assert settled(base, tmp_path / "a", lora__rank=3).method == "ia3"


# What is refused


def without(part):
    return lambda tensors: {name: values for name, values in tensors.items() if part not in name}


def with_one(name, values):
    return lambda tensors: tensors | {name: np.asarray(values)}


@pytest.mark.parametrize(
    ("tensors", "fragments"),
    [
        (without("layer.1.attention.self.query.lora_B"), ["layer.1.attention.self.query.lora_B.weight is missing"]),
        (without("classifier.bias"), ["classifier.bias is missing (expected shape (3,))"]),
        (without("pooler"), ["bert.pooler.dense.weight is missing", "bert.pooler.dense.bias is missing"]),
        (with_one(f"{QUERY}.lora_C.weight", np.ones((2, 2), np.float32)), ["lora_C.weight' has no place"]),
        (
            with_one(f"{QUERY}.lora_A.weight", np.ones((8, 25), np.float32)),
            ["query.lora_A.weight has shape (8, 25), expected (8, 24)"],
        ),
        (with_one(f"{QUERY}.lora_A.weight", np.ones((8, 24), np.int32)), ["holds int32, expected floats"]),
        (with_one(f"{QUERY}.lora_A.weight", np.full((8, 24), np.nan, np.float32)), ["no finite numbers"]),
        (
            with_one("base_model.model.bert.embeddings.word_embeddings.lora_embedding_A", np.ones((8, 61), np.float32)),
            ["lora_embedding_A' has no place"],
        ),
        (renamed(".layer.0.", ".layer.7."), ["layer.7.attention.self.query", "no linear layer", "has 3 layers"]),
        (renamed(".bert.", ".distilbert."), ["its tensors are a distilbert's, the base is a bert"]),
        (without("lora"), ["holds no tensors of LORA"]),
        (without(""), ["holds no tensors of LORA"]),
        (without("layer.1.attention.self.query"), ["stand in different layers", "query in [0, 2]"]),
    ],
)
def test_tensors_that_do_not_fit_are_named(changed, base, tensors, fragments):
    message = refused(base, changed(tensors))
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(
    ("keys", "fragment"),
    [
        ({"peft_type": "VERA"}, "peft_type is 'VERA'; supported are IA3, LORA"),
        ({"peft_type": ...}, "peft_type is 'None'"),
        ({"peft_type": 3}, "peft_type is '3', expected a string"),
        ({"task_type": "TOKEN_CLS"}, "task_type is 'TOKEN_CLS', the task here is SEQ_CLS"),
        ({"r": "8"}, "r is '8', expected a whole number"),
        ({"r": 7}, "query.lora_A.weight has shape (8, 24), expected (7, 24)"),
        ({"r": 0}, "peft.lora.rank is 0"),
        ({"lora_alpha": [8]}, "lora_alpha is '[8]', expected a number"),
        ({"lora_dropout": 2}, "peft.lora.dropout is 2"),
        ({"use_dora": 1}, "use_dora is '1', expected true or false"),
        ({"use_dora": True}, "query.lora_magnitude_vector is missing"),
        ({"bias": "some"}, "peft.lora.bias is 'some'"),
        ({"bias": "all"}, "bert.embeddings.LayerNorm.bias is missing"),
        ({"rank_pattern": [1]}, "rank_pattern is a list"),
        ({"rank_pattern": {"query": "many"}}, "query is 'many', expected a number"),
        ({"rank_pattern": {"(": 3}}, "rank_pattern holds what is no regular expression"),
        ({"alpha_pattern": {"query": -1}}, "alpha_pattern"),
        ({"lora_bias": True}, "lora_bias is not supported"),
        ({"target_parameters": ["weight"]}, "target_parameters is not supported"),
        ({"init_lora_weights": "pissa_niter_4"}, "changes the base's own weights"),
    ],
)
def test_settings_that_do_not_fit_are_named(changed, base, keys, fragment):
    assert fragment in refused(base, changed(**keys))


def test_a_pattern_that_matches_nothing_has_no_effect(changed, base):
    config, _ = built(base, init_from=str(changed(rank_pattern={"key": 3}, alpha_pattern={"k.*": 2})))
    assert config.peft.lora.rank_pattern == config.peft.lora.alpha_pattern == ()


def test_other_labels_are_named(plain, changed, base):
    def message(folder, *labels):
        with pytest.raises(InputError) as raised:
            built(base, labels=labels, init_from=str(folder))
        return str(raised.value)

    assert "set data.labels=('calm', 'storm', 'wind')" in message(plain, "wind", "calm", "storm")
    found = message(plain, "calm", "hail")
    assert "its 3 labels are not the data's 2: only it has 'storm', 'wind', only the data has 'hail'" in found
    assert "classifier.bias: the adapter's head has 3 labels, the data has 2" in message(changed(), "calm", "storm")


def test_another_base_or_task_is_named(plain, base, tmp_path):
    other = tiny.write_base(tmp_path / "other", tiny.tensors(seed=1, pooler=False))
    assert "it was trained on another base than model.ref" in refused(other, plain)
    config, adapter = start.settle(config_of(base, init_from=str(plain)))
    labels = {**adapter.labels, "task": "token_classification"}
    with pytest.raises(InputError, match="it is for token_classification, the task here is sequence_classification"):
        start.build(config, tiny.LABELS, type(adapter)(adapter.folder, adapter.config, adapter.tensors, labels))


@pytest.mark.parametrize(
    ("name", "content", "fragment"),
    [
        ("adapter_config.json", None, "adapter_config.json is missing"),
        ("adapter_config.json", "{", "is unreadable"),
        ("adapter_config.json", "[]", "holds a list"),
        ("adapter_config.json", "[" * 100_000, "is unreadable"),
        ("adapter_model.safetensors", None, "holds no adapter_model.safetensors and no adapter_model.bin"),
        ("adapter_model.safetensors", "junk", "no readable safetensors file"),
        ("labels.json", "{}", "is of format 'None', expected 1"),
        ("labels.json", '{"format": 1, "labels": [3]}', "expected a list of names under 'labels'"),
        ("labels.json", '{"format": 1, "labels": ["a"], "task": 1}', "'task', 'model_type', 'base_sha256'"),
        (
            "labels.json",
            '{"format": 1, "labels": [], "task": "", "model_type": "", "base_sha256": "", "keep_layers": ["a"]}',
            "expected a list of layers' numbers under 'keep_layers'",
        ),
    ],
)
def test_a_file_that_is_broken_is_named(changed, base, name, content, fragment):
    folder = changed()
    (folder / name).unlink(missing_ok=True)
    if content is not None:
        (folder / name).write_text(content)
    assert fragment in refused(base, folder)


def test_a_folder_that_is_none_is_named(base, tmp_path):
    assert "nowhere: no such folder" in refused(base, tmp_path / "nowhere")


# Fuzz


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def target(base):
    """The base's model and a system on it, for many readings."""
    model = abstract(config_of(base), tiny.SIZES, 3)
    _, system = built(base)
    return model, system


def read(folder, target):
    """Reads an adapter as a run does, without building the base again: InputError is fine, all else is not."""
    model, system = target
    try:
        adapter = read_adapter(folder)
        found = combine(model, PeftConfig(), peft_config_from(model, adapter.config, adapter.shapes))
        assert found.method in peft.METHODS
        whole = peft.unflatten(system.graphdef, {**system.trainable, **system.frozen})
        filled, _ = import_tensors(whole, system.labels, "lora", adapter.tensors)
    except InputError:
        return
    assert all(np.isfinite(leaf).all() for leaf in filled.values())


ROLES = sorted({role for form in FORMATS.values() for role in form.roles})
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "labels.json"])
def test_flipped_bytes_are_an_input_error_or_nothing(tmp_path, plain, target, name, flips):
    for path in plain.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((plain / name).read_bytes())
    for place, flip in flips:  # half of the places in the header of the tensors
        content[int(place * min(len(content), 4000 if place < 0.5 else len(content)))] ^= flip
    (tmp_path / name).write_bytes(bytes(content))
    read(tmp_path, target)


@FUZZ
@given(key=st.sampled_from(sorted([*json.loads('{"peft_type": 1, "r": 1}'), "x"])), value=JSON, data=st.data())
def test_any_values_in_the_settings_are_an_input_error_or_nothing(tmp_path, plain, target, key, value, data):
    config = json.loads((plain / "adapter_config.json").read_text())
    config |= {name: data.draw(JSON) for name in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3))}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    (tmp_path / "adapter_model.safetensors").write_bytes((plain / "adapter_model.safetensors").read_bytes())
    read(tmp_path, target)


@FUZZ
@given(data=st.data())
def test_any_names_and_shapes_of_tensors_are_an_input_error_or_nothing(tmp_path, plain, target, data):
    tensors = load_file(plain / "adapter_model.safetensors")
    parts = st.sampled_from([*sorted(tensors), "base_model.model.", ".lora_A.weight", *ROLES, ".", "é"])
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=3, unique=True)):
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        values = tensors.pop(name)
        new = "".join(data.draw(st.lists(parts, min_size=1, max_size=2)))
        tensors[new] = data.draw(st.sampled_from([values, np.ones(shape, np.float32)]))
    config = json.loads((plain / "adapter_config.json").read_text())
    config["peft_type"] = data.draw(st.sampled_from([form.peft_type for form in FORMATS.values()]))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(one) for name, one in tensors.items()}, tmp_path / "adapter_model.safetensors"
    )
    read(tmp_path, target)
