"""AdamW over the trainable tree alone: clip, then decay matrices only, then a learning rate a group."""

from collections.abc import Callable, Mapping, Sequence
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
    number = np.arange(steps)
    return np.stack([np.broadcast_to(schedule(config, peak, steps)(number), steps) for peak in _peaks(config)], axis=1)


def optimizer(
    config: TrainConfig, labels: Mapping[str, str], steps: int, *, plus_ratio: float = 1.0
) -> optax.GradientTransformation:
    """The update rule for a flat trainable tree whose leaves carry `labels` (adapter or head).

    Gradients are clipped by the global norm over both groups before anything else. `plus_ratio` is LoRA+'s: the
    learning rate of every B over that of the other adapter leaves (Hayou et al. 2024).
    """
    rates = [optax.scale_by_learning_rate(schedule(config, peak, steps)) for peak in _peaks(config)]
    return _rule(config, labels, rates, plus_ratio)


def optimizer_at(
    config: TrainConfig, labels: Mapping[str, str], rates: jax.Array, *, plus_ratio: float = 1.0
) -> optax.GradientTransformation:
    """The rule of one step, whose learning rates are `rates` [2]: a row of `learning_rates`, which may be traced."""
    return _rule(config, labels, [optax.scale(-rates[0]), optax.scale(-rates[1])], plus_ratio)


def _peaks(config: TrainConfig) -> tuple[float, float]:
    """The highest learning rates of adapters and of the head."""
    head = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    return config.learning_rate, head


def _rule(
    config: TrainConfig, labels: Mapping[str, str], rates: Sequence[optax.GradientTransformation], plus_ratio: float
) -> optax.GradientTransformation:
    decays = {path: path.rsplit(".", 1)[-1] in DECAYED_ROLES for path in labels}
    is_b = {path: path.endswith(".lora_b") for path in labels}
    is_head = {path: name == HEAD for path, name in labels.items()}
    return optax.chain(
        optax.identity() if config.clip is None else _clip(config.clip),
        optax.scale_by_adam(mu_dtype=jnp.float32),
        optax.add_decayed_weights(config.weight_decay, mask=decays),
        optax.masked(optax.scale(plus_ratio), is_b),
        optax.masked(rates[1], is_head),
        optax.masked(rates[0], {path: not head for path, head in is_head.items()}),
    )


def _clip(limit: float) -> optax.GradientTransformation:
    """Gradients whose norm over all leaves is at most `limit` (Pascanu et al. 2013).

    What `optax.clip_by_global_norm` computes, by one factor: its quotient of every gradient is written and read again
    before both moments, which took 3 % of a step of full fine-tuning on a CPU.
    """

    def update(gradients: Any, _: Any = None) -> Any:
        factor = jnp.minimum(1.0, limit / optax.tree.norm(gradients))
        return jax.tree.map(lambda leaf: leaf * factor, gradients)

    return optax.stateless(update)
