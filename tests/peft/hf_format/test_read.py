"""Adapters in PEFT's format without PEFT: what PEFT and its users write, and settings of runs that start there."""

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxpeft import peft
from jaxpeft.errors import InputError
from jaxpeft.training import start
from tests import tiny, torch_writer
from tests.peft.hf_adapters import built, config_of, refused, renamed, written


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


def test_where_the_checkpoints_head_is_taken_its_labels_stand_in_the_datas_order(changed, tmp_path):
    folder = changed(lambda tensors: {name: one for name, one in tensors.items() if "lora" in name})
    base = tiny.write_base(tmp_path / "base", tiny.tensors(labels=3), id2label=dict(enumerate(tiny.LABELS)))
    config, adapter = start.settle(config_of(base, init_from=str(folder)))
    assert start.build(config, tiny.LABELS, adapter)[1].endswith("which has no head; the checkpoint's is taken")
    with pytest.raises(InputError, match=r"has the labels in another order: set data\.labels to calm, storm, wind"):
        start.build(config, tiny.LABELS[::-1], adapter)


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


def test_how_a_prompt_began_is_no_contradiction(tmp_path, base):
    written(tmp_path / "a", base, method="prompt", prompt__tokens=2)
    assert settled(base, tmp_path / "a", method="prompt", prompt__init="noise").prompt.init == "noise"


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
