"""AdamW over the trainable tree alone: clip, then decay matrices only, then a learning rate a group."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpeft.config import TrainConfig
from jaxpeft.peft import HEAD

# Leaves that decay, by role: vectors (biases, norm scales, IA3) do not, and in a stack they too are matrices.
DECAYED_ROLES = ("kernel", "embedding", "lora_a", "lora_b")

Schedule = Callable[[Any], Any]  # of a step, or an array of steps


def schedule(config: TrainConfig, peak: float, steps: int) -> Schedule:
    """Learning rate at a step (0, 1, ...): linear warm-up from 0 over `warmup_ratio` of `steps`, then the shape.

    The same numbers as transformers' schedules: linear falls to 0 at `steps`, cosine is half a period.
    """
    warmup = int(config.warmup_ratio * steps + 0.5)
    rest = max(1, steps - warmup)
    after = {
        "linear": optax.linear_schedule(peak, 0.0, rest),
        "cosine": optax.cosine_decay_schedule(peak, rest),
        "constant": optax.constant_schedule(peak),
    }[config.schedule]
    if warmup == 0:
        return after
    return optax.join_schedules([optax.linear_schedule(0.0, peak, warmup), after], [warmup])


def learning_rates(config: TrainConfig, steps: int) -> np.ndarray:
    """The rates of adapters and of the head at each step, float32 [steps, 2]."""
    head = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    number = np.arange(steps)
    rates = [schedule(config, peak, steps)(number) for peak in (config.learning_rate, head)]
    return np.stack([np.broadcast_to(rate, steps) for rate in rates], axis=1).astype(np.float32)


def optimizer(
    config: TrainConfig, labels: Mapping[str, str], *, plus_ratio: float = 1.0
) -> optax.GradientTransformationExtraArgs:
    """The update rule for a flat trainable tree whose leaves carry `labels` (adapter or head).

    `update(gradients, state, trainable, rates=rates)` takes a step's row of `learning_rates`: being an argument, it
    lets runs of any rate, schedule and number of steps share a compiled program. Gradients are clipped by the global
    norm over both groups before anything else. `plus_ratio` is LoRA+'s: the learning rate of every B over that of the
    other adapter leaves (Hayou et al. 2024).
    """
    decays = {path: path.rsplit(".", 1)[-1] in DECAYED_ROLES for path in labels}
    return optax.chain(
        optax.identity() if config.clip is None else _clip(config.clip),
        optax.scale_by_adam(mu_dtype=jnp.float32),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
        _scale_by_rates(labels, plus_ratio),
    )


def _scale_by_rates(labels: Mapping[str, str], plus_ratio: float) -> optax.GradientTransformationExtraArgs:
    """Updates times the negative rate of their group."""

    def update(updates: Any, state: Any, _: Any = None, *, rates: jax.Array, **__: Any) -> tuple[Any, Any]:
        def scaled(path: str, leaf: jax.Array) -> jax.Array:
            ratio = plus_ratio if path.endswith(".lora_b") else 1.0
            return leaf * (-ratio * rates[int(labels[path] == HEAD)])

        return {path: scaled(path, leaf) for path, leaf in updates.items()}, state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def _clip(limit: float) -> optax.GradientTransformation:
    """Gradients whose norm over all leaves is at most `limit` (Pascanu et al. 2013).

    What `optax.clip_by_global_norm` computes, by one factor and of products of leaves with themselves: its quotients
    and its squares of all gradients would be written to memory and read again on a CPU.
    """

    def update(gradients: Any, _: Any = None) -> Any:
        norm = jnp.sqrt(sum(jnp.vdot(leaf, leaf) for leaf in jax.tree.leaves(gradients)))
        factor = jnp.minimum(1.0, limit / norm)
        return jax.tree.map(lambda leaf: leaf * factor, gradients)

    return optax.stateless(update)
