"""Memory of a training step and of a forward pass on one device: what the compiled programs say they need.

The programs are those that a run compiles, lowered for shapes: nothing is allocated and nothing runs.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft import peft
from jaxpeft.data.batches import MULTIPLE, evaluation_rows
from jaxpeft.data.packing import evaluation_shape
from jaxpeft.training.blueprint import Blueprint
from jaxpeft.training.compiler import compiler_options, text_length
from jaxpeft.training.optimizer import optimizer
from jaxpeft.training.step import draw_of, forward_pass, train_step
from jaxpeft.training.system import is_matrix_of_layers

MOST = 2**16  # texts a batch: larger ones are not looked for
PROGRAMS = 8  # compiled to find the largest batch
Roles = dict[str, int]  # role -> bytes


def padded_length(blueprint: Blueprint) -> int:
    """Tokens of the longest batches."""
    return -(-blueprint.config.data.max_length // MULTIPLE) * MULTIPLE


@dataclasses.dataclass(frozen=True)
class Program:
    """A function that a run compiles, and the shapes of its arguments on one device."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    donated: tuple[int, ...]
    batch: dict[str, jax.ShapeDtypeStruct]

    def compiled(self) -> Any:
        """The executable: the one place that says how a program is placed."""
        lowered = jax.jit(self.function, donate_argnums=self.donated).lower(*self.arguments)
        return lowered.compile(compiler_options=compiler_options(text_length(self.batch)))


def training_program(blueprint: Blueprint, batch_size: int) -> Program:
    """A step over passes of B texts, each as long as texts may be."""
    graphdef, loss_sum = peft.flatten(blueprint.model)[0], blueprint.task.loss_sum
    step = train_step(graphdef, _update(blueprint), loss_sum)
    shape = (blueprint.config.train.accumulate, batch_size)
    batch = _inputs(blueprint, shape) | _targets(blueprint, shape)
    now = draw_of(0, 0), np.zeros(2, np.float32)
    arguments = blueprint.trainable, optimizer_state(blueprint), blueprint.frozen, batch, *now
    return Program(step, arguments, (0, 1), batch)


def evaluation_program(blueprint: Blueprint, batch_size: int) -> Program:
    """A forward pass over texts as long as they may be: so many of the B that have room, or packed as in one bucket."""
    length, virtual = padded_length(blueprint), blueprint.model.virtual.prompt_length
    if blueprint.config.data.packing:
        shape = evaluation_shape(length, 0, batch_size, virtual=virtual)
        sizes = {"ids": (shape.rows, shape.tokens), "grid": (shape.rows, shape.texts, shape.length)}
        batch = {name: jax.ShapeDtypeStruct(size, jnp.int32) for name, size in sizes.items()}
    else:
        batch = _inputs(blueprint, (evaluation_rows(length, batch_size, 1),))
    forward = forward_pass(peft.flatten(blueprint.model)[0])
    return Program(forward, (blueprint.trainable, blueprint.frozen, batch), (), batch)


def training_memory(blueprint: Blueprint, batch_size: int, *, here: bool = True) -> Roles:
    """Bytes by role while a step runs, on this machine (`here`) or by the same program on another.

    Gradients are as large as what trains, twice where passes accumulate; the rest of what the program allocates for
    itself is activations and temporaries.
    """
    copies = 1 if blueprint.config.train.accumulate == 1 else 2
    return _by_role(blueprint, training_program(blueprint, batch_size), copies * _bytes(blueprint.trainable), here)


def evaluation_memory(blueprint: Blueprint, batch_size: int, *, here: bool = True) -> Roles:
    """Bytes by role while training evaluates: the optimizer's state stays where it is."""
    return _by_role(blueprint, evaluation_program(blueprint, batch_size), 0, here)


def resident(blueprint: Blueprint) -> Roles:
    """Bytes by role of what stays from step to step."""
    return {
        "frozen base": _bytes(blueprint.frozen),
        "trainable": _bytes(blueprint.trainable),
        "optimizer state": _bytes(optimizer_state(blueprint)),
    }


