"""The pure functions of training: one step and one forward pass. `parallel` says where they run.

(trainable, optimizer state, frozen, batch, draw, rates) -> (trainable, optimizer state, loss)

`draw` is what a step's dropout masks come from, `rates` are its learning rates, a row of `optimizer.learning_rates`.
They are arguments, so that runs of any seed, rate, schedule and length share a compiled program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxpeft.models.dropout import example_seeds
from jaxpeft.peft import Tree, unflatten

Arrays = dict[str, jax.Array]
LossFunction = Callable[[jax.Array, Arrays], jax.Array]
INPUTS = ("ids", "mask", "segments", "grid")


def draw_of(seed: int, number: int) -> np.ndarray:
    """The `draw` of a step, uint32 [2]: the dropout seed and the step's number."""
    return np.array([seed, number], np.uint32)


def train_step(
    graphdef: Any,
    update: optax.GradientTransformation,
    loss_of: LossFunction,
    *,
    axis: str | None = None,
    seen: Callable[[Tree], Tree] = lambda trainable: trainable,
) -> Callable[..., tuple[Tree, Any, jax.Array]]:
    """The step over a batch whose arrays are [A, B, ...]: A forward passes accumulate into one update.

    `loss_of(logits, micro_batch)` is the weighted sum of the losses of examples, or of words. The step's loss is that
    sum over the sum of weights: of all forward passes and, with `axis`, of all devices, so it does not depend on how
    a batch is cut. Each pass divides by the whole weight itself: dividing gradients afterwards would move every one of
    them once more. They exist for the trainable tree only. The model has `seen(trainable)` for its leaves.
    """
    rule = optax.with_extra_args_support(update)

    def share(trainable: Tree, frozen: Tree, batch: Arrays, draw: jax.Array, weight: jax.Array) -> jax.Array:
        model = unflatten(graphdef, {**seen(trainable), **frozen})
        seeds = example_seeds(draw[0], draw[1], batch["example"])
        return loss_of(model(**{name: batch[name] for name in INPUTS if name in batch}, seeds=seeds), batch) / weight

    def step(trainable: Tree, state: Any, frozen: Tree, batch: Arrays, draw: jax.Array, rates: jax.Array):
        def accumulate(totals, micro_batch):
            sums = jax.value_and_grad(share)(trainable, frozen, micro_batch, draw, weight)
            return jax.tree.map(jnp.add, totals, sums), None

        weight = batch["weight"].sum()
        weight = weight if axis is None else jax.lax.psum(weight, axis)
        weight = jnp.where(weight > 0, weight, 1.0)  # no word of the batch has a token: nothing to learn, not NaN
        if batch["ids"].shape[0] == 1:  # no scan around a single pass: it would cost a copy of the gradients
            first = jax.tree.map(lambda leaf: leaf[0], batch)
            totals = jax.value_and_grad(share)(trainable, frozen, first, draw, weight)
        else:
            zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, trainable)
            totals, _ = jax.lax.scan(accumulate, zeros, batch)
        loss, gradients = totals if axis is None else jax.lax.psum(totals, axis)
        updates, state = rule.update(gradients, state, trainable, rates=rates)
        return optax.apply_updates(trainable, updates), state, loss

    return step


def population_step(
    graphdef: Any,
    update: optax.GradientTransformation,
    loss_of: LossFunction,
    seen: Callable[[Tree, Arrays], Tree],
) -> Callable[..., tuple[Tree, Any, jax.Array]]:
    """The steps of K runs at once: every leaf but the frozen ones has a leading axis [K]; returns K losses.

    `members` says what each run has of its own: `rates` [K, 2] of this step, `dropout_seed` uint32 [K], and `going`
    bool [K]: of a run that does not, nothing changes. The model has `seen(trainable, members)` for its leaves.
    """

    def one(trainable: Tree, state: Any, frozen: Tree, batch: Arrays, number: jax.Array, member: Arrays):
        step = train_step(graphdef, update, loss_of, seen=lambda tree: seen(tree, member))
        draw = jnp.stack([member["dropout_seed"], number])
        *after, loss = step(trainable, state, frozen, batch, draw, member["rates"])
        kept = jax.tree.map(lambda new, old: jnp.where(member["going"], new, old), after, [trainable, state])
        return *kept, loss

    return jax.vmap(one, in_axes=(0, 0, None, 0, None, 0))


def forward_pass(graphdef: Any) -> Callable[[Tree, Tree, Arrays], jax.Array]:
    """Logits of a batch [B, ...], dropout off."""

    def forward(trainable: Tree, frozen: Tree, batch: Arrays) -> jax.Array:
        model = unflatten(graphdef, {**trainable, **frozen})
        return model(**{name: batch[name] for name in INPUTS if name in batch})

    return forward
