"""LoRA's relatives and BitFit against PEFT: loss, and the gradient of every trained leaf."""

import numpy as np
import optax
import pytest
import torch
from peft.optimizers import create_loraplus_optimizer

from jaxpeft.config import LoraConfig, TrainConfig
from jaxpeft.peft import ADAPTER
from jaxpeft.training.optimizer import optimizer

from . import peers

BIASES = {"bert": {}, "llama": {"attention_bias": True, "mlp_bias": True}}
RANKS = (r".*\.0\..*(query|q_proj)=5", "query|q_proj=2", r".*\.2\..*=7")  # layer 2: the second, then the third
ALPHAS = (r".*\.1\..*=3.5",)
CASES = {
    "rslora": LoraConfig(rank=4, alpha=6.0, rslora=True),
    "patterns": LoraConfig(rank=3, alpha=6.0, rank_pattern=RANKS, alpha_pattern=ALPHAS),
    "rslora_patterns": LoraConfig(rank=3, rslora=True, rank_pattern=RANKS, alpha_pattern=ALPHAS),
    "layers": LoraConfig(layers_to_transform=(0, 2)),
    "bias_all": LoraConfig(bias="all"),
    "bias_lora_only": LoraConfig(bias="lora_only"),
    "layers_bias_lora_only": LoraConfig(layers_to_transform=(1,), bias="lora_only"),
    "dora": LoraConfig(dora=True),
    "dora_patterns": LoraConfig(dora=True, rank_pattern=RANKS, alpha_pattern=ALPHAS),
    "dora_layers_bias_lora_only": LoraConfig(dora=True, layers_to_transform=(0, 2), bias="lora_only"),
}


@pytest.mark.parametrize("model_type", BIASES)
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_trained_leaf(folder_of, model_type, name):
    folder = folder_of(model_type, peers.SEQUENCE, **BIASES[model_type])
    system = peers.our_system(folder, "lora", lora=CASES[name])
    model = peers.with_peft(peers.torch_model(folder), "lora", **peers.hf_lora(CASES[name]))
    peers.random_adapters(model)
    peers.assert_same_gradients(system, model, peers.batch_for(folder))


@pytest.mark.parametrize("model_type", BIASES)
def test_gradients_of_every_bias(folder_of, model_type):
    folder = folder_of(model_type, peers.SEQUENCE, **BIASES[model_type])
    model = peers.with_peft(peers.torch_model(folder), "bitfit")
    peers.assert_same_gradients(peers.our_system(folder, "bitfit"), model, peers.batch_for(folder))


def test_steps_of_lora_plus(folder_of):
    """On the same gradients, without the head: PEFT gives the ratio to its biases too, and the paper to B alone."""
    folder = folder_of("bert", peers.SEQUENCE)
    system, batch = peers.our_system(folder, "lora"), peers.batch_for(folder)
    model = peers.with_peft(peers.torch_model(folder), "lora", r=8)
    peers.random_adapters(model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    parameters = peers.trained_parameters(model)
    adapters = {path: leaf for path, leaf in system.trainable.items() if system.labels[path] == ADAPTER}
    trainable = peers.read_torch(system, parameters, adapters)
    rates = TrainConfig(learning_rate=1e-3, weight_decay=0.0, clip=None, schedule="constant", warmup_ratio=0.0)
    rule = optimizer(rates, dict.fromkeys(trainable, ADAPTER), 3, plus_ratio=16.0)
    state = rule.init(trainable)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)
    for _ in range(3):
        theirs.zero_grad()
        peers.torch_loss(model, batch).backward()
        gradients = peers.read_torch(system, {name: one.grad for name, one in parameters.items()}, adapters)
        theirs.step()
        updates, state = rule.update(gradients, state, trainable)
        trainable = optax.apply_updates(trainable, updates)
    for path, leaf in peers.read_torch(system, parameters, adapters).items():
        np.testing.assert_allclose(trainable[path], leaf, atol=1e-6, rtol=0, err_msg=path)
