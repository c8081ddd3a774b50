"""Every architecture with either head against transformers: logits, layers, checkpoint names."""

import json

import numpy as np
import pytest
from flax import nnx

from jaxpeft.models import MODELS
from jaxpeft.models.pretrained import Checkpoint, match

from . import peers

TASKS = (peers.SEQUENCE, peers.TOKEN)
CELLS = [(model_type, task) for model_type in peers.ARCHITECTURES for task in TASKS]


def same_as_transformers(folder, task, batch):
    """Logits within 1e-4, what every layer left within 1e-5, on real tokens."""
    inputs = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
    model = peers.whole(peers.our_system(folder, "full", task))
    expected = peers.torch_model(folder, task)(**peers.torch_inputs(batch), output_hidden_states=True)
    real = batch["mask"].astype(bool)
    chosen = slice(None) if task == peers.SEQUENCE else real
    theirs = expected.logits.detach().numpy()
    np.testing.assert_allclose(model(**inputs)[chosen], theirs[chosen], atol=1e-4, rtol=0)
    last, layers = model.encode(**inputs, keep_all=True)
    hidden = [one.detach().numpy()[real] for one in expected.hidden_states[1:]]
    assert len(layers) == len(hidden)
    for ours, theirs in zip([*layers[:-1], last], hidden, strict=True):  # Llama's last is normed, as encode's
        np.testing.assert_allclose(ours[real], theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_logits_and_every_layer(folder_of, model_type, task):
    folder = folder_of(model_type, task)
    same_as_transformers(folder, task, peers.batch_for(folder))


@pytest.mark.parametrize("task", TASKS)
def test_llama_with_padding_on_the_left(folder_of, task):
    folder = folder_of("llama", task)
    same_as_transformers(folder, task, peers.batch_for(folder, left=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 100.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 20,
            }
        },
        {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4, "head_dim": 6},
    ],
    ids=["theta", "linear", "llama3", "biases"],
)
def test_llama_variants(folder_of, changes):
    folder = folder_of("llama", peers.SEQUENCE, **changes)
    same_as_transformers(folder, peers.SEQUENCE, peers.batch_for(folder))


def test_llama_skips_a_final_end_of_text_that_is_the_padding_token(folder_of):
    folder = folder_of("llama", peers.SEQUENCE)
    batch = peers.batch_for(folder)
    ends = np.arange(13) == batch["mask"].sum(1, keepdims=True) - 1
    same_as_transformers(folder, peers.SEQUENCE, {**batch, "ids": np.where(ends, 0, batch["ids"])})


@pytest.mark.parametrize("changes", [{"classifier_activation": True}, {"num_feedforward_networks": 1}], ids=str)
def test_mobilebert_variants(folder_of, changes):
    folder = folder_of("mobilebert", peers.SEQUENCE, **changes)
    same_as_transformers(folder, peers.SEQUENCE, peers.batch_for(folder))


def matched(folder, model_type, task):
    config = MODELS[model_type].config.from_hf(json.loads((folder / "config.json").read_text()), num_labels=3)
    model = nnx.eval_shape(lambda: MODELS[model_type].heads[task](config))
    return model, match(model, Checkpoint(folder, model).shapes())


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_a_saved_classifier_fits_without_a_gap(folder_of, model_type, task):
    _, found = matched(folder_of(model_type, task), model_type, task)
    assert found == type(found)(new=(), ignored=())


@pytest.mark.parametrize(("model_type", "task"), CELLS)
def test_of_a_saved_bare_encoder_only_the_head_is_missing(tmp_path, model_type, task):
    folder = peers.tiny_model(tmp_path, model_type, "AutoModel")
    model, found = matched(folder, model_type, task)
    assert {path.split(".")[0] for path in found.new} == set(model.head)
    poolers = {f"{model_type}.pooler.dense.weight", f"{model_type}.pooler.dense.bias"}
    has_unused_pooler = model_type == "roberta" or (model_type, task) == ("bert", peers.TOKEN)
    assert set(found.ignored) == (poolers if has_unused_pooler else set())
