"""Learning rates, decay, clipping and groups of the update rule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxpeft.config import TrainConfig
from jaxpeft.training.optimizer import DECAYED_ROLES, learning_rates, optimizer, schedule

PEAK, STEPS, WARMUP = 2e-3, 50, 8


def linear(step):
    return max(0.0, (STEPS - step) / (STEPS - WARMUP))


def cosine(step):
    return max(0.0, 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))))


@pytest.mark.parametrize(("name", "after"), [("linear", linear), ("cosine", cosine), ("constant", lambda step: 1.0)])
def test_schedules_are_those_of_transformers(name, after):
    config = TrainConfig(schedule=name, warmup_ratio=WARMUP / STEPS)
    ours = [float(schedule(config, PEAK, STEPS)(step)) for step in range(STEPS + 1)]
    theirs = [PEAK * (step / WARMUP if step < WARMUP else after(step)) for step in range(STEPS + 1)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-9)


def test_without_warm_up_the_first_rate_is_the_peak():
    assert float(schedule(TrainConfig(warmup_ratio=0.0), PEAK, STEPS)(0)) == pytest.approx(PEAK)


LEAVES = {
    "layers.query.lora_a": "adapter",
    "layers.query.lora_b": "adapter",
    "layers.query.lora_magnitude": "adapter",
    "layers.key.ia3": "adapter",
    "layers.norm.scale": "adapter",
    "layers.output.bias": "adapter",
    "embeddings.word.embedding": "adapter",
    "classifier.kernel": "head",
    "classifier.bias": "head",
}
CONSTANT = {"schedule": "constant", "warmup_ratio": 0.0}


def one_update(config, gradients, plus_ratio=1.0):
    trainable = {path: jnp.full((3, 2), 5.0) for path in LEAVES}
    rule, rates = optimizer(config, LEAVES, plus_ratio=plus_ratio), learning_rates(config, STEPS)
    updates, state = rule.update(gradients, rule.init(trainable), trainable, rates=rates[0])
    return updates, state


def test_only_matrices_decay_by_their_role_not_their_shape():
    config = TrainConfig(learning_rate=0.1, weight_decay=0.01, clip=None, **CONSTANT)
    updates, _ = one_update(config, {path: jnp.zeros((3, 2)) for path in LEAVES})
    decayed = {path for path, update in updates.items() if float(abs(update).max()) > 0}
    assert decayed == {
        "layers.query.lora_a",
        "layers.query.lora_b",
        "embeddings.word.embedding",
        "classifier.kernel",
    }
    for path in decayed:
        np.testing.assert_allclose(updates[path], -0.1 * 0.01 * 5.0, rtol=1e-5)


def test_the_head_has_its_own_rate():
    config = TrainConfig(learning_rate=0.1, head_learning_rate=0.5, weight_decay=0.0, clip=None, **CONSTANT)
    updates, _ = one_update(config, {path: jnp.ones((3, 2)) for path in LEAVES})
    for path, label in LEAVES.items():  # Adam's first update has the size of the rate
        np.testing.assert_allclose(updates[path], -0.5 if label == "head" else -0.1, rtol=1e-4)


def test_without_its_own_rate_the_head_has_the_common_one():
    updates, _ = one_update(TrainConfig(learning_rate=0.1, **CONSTANT), {path: jnp.ones((3, 2)) for path in LEAVES})
    np.testing.assert_allclose(updates["classifier.bias"], -0.1, rtol=1e-4)


def test_lora_plus_gives_every_b_its_own_rate_and_decay():
    config = TrainConfig(learning_rate=0.1, head_learning_rate=0.5, weight_decay=0.01, clip=None, **CONSTANT)
    gradients = {path: jnp.ones((3, 2)) for path in LEAVES}
    found = [one_update(config, gradients, ratio)[0] for ratio in (1.0, 16.0)]
    for path in LEAVES:
        ratio = 16.0 if path == "layers.query.lora_b" else 1.0
        np.testing.assert_allclose(found[1][path], ratio * found[0][path], rtol=1e-6, err_msg=path)


def test_clipping_takes_the_norm_of_both_groups_before_anything_else():
    gradients = {path: jnp.full((3, 2), 4.0 if label == "head" else 3.0) for path, label in LEAVES.items()}
    norm = math.sqrt(sum(float((leaf**2).sum()) for leaf in gradients.values()))
    _, state = one_update(TrainConfig(clip=0.5, **CONSTANT), gradients)
    first_moments = {
        jax.tree_util.keystr(path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
        if ".mu" in jax.tree_util.keystr(path)
    }
    assert len(first_moments) == len(LEAVES)
    for name, moment in first_moments.items():
        raw = 4.0 if "classifier" in name else 3.0
        np.testing.assert_allclose(moment, 0.1 * raw * 0.5 / norm, rtol=1e-4)


def test_a_small_gradient_is_not_clipped():
    gradients = {path: jnp.full((3, 2), 1e-3) for path in LEAVES}
    for clip in (None, 1.0):
        _, state = one_update(TrainConfig(clip=clip, **CONSTANT), gradients)
        moments = [leaf for leaf in jax.tree.leaves(state) if leaf.ndim == 2]
        assert any(np.allclose(moment, 1e-4) for moment in moments)


@pytest.mark.parametrize("name", ["linear", "cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
def test_rates_of_a_run_are_those_of_its_schedules(name, warmup):
    config = TrainConfig(learning_rate=0.1, head_learning_rate=0.3, schedule=name, warmup_ratio=warmup)
    rates = learning_rates(config, STEPS)
    assert rates.dtype == np.float32
    for group, peak in enumerate((0.1, 0.3)):
        expected = [float(schedule(config, peak, STEPS)(step)) for step in range(STEPS)]
        np.testing.assert_allclose(rates[:, group], expected, rtol=1e-5, atol=1e-9)


def test_it_is_adamw_at_the_rates_of_each_step():
    config = TrainConfig(learning_rate=0.1, head_learning_rate=0.3, clip=None)
    rates = learning_rates(config, 5)
    peers = [optax.adamw(schedule(config, peak, 5), weight_decay=config.weight_decay) for peak in (0.1, 0.3)]
    matrices = {path: label for path, label in LEAVES.items() if path.rsplit(".", 1)[-1] in DECAYED_ROLES}
    rule = optimizer(config, matrices)
    ours = theirs = {path: jnp.full((3, 2), 5.0) for path in matrices}
    state, states = rule.init(ours), [peer.init(theirs) for peer in peers]
    for number in range(5):
        gradients = {path: jnp.full((3, 2), float(number + place)) for place, path in enumerate(matrices)}
        updates, state = rule.update(gradients, state, ours, rates=rates[number])
        ours = optax.apply_updates(ours, updates)
        both = [peer.update(gradients, at, theirs) for peer, at in zip(peers, states, strict=True)]
        states = [at for _, at in both]
        theirs = {path: leaf + both[matrices[path] == "head"][0][path] for path, leaf in theirs.items()}
    for path in matrices:
        np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-5, err_msg=path)


def test_runs_of_other_rates_and_lengths_share_a_compiled_program():
    trainable = {path: jnp.ones((3, 2)) for path in LEAVES}
    texts = set()
    for rate, steps, name in ((1e-3, 7, "linear"), (0.5, 90, "cosine")):
        config = TrainConfig(learning_rate=rate, schedule=name)
        rule, rates = optimizer(config, LEAVES), learning_rates(config, steps)
        texts.add(jax.jit(rule.update).lower(trainable, rule.init(trainable), trainable, rates=rates[0]).as_text())
    assert len(texts) == 1


def test_a_run_without_steps_has_no_rates():
    assert learning_rates(TrainConfig(), 0).shape == (0, 2)
