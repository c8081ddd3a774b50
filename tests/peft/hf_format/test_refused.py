"""Adapters in PEFT's format without PEFT: what is refused, and how it is named."""

import numpy as np
import pytest

from jaxpeft.errors import InputError
from jaxpeft.training import start
from tests import tiny
from tests.peft.hf_adapters import QUERY, built, config_of, refused, renamed


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
        ({"r": 7}, "query is 7, and its lora_A has the shape (8, 24)"),
        ({"r": 10**9}, "query is 1e+09, and its lora_A has the shape (8, 24)"),  # refused before it is allocated
        ({"r": 0}, "query is 0, and its lora_A"),
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
        ({"init_lora_weights": "lora_ga"}, "changes the base's own weights"),
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
    assert "its 3 labels are not the data's 2: only it has storm, wind; only the data has hail" in found
    assert "quennell" not in message(plain, "calm", "mrs. quennell, aged 80, has gout")
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
