"""LoRA beside PEFT's: what trains under that name, and LoRA+."""

import numpy as np
import optax
import torch
from peft.optimizers import create_loraplus_optimizer

from jaxpeft.config import TrainConfig
from jaxpeft.peft import ADAPTER, HEAD
from jaxpeft.training.optimizer import optimizer

from . import peers


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
    config = TrainConfig(weight_decay=0.0, clip=None)
    rule = optimizer(config, dict.fromkeys(trainable, ADAPTER), plus_ratio=16.0)
    state = rule.init(trainable)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=1e-3, loraplus_lr_ratio=16.0)
    for _ in range(3):
        theirs.zero_grad()
        peers.torch_loss(model, batch).backward()
        gradients = peers.read_torch(system, {name: one.grad for name, one in parameters.items()}, adapters)
        theirs.step()
        updates, state = rule.update(gradients, state, trainable, rates=np.full(2, 1e-3))
        trainable = optax.apply_updates(trainable, updates)
    for path, leaf in peers.read_torch(system, parameters, adapters).items():
        np.testing.assert_allclose(trainable[path], leaf, atol=1e-6, rtol=0, err_msg=path)


def test_the_layer_before_distilberts_classifier_trains_on_both_sides_and_counts_as_head_on_ours(folder_of):
    """PEFT adds it by the end of its name, and its count of what LoRA trains has it in: families then differ by it."""
    folder = folder_of("distilbert", peers.SEQUENCE)
    system = peers.our_system(folder, "lora")
    model = peers.with_peft(peers.torch_model(folder), "lora", r=8, target_modules=["q_lin", "k_lin", "v_lin"])
    counts = system.count()
    before = 24 * 24 + 24
    assert counts["head_params"] == before + 24 * 3 + 3
    assert model.get_nb_trainable_parameters()[0] == counts["trainable_params"]
    assert {system.labels[f"pre_classifier.{leaf}"] for leaf in ("kernel", "bias")} == {HEAD}
    named = [name for name, one in model.named_parameters() if one.requires_grad and "pre_classifier" in name]
    assert sum(model.get_parameter(name).numel() for name in named) == before
