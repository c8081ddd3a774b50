"""Work and time of a run: operations by formula, and seconds from a rate that is given or looked at on the spot."""

import collections
import dataclasses
import math
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft import peft
from jaxpeft.data.batches import bucket_lengths, plan_epoch
from jaxpeft.data.packing import Packing
from jaxpeft.models.flops import step_flops
from jaxpeft.training.blueprint import Blueprint
from jaxpeft.training.compiler import compiler_options
from jaxpeft.training.loop import seed_of
from jaxpeft.training.plan_memory import padded_length

SHARE = 0.5  # of a plain product's rate that a step is assumed to reach
SECONDS = 2.0  # at most, to measure that rate
WIDEST = 4096  # of the measured product: larger ones are no faster and take memory


@dataclasses.dataclass(frozen=True)
class Work:
    """Floating-point operations of one step at full length, of an epoch and of a run; and how many steps they have."""

    step: int
    epoch: int
    run: int
    steps_per_epoch: int
    steps: int


def work(blueprint: Blueprint, examples: int, lengths: np.ndarray | None) -> Work:
    """The work of training, evaluations apart.

    `lengths` are the tokens of each example, where they are known: an epoch then has the very batches of the first
    one. Else every example is as long as it may be.
    """
    settings = blueprint.config.train
    size = settings.batch_size * settings.accumulate
    longest = step_operations(blueprint, size, padded_length(blueprint))
    steps_per_epoch = math.ceil(examples / size)
    epoch = longest * steps_per_epoch
    if lengths is not None:
        counts = collections.Counter(_first_epoch(blueprint, lengths))
        epoch = sum(count * step_operations(blueprint, size, *shape) for shape, count in counts.items())
    steps = steps_per_epoch * settings.epochs
    if settings.steps is not None:
        steps = min(steps, settings.steps)
    return Work(longest, epoch, round(epoch * steps / steps_per_epoch), steps_per_epoch, steps)


def _first_epoch(blueprint: Blueprint, lengths: np.ndarray) -> Iterator[tuple[int, int | None]]:
    """Of each step, the tokens of its longest text and, packed, those of all its rows."""
    settings, data = blueprint.config.train, blueprint.config.data
    size, seed = settings.batch_size, seed_of(blueprint.config, "data")
    buckets = bucket_lengths(lengths, data.buckets, data.max_length)
    virtual = blueprint.model.virtual.prompt_length
    packing = Packing.of(lengths, buckets, size, passes=settings.accumulate, virtual=virtual)
    for plan in plan_epoch(lengths, buckets, size * settings.accumulate, seed=seed, epoch=0):
        shape = packing.shape(plan, lengths, size) if data.packing else None
        yield plan.length, settings.accumulate * shape.tokens if shape else None


def step_operations(blueprint: Blueprint, texts: int, length: int, tokens: int | None = None) -> int:
    """Of a step over B texts of T tokens; packed, over so many `tokens` of all (see `models.flops`)."""
    sizes = {path: leaf.size for path, leaf in {**blueprint.trainable, **blueprint.frozen}.items()}
    trained = {path: label != peft.FROZEN for path, label in blueprint.labels.items()}
    return step_flops(blueprint.model, sizes, trained, texts, length, tokens)


def measured_rate(blueprint: Blueprint) -> float:
    """Operations a second of a plain matrix product on this device, in the shapes and the type of the model's own."""
    kernels = [leaf for path, leaf in {**blueprint.trainable, **blueprint.frozen}.items() if path.endswith("kernel")]
    d_in, d_out = (min(size, WIDEST) for size in max(kernels, key=lambda leaf: leaf.size).shape[-2:])
    length = padded_length(blueprint)
    most = blueprint.config.train.batch_size * length
    return _rate_of_products(most, d_in, d_out, blueprint.config.model.dtype, compiler_options(length))


def _rate_of_products(most_rows: int, d_in: int, d_out: int, dtype: Any, options: dict[str, Any] | None) -> float:
    """The best rate of [N, d_in] x [d_in, d_out], N doubled from 64 up to `most_rows` while the time lasts."""
    until = time.perf_counter() + SECONDS
    kernel = jnp.ones((d_in, d_out), dtype)
    rows, best = min(64, most_rows), 0.0
    while True:
        x = jnp.ones((rows, d_in), dtype)
        product = jax.jit(jnp.matmul).lower(x, kernel).compile(compiler_options=options)
        product(x, kernel).block_until_ready()
        started = time.perf_counter()
        product(x, kernel).block_until_ready()
        ended = time.perf_counter()
        best = max(best, 2 * rows * d_in * d_out / (ended - started))
        rows = 2 * rows
        if rows > most_rows or until - ended < 5 * (ended - started):  # twice twice as long, and compilation
            return best
