"""Models of released shapes with random weights, as work for `turns`: ours, made without files, in bfloat16.

What they need besides this checkout is jax, flax, optax, numpy and tokenizers.
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.device_trace import traced, waiting
from benchmarks.turns import LeftOutError, Work
from jaxpeft import peft, runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import Batch, BatchPlan, Targets
from jaxpeft.data.packing import step_batch
from jaxpeft.data.tokenise import Encoded
from jaxpeft.models.attention import flash_problems
from jaxpeft.models.flops import step_flops
from jaxpeft.models.shapes import SHAPES
from jaxpeft.tasks.registry import task_of
from jaxpeft.training import system
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.parallel import Placement, placement
from jaxpeft.training.step import draw_of, forward_pass, population_step, train_step

CLASSES = ("no", "yes")
HORIZON = 100_000  # steps of the schedule: longer than any measurement
TRACED = 30  # steps under the profiler
EPOCH = 8  # batches that are drawn, in turn
TARGETS = {
    "bert": ("query", "value"),
    "distilbert": ("q_lin", "k_lin", "v_lin"),
    "mobilebert": ("query", "key", "value"),
    "llama": ("q_proj", "v_proj"),
}
RATE_OF_WEIGHTS = {"distilbert": "attention_dropout", "llama": "attention_dropout"}  # else BERT's name
_SMALL = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
_SMALL_LLAMA = {**_SMALL, "num_key_value_heads": 4, "max_position_embeddings": 64}
TOY = {
    "bert": _SMALL,
    "distilbert": {"dim": 64, "n_layers": 2, "n_heads": 4, "hidden_dim": 96},
    "mobilebert": {"num_hidden_layers": 2},
    "llama": _SMALL_LLAMA,
}


@dataclasses.dataclass(frozen=True)
class Case:
    """What a side computes. `attention` is the side's own name of a program; `rate` None is the model's own dropout."""

    model: str
    batch: int
    length: int
    attention: str
    rate: float | None = None  # of dropped attention weights
    dtype: str = "bfloat16"
    remat: bool = False
    toy: bool = False

    def sizes(self) -> dict[str, Any]:
        """What the model's `config.json` says."""
        sizes = dict(SHAPES[self.model])
        kind = sizes["model_type"]
        if self.toy:
            sizes |= TOY[kind] | {"vocab_size": 128}
        if self.rate is not None:
            sizes[RATE_OF_WEIGHTS.get(kind, "attention_probs_dropout_prob")] = self.rate
        return sizes

    def config(self) -> Config:
        """The experiment."""
        config = Config()
        config.model.dtype, config.model.attention, config.model.remat = self.dtype, self.attention, self.remat
        config.peft.lora.rank, config.peft.target_modules = 8, TARGETS[self.sizes()["model_type"]]
        config.data.max_length, config.train.batch_size = self.length, self.batch
        return config

    def texts(self) -> Encoded:
        """Token ids of the batches that are drawn; a quarter of the texts are shorter by up to a half."""
        generator = np.random.default_rng(0)
        lengths = np.full(self.batch * EPOCH, self.length)
        shorter = generator.random(len(lengths)) < 0.25
        shorter[:: self.batch] = False  # a text of full length in each batch
        lengths[shorter] = generator.integers(self.length // 2, self.length, shorter.sum())
        starts = np.concatenate([[0], np.cumsum(lengths)])
        ids = generator.integers(5, 100 if self.toy else 30000, starts[-1]).astype(np.int32)
        return Encoded(ids, starts, np.arange(len(lengths), dtype=np.int32))

    def labels(self) -> np.ndarray:
        """A label a text."""
        return np.random.default_rng(1).integers(0, len(CLASSES), self.batch * EPOCH).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class Model:
    """A model on the default device, split as a run splits it."""

    config: Config
    graphdef: Any
    trainable: peft.Tree
    frozen: peft.Tree
    labels: dict[str, str]  # of what trains
    operations: int  # of a training step that recomputes nothing
    forward_operations: int


def random_model(case: Case) -> Model:
    """LoRA on a model of random weights; what a checkpoint would lack, its head, trains too."""
    config = case.config()
    bare = system.abstract(config, case.sizes(), len(CLASSES))
    rate, head_size = bare.config.attention_probs_dropout_prob, bare.config.head_size
    if case.attention == "cudnn" and (problems := flash_problems(case.dtype, head_size, rate)):
        raise LeftOutError(f"cuDNN's flash attention cannot compute this: {'; '.join(problems)}")
    new = [tensor.path for tensor in bare.tensors() if tensor.path.split(".")[0] in bare.head]
    labels = system.partition(config, bare, new)
    graphdef, shapes = peft.flatten(system.adapted(config, bare, new))
    trained = {path: label != peft.FROZEN for path, label in labels.items()}
    keys = dict(zip(shapes, jax.random.split(jax.random.key(0), len(shapes)), strict=True))
    leaves = {
        path: noise(keys[path], leaf.shape, "float32" if trained[path] else case.dtype) for path, leaf in shapes.items()
    }
    trainable, frozen = peft.split(leaves, labels)
    sizes = {path: leaf.size for path, leaf in shapes.items()}
    plain = dataclasses.replace(case, remat=False)
    counted = system.adapted(config, system.abstract(plain.config(), case.sizes(), len(CLASSES)), new)

    def operations(who: Mapping[str, bool]) -> int:
        return step_flops(counted, sizes, who, case.batch, case.length)

    return Model(
        config=config,
        graphdef=graphdef,
        trainable=trainable,
        frozen=frozen,
        labels={path: labels[path] for path in trainable},
        operations=operations(trained),
        forward_operations=operations(dict.fromkeys(trained, False)),
    )


@functools.partial(jax.jit, static_argnums=(1, 2))
def noise(key: jax.Array, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Normal numbers of a model's size. Of a stack a layer at a time, so that no large temporaries count as peak."""
    if len(shape) < 3:
        return 0.02 * jax.random.normal(key, shape, dtype)
    return jax.lax.map(lambda own: 0.02 * jax.random.normal(own, shape[1:], dtype), jax.random.split(key, shape[0]))


def batches(case: Case) -> Iterator[Batch]:
    """One batch after the other, assembled when it is asked for, as a run does: [1, B, ...].

    A text a row, as a run has it where so little is padding.
    """
    encoded, size = case.texts(), case.batch
    targets = Targets(case.labels(), np.ones(len(encoded), np.float32))
    for number in itertools.count():
        plan = BatchPlan(np.arange(size) + number % EPOCH * size, case.length)
        yield step_batch(plan, encoded, targets, size)


def training(case: Case, parallel: str = "jit") -> Work:
    """Steps of LoRA as the loop of a run takes them."""
    model, place = random_model(case), placement(parallel, (case.batch,))
    task = task_of(model.config, CLASSES)
    update, rates = optimizer(model.config.train, model.labels), learning_rates(model.config.train, HORIZON)
    function = train_step(model.graphdef, update, task.loss_sum, axis=place.axis)
    step = place.compiled(function, donate=(0, 1), batch_argument=3)
    frozen = place.place_frozen(model.frozen)
    trainable, state = place.replicate(model.trainable), place.replicate(update.init(model.trainable))
    drawn, loss = batches(case), None

    def take(number: int) -> Any:
        nonlocal trainable, state, loss
        batch = place.shard(next(drawn), 1)
        trainable, state, loss = step(trainable, state, frozen, batch, draw_of(0, number), rates[number])
        return loss

    return _work(take, case.batch, model.operations, model, place)


def traced_training(case: Case) -> Work:
    """Those steps; reports how long the device waited for TRACED of them under the profiler."""
    work = training(case)

    def report() -> dict[str, Any]:
        with traced(waiting) as found:
            work.run(TRACED)
        return {**work.report(), **found[0]}

    return dataclasses.replace(work, report=report)


def population(case: Case, members: int) -> Work:
    """Steps of several runs in one: each its own seed, batches, rates and trained leaves."""
    model, place = random_model(case), Placement()
    update = optimizer(model.config.train, model.labels)
    task = task_of(model.config, CLASSES)
    function = population_step(model.graphdef, update, task.loss_sum, lambda trainable, member: trainable)
    step = place.compiled(function, donate=(0, 1), batch_argument=3)
    trainable = {path: jnp.stack([leaf] * members) for path, leaf in model.trainable.items()}
    state = jax.vmap(update.init)(trainable)
    own = {
        "dropout_seed": np.arange(members, dtype=np.uint32),
        "rates": np.full((members, 2), 1e-4, np.float32),
        "going": np.ones(members, bool),
    }
    drawn, losses = batches(case), None

    def take(number: int) -> Any:
        nonlocal trainable, state, losses
        one_each = [next(drawn) for _ in range(members)]
        batch = {name: np.stack([one[name] for one in one_each]) for name in one_each[0]}
        trainable, state, losses = step(trainable, state, model.frozen, place.shard(batch, 2), np.uint32(number), own)
        return losses

    return _work(take, case.batch * members, model.operations * members, model, place)


def prediction(case: Case) -> Work:
    """Forward passes of one batch, dropout off."""
    model, place = random_model(case), Placement()
    forward = place.compiled(forward_pass(model.graphdef), batch_argument=2, deterministic=True)
    drawn = ({name: batch[name][0] for name in ("ids", "mask")} for batch in batches(case))

    def take(number: int) -> Any:
        return forward(model.trainable, model.frozen, place.shard(next(drawn), 0))

    return _work(take, case.batch, model.forward_operations, model, place)


def product(case: Case) -> Work:
    """Plain products of a batch's tokens with the widest matrix of a layer: what the machine can do at best."""
    sizes = case.sizes()
    d_in = sizes.get("hidden_size") or sizes["dim"]
    d_out = sizes.get("intermediate_size") or sizes["hidden_dim"]
    rows = case.batch * case.length
    x, kernel = noise(jax.random.key(0), (rows, d_in), case.dtype), noise(jax.random.key(1), (d_in, d_out), case.dtype)
    multiply = jax.jit(jnp.matmul)

    def run(steps: int) -> None:
        for _ in range(steps):
            last = multiply(x, kernel)  # the one before is let go
        jax.block_until_ready(last)

    return Work(run, case.batch, 2.0 * rows * d_in * d_out, memory)


def _work(take: Callable[[int], Any], examples: int, operations: int, model: Model, place: Placement) -> Work:
    """Work of `take(number)`, which starts a step and returns what tells that it is done."""
    taken, last = itertools.count(), None

    def run(steps: int) -> None:
        nonlocal last
        for _ in range(steps):
            last = take(next(taken))
        jax.block_until_ready(last)

    def report() -> dict[str, Any]:
        value = float(np.asarray(last, np.float32).mean())
        trained = sum(leaf.size for leaf in model.trainable.values())
        return {**memory(), "compile_s": place.compile_seconds, "trained": trained, "mean_of_last": value}

    return Work(run, examples, operations, report)


def memory() -> dict[str, Any]:
    """The most memory that the device had given out; null where it does not say, as a CPU."""
    found = jax.local_devices()[0].memory_stats() or {}
    return {"peak_bytes": found.get("peak_bytes_in_use"), "device": runtime.device()}
