"""Learning rates, decay, clipping and groups of the update rule."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft.config import TrainConfig
from jaxpeft.training.optimizer import learning_rates, optimizer, optimizer_at, schedule

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


def one_update(config, gradients, values=None):
    trainable = {path: jnp.full((3, 2), 5.0) for path in LEAVES} if values is None else values
    rule = optimizer(config, LEAVES, STEPS)
    updates, state = rule.update(gradients, rule.init(trainable), trainable)
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
    trainable = {path: jnp.full((3, 2), 5.0) for path in LEAVES}
    found = []
    for ratio in (1.0, 16.0):
        rule = optimizer(config, LEAVES, STEPS, plus_ratio=ratio)
        found.append(rule.update({path: jnp.ones((3, 2)) for path in LEAVES}, rule.init(trainable), trainable)[0])
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
def test_a_rule_at_the_rates_of_each_step_is_the_rule_with_a_schedule(name, warmup):
    config = TrainConfig(learning_rate=0.1, head_learning_rate=0.3, schedule=name, warmup_ratio=warmup)
    steps, rule = 5, optimizer(config, LEAVES, 5, plus_ratio=4.0)
    rates = learning_rates(config, steps)
    assert rates.shape == (steps, 2)
    trainable = {path: jnp.full((3, 2), 5.0) for path in LEAVES}
    state, state_at = rule.init(trainable), optimizer_at(config, LEAVES, rates[0]).init(trainable)
    for number in range(steps):
        gradients = {path: jnp.full((3, 2), float(number + place)) for place, path in enumerate(LEAVES)}
        updates, state = rule.update(gradients, state, trainable)
        at = optimizer_at(config, LEAVES, jnp.asarray(rates[number]), plus_ratio=4.0)
        updates_at, state_at = at.update(gradients, state_at, trainable)
        for path in LEAVES:
            np.testing.assert_allclose(updates_at[path], updates[path], rtol=1e-5, atol=1e-9, err_msg=path)


def test_a_run_without_steps_has_no_rates():
    assert learning_rates(TrainConfig(), 0).shape == (0, 2)
