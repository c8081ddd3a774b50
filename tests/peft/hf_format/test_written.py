"""Adapters in PEFT's format without PEFT: what is written, and that it is read again to the bit."""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxpeft import peft
from jaxpeft.training import safetensors_writer
from jaxpeft.training.adapter_folder import write_adapter
from tests import tiny
from tests.peft.hf_adapters import built, written

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
        "layers_pattern": None,
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


def test_an_adapter_is_one_file_however_large(tmp_path, base, monkeypatch):
    monkeypatch.setattr(safetensors_writer.write_weights, "__kwdefaults__", {"shard_bytes": 100})
    written(tmp_path / "a", base)
    assert [path.name for path in (tmp_path / "a").glob("adapter_model*")] == ["adapter_model.safetensors"]


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
