"""Entities beside torch and PEFT: fifty steps of the real training step on the token head, with equal losses."""

import jax
import numpy as np
import optax
import torch

from jaxpeft.config import Config, LoraConfig
from jaxpeft.tasks.registry import task_of
from jaxpeft.training.step import draw_of, train_step

from . import peers

NO_LABEL = -100  # what torch's loss leaves out


def labelled(number):
    """A batch in which some tokens have a label: as ours [1, B, ...], and as torch wants its labels."""
    batch, generator = peers.random_batch(number), np.random.default_rng([number, 1])
    mask = batch["mask"].astype(bool)
    weight = (mask & (generator.random(mask.shape) < 0.6)).astype(np.float32)
    batch["label"] = generator.integers(0, len(peers.LABELS), mask.shape).astype(np.int32)
    ours = batch | {"weight": weight, "example": np.arange(len(mask), dtype=np.uint32)}
    theirs = torch.tensor(np.where(weight > 0, batch["label"], NO_LABEL)).long()
    return {name: leaf[None] for name, leaf in ours.items()}, theirs


def test_losses_of_fifty_steps(tmp_path):
    folder = peers.tiny_model(tmp_path, "bert", peers.HEADS[peers.TOKEN])
    system = peers.our_system(folder, "lora", peers.TOKEN, settings=LoraConfig(dropout=0.0))
    model = peers.with_peft(peers.torch_model(folder, peers.TOKEN), "lora", peers.TOKEN, r=8, lora_alpha=8)
    parameters = peers.trained_parameters(model)
    trainable = peers.read_torch(system, parameters, system.trainable)
    theirs = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.0)
    update = optax.adamw(1e-2, weight_decay=0.0)
    task = task_of(Config(task=peers.TOKEN), ("O", "B-x", "I-x"))
    step = jax.jit(train_step(system.graphdef, update, task.loss_sum))
    state, losses = update.init(trainable), []
    for number in range(50):
        batch, labels = labelled(number % 7)
        trainable, state, ours = step(trainable, state, system.frozen, batch, draw_of(0, number), np.zeros(2))
        theirs.zero_grad()
        inputs = {name: leaf[0] for name, leaf in batch.items()}
        loss = model(**peers.torch_inputs(inputs), labels=labels).loss
        loss.backward()
        theirs.step()
        losses.append((float(ours), loss.item()))
    ours, theirs = np.array(losses).T
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    assert ours[-7:].mean() < ours[:7].mean() - 0.05  # it learns