def _by_role(blueprint: Blueprint, program: Program, gradients: int, here: bool) -> Roles:
    found = program.compiled().memory_analysis()
    gradients = min(gradients, found.temp_size_in_bytes)
    copies = _operand_copies(blueprint, program) if here and jax.default_backend() == "cpu" else 0
    return resident(blueprint) | {
        "gradients": gradients,
        "activations, temporaries": found.temp_size_in_bytes - gradients + copies,
        "batch and results": _bytes(program.batch) + found.output_size_in_bytes - found.alias_size_in_bytes,
    }


def _operand_copies(blueprint: Blueprint, program: Program) -> int:
    """What a CPU's largest product takes for its left side in blocks, which the program's own count leaves out.

    Products run on Eigen's threads, which copy that side before they read it, for three stages at once.
    """
    leaves = blueprint.frozen | blueprint.trainable
    widest = max(leaf.shape[-2] for path, leaf in leaves.items() if is_matrix_of_layers(path))
    return 3 * 4 * math.prod(program.batch["ids"].shape[-2:]) * widest


def largest_batch(bytes_of: Callable[[int], int], limit: int, first: int) -> int:
    """The largest batch whose `bytes_of` is within the limit, up to `MOST`; 0 where one text is too much.

    Memory grows nearly in a line, so each guess is where the line through the last two sizes meets the limit. The
    answer has been looked at itself; that one more would not fit may be the line's word alone, or, where memory grows
    otherwise, not so: after `PROGRAMS` looks the largest that fitted will do.
    """
    fits, over, guess = 0, MOST + 1, first
    seen: list[tuple[int, int]] = []
    while over - fits > 1:
        seen.append((guess, bytes_of(guess)))
        fits, over = (guess, over) if seen[-1][1] <= limit else (fits, guess)
        guess = _next_guess(seen[-2:], limit, (fits + over) // 2)
        if fits > 0 and (guess <= fits or len(seen) >= PROGRAMS):
            break
        if len(seen) >= PROGRAMS:
            guess = over // 2
        guess = min(max(guess, fits + 1), over - 1)
    return fits


def _next_guess(seen: Sequence[tuple[int, int]], limit: int, middle: int) -> int:
    """Where the line through two (batch, size) meets the limit; `middle` where it falls; twice or half of a first."""
    (other, other_size), (batch, size) = seen[0], seen[-1]
    if len(seen) == 1:
        return 2 * batch if size <= limit else batch // 2
    slope = (size - other_size) / (batch - other)
    return batch + int((limit - size) // slope) if slope > 0 else middle


def _update(blueprint: Blueprint) -> Any:
    config, labels = blueprint.config, {path: blueprint.labels[path] for path in blueprint.trainable}
    return optimizer(config.train, labels, plus_ratio=config.peft.lora.plus_ratio)


def optimizer_state(blueprint: Blueprint) -> Any:
    """The shapes of what the optimizer keeps."""
    return jax.eval_shape(_update(blueprint).init, blueprint.trainable)


def _inputs(blueprint: Blueprint, shape: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    texts = (*shape, padded_length(blueprint))
    return {"ids": jax.ShapeDtypeStruct(texts, jnp.int32), "mask": jax.ShapeDtypeStruct(texts, bool)}


def _targets(blueprint: Blueprint, texts: tuple[int, ...]) -> dict[str, jax.ShapeDtypeStruct]:
    answers = texts if blueprint.model.pools else (*texts, padded_length(blueprint))
    return {
        "example": jax.ShapeDtypeStruct(texts, jnp.uint32),
        "label": jax.ShapeDtypeStruct(answers, jnp.int32),
        "weight": jax.ShapeDtypeStruct(answers, jnp.float32),
    }


def _bytes(tree: Any) -> int:
    return sum(leaf.size * jnp.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))
