"""Pruned encoders against transformers' model with the same layers cut out of it."""

import json

import numpy as np
import peft as hf_peft
import pytest
import torch

from jaxpeft.training.adapter_folder import write_adapter
from jaxpeft.training.model_folder import write_model
from tests import tiny

from . import peers

KEPT = (0, 2)
STACKS = {
    "bert": "bert.encoder.layer",
    "roberta": "roberta.encoder.layer",
    "distilbert": "distilbert.transformer.layer",
    "mobilebert": "mobilebert.encoder.layer",
    "llama": "model.layers",
}


def cut(model, model_type, kept=KEPT):
    """Leaves these layers alone in a model of transformers, as one does it there."""
    parent, _, name = STACKS[model_type].rpartition(".")
    layers = model.get_submodule(STACKS[model_type])
    setattr(model.get_submodule(parent), name, torch.nn.ModuleList([layers[number] for number in kept]))
    model.config.num_hidden_layers, model.config.use_cache = len(kept), False  # a cache counts the old layers
    return model


def logits_here(system, batch):
    inputs = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
    return peers.whole(system)(**inputs)


def logits_there(model, batch):
    with torch.no_grad():
        return model(**peers.torch_inputs(batch)).logits.numpy()


@pytest.mark.parametrize("model_type", peers.ARCHITECTURES)
def test_logits_of_the_layers_that_are_left(folder_of, tmp_path, model_type):
    folder = folder_of(model_type, peers.SEQUENCE)
    batch = peers.batch_for(folder)
    system = peers.our_system(folder, "full", keep_layers=KEPT)
    ours, theirs = logits_here(system, batch), logits_there(cut(peers.torch_model(folder), model_type), batch)
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    assert abs(theirs - logits_there(peers.torch_model(folder), batch)).max() > 1e-3
    write_model(tmp_path / "model", config_of(folder, "full"), system, system.trainable)
    merged = peers.torch_model(tmp_path / "model")
    assert merged.config.num_hidden_layers == len(merged.get_submodule(STACKS[model_type])) == len(KEPT)
    np.testing.assert_allclose(logits_there(merged, batch), theirs, atol=1e-5, rtol=0)


def config_of(folder, method):
    return tiny.experiment(folder, folder, model__keep_layers=KEPT, peft__method=method)


@pytest.mark.parametrize("model_type", ["bert", "llama"])
def test_an_adapter_loads_on_the_cut_model(folder_of, tmp_path, model_type):
    folder = folder_of(model_type, peers.SEQUENCE)
    batch = peers.batch_for(folder)
    system = peers.our_system(folder, "lora", keep_layers=KEPT)
    generator = np.random.default_rng(0)
    for path, leaf in system.trainable.items():
        system.trainable[path] = leaf + generator.normal(0, 0.1, leaf.shape).astype(np.float32)
    write_adapter(tmp_path / "adapter", config_of(folder, "lora"), system, system.trainable)
    assert json.loads((tmp_path / "adapter" / "labels.json").read_text())["keep_layers"] == list(KEPT)
    theirs = hf_peft.PeftModel.from_pretrained(cut(peers.torch_model(folder), model_type), tmp_path / "adapter")
    np.testing.assert_allclose(logits_here(system, batch), logits_there(theirs.eval(), batch), atol=1e-4, rtol=0)
