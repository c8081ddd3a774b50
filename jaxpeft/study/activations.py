"""Memory of a step beside its leaves, by tracing alone: for grids, where compiling each program would take hours."""

import copy
from typing import Any

import jax
import jax.numpy as jnp

from jaxpeft import peft
from jaxpeft.models.dropout import example_seeds
from jaxpeft.training.blueprint import Blueprint, draw
from jaxpeft.training.plan_memory import padded_length, training_program


def step_and_layer_bytes(blueprint: Blueprint, sizes: dict[str, Any] | None) -> tuple[int, int]:
    """Bytes of activations and temporaries in a step over the config's batch of the longest texts; and in one layer.

    They are what `jax.vjp` keeps for the backward pass, and a layer of that once more for the gradients in flight,
    with its attention weights, which are not kept; with `model.remat` the layer at hand is kept whole as well. In
    flight are gradients of activations: what is kept for those of matrices has none. `sizes` are those that the
    blueprint was drawn by.
    """
    config, layers = blueprint.config, blueprint.model.config.num_hidden_layers

    def layer_of(method: str) -> int:
        if method == config.peft.method and not config.model.remat:
            return kept // layers
        plain = copy.deepcopy(config)
        plain.model.remat, plain.peft.method = False, method
        return _kept_by_a_batch(draw(plain, blueprint.task.classes, sizes)) // layers

    kept, weights = _kept_by_a_batch(blueprint), _attention_weights(blueprint)
    in_flight = layer_of("lora" if config.peft.method == "full" else config.peft.method) + weights
    at_hand = layer_of(config.peft.method) if config.model.remat else 0
    return kept + at_hand + in_flight, in_flight


def _attention_weights(blueprint: Blueprint) -> int:
    """Bytes of a layer's, as its backward pass has them: before and after dropout, and the gradient of each."""
    heads, length = blueprint.model.config.num_attention_heads, padded_length(blueprint)
    return 4 * 4 * blueprint.config.train.batch_size * heads * length**2  # float32


def tree_bytes(tree: Any) -> int:
    """Bytes of all leaves of a tree of shapes."""
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def _kept_by_a_batch(blueprint: Blueprint) -> int:
    """Weights that are kept as well fall out between two sizes of batch."""
    batch = blueprint.config.train.batch_size
    return _kept(blueprint, 2 * batch) - _kept(blueprint, batch)


def _kept(blueprint: Blueprint, batch_size: int) -> int:
    """Bytes of all that the backward pass of one batch reads."""
    graphdef, loss_sum = peft.flatten(blueprint.model)[0], blueprint.task.loss_sum
    inputs = training_program(blueprint, batch_size).batch
    batch = {name: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype) for name, leaf in inputs.items()}

    def backward(trainable: Any, frozen: Any, batch: Any) -> Any:
        def loss(trainable: Any) -> jax.Array:
            model = peft.unflatten(graphdef, {**trainable, **frozen})
            seeds = example_seeds(0, jnp.uint32(0), batch["example"])
            return loss_sum(model(batch["ids"], batch["mask"], seeds=seeds), batch)

        return jax.vjp(loss, trainable)[1]

    return tree_bytes(jax.eval_shape(backward, blueprint.trainable, blueprint.frozen, batch))
