"""Speed on this machine beside torch + PEFT, end to end: examples/s and real tokens/s of training and of prediction.

Both sides run the same encoder on the same token ids, in training with AdamW, clipping and dropout, batch 32; in
prediction the peer takes 64 texts, ours about as many tokens as 64 short ones have. The peer runs in both of its
trainer's settings: dynamic padding of batches in the data's (shuffled) order, its default, and grouped by length; and,
with --kept, grouped once more in a process that keeps what it frees as ours does (`runtime.keep_freed_memory`), which
tells what of the difference is that, and takes 12 GB where texts are long. Each side has a process of its own, as users
run them, and they take turns of some seconds.

An epoch's batches are taken in an order in which short and long ones alternate, so that any few of them stand for the
epoch; rates are of real tokens, and examples/s are those over the mean length of the set: no side gains by the texts
that its turns happen to have. A plain matrix product of the model's own sizes takes turns too: its rate is what this
machine can do, and `share` is the part of it that a side reaches on real tokens, by the formula of models/flops.py.

    python -m benchmarks.step_time --data=FOLDER --json=benchmarks/results/step_time.json

FOLDER holds the sets of --sets. Needs torch and peft. Models other than MiniLM are shapes with random weights and
MiniLM's tokenizer. Cases that the JSON has already are not measured again: name another to start afresh.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.quality_vs_hf_peft import SETS, ids_of, labels_of
from benchmarks.turns import processor, versions, write_report
from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import bucket_lengths, plan_epoch
from jaxpeft.data.load import load
from jaxpeft.data.packing import Packing, step_batch
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples, text_encoder
from jaxpeft.models.pretrained import resolve
from jaxpeft.models.shapes import SHAPES
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.tasks.task import Task
from jaxpeft.training import system
from jaxpeft.training.blueprint import draw
from jaxpeft.training.compiler import compiler_options
from jaxpeft.training.evaluation import Evaluator, prepare
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.parallel import Placement
from jaxpeft.training.plan_work import step_operations
from jaxpeft.training.step import draw_of, train_step

OURS, DEFAULT, GROUPED, PRODUCT = "jaxpeft", "torch + PEFT", "torch + PEFT, grouped", "matrix product"
KEPT = "torch + PEFT, grouped, keeping memory"
PROCESSES = ((OURS, PRODUCT), (DEFAULT, GROUPED))  # sides by process
HORIZON = 1000  # steps of the schedule: longer than any measurement
PREDICTED = 256  # texts of a pass of prediction
LENGTH = 128  # tokens of a text in plain products
GOLDEN = (5**0.5 - 1) / 2
Work = tuple[float, float]  # examples and real tokens; of a product its operations


def our_steps(config: Config, train: Examples, task: Task) -> Iterator[Work]:
    """The step as the training loop runs it, batches assembled on the way."""
    model, targets = system.build(config, task.classes, seed=config.seed), task.targets(train)
    place = Placement()
    update = optimizer(config.train, model.trainable_labels())
    rates = learning_rates(config.train, HORIZON)
    function = train_step(model.graphdef, update, task.loss_sum)
    step = place.compiled(function, donate=(0, 1), batch_argument=3)
    lengths, size = train.encoded.lengths, config.train.batch_size
    buckets = bucket_lengths(lengths, config.data.buckets, config.data.max_length)
    plans = (plan_epoch(lengths, buckets, size, seed=config.seed, epoch=epoch) for epoch in itertools.count())
    epochs = (spread(plan, [batch.length for batch in plan]) for plan in plans)
    first = next(epochs)
    packing = Packing.of(lengths, buckets, size)
    one_each = {(plan.length, packing.shape(plan, lengths, size)): plan for plan in first}.values()  # compiled first
    trainable, state = model.trainable, update.init(model.trainable)
    for number, plan in enumerate(itertools.chain(one_each, first, itertools.chain.from_iterable(epochs))):
        batch = step_batch(plan, train.encoded, targets, size, packing=packing)
        now = draw_of(config.seed, number), rates[number % HORIZON]
        trainable, state, loss = step(trainable, state, model.frozen, place.shard(batch, 1), *now)
        jax.block_until_ready(loss)
        if number >= len(one_each):
            yield len(plan.examples), int(lengths[plan.examples].sum())


def our_passes(config: Config, train: Examples, test: Examples, task: Task) -> Iterator[Work]:
    """Prediction of the test texts, over and over."""
    model = system.build(config, task.classes, seed=config.seed)
    buckets = bucket_lengths(train.encoded.lengths, config.data.buckets, config.data.max_length)
    evaluator = Evaluator(model.graphdef, Placement(), buckets, config.train.eval_batch_size, packs=0)
    while True:
        evaluator.logits(model.trainable, model.frozen, test)
        yield len(test.encoded), int(test.encoded.lengths.sum())


def torch_steps(config: Config, train: Examples, task: Task, grouped: bool) -> Iterator[Work]:
    """The peer's step, its batches padded on the way."""
    from benchmarks.torch_peer import TorchPeer, grouped_batches, random_batches

    peer = TorchPeer(resolve(config.model.ref), config, len(task.classes), HORIZON, config.seed)
    ids, labels, lengths = ids_of(train), labels_of(task, train), train.encoded.lengths
    size = config.train.batch_size
    batches = grouped_batches(lengths, size, config.seed) if grouped else random_batches(len(ids), size, config.seed)
    while epoch := list(itertools.islice(batches, math.ceil(len(ids) / size))):
        for batch in spread(epoch, [lengths[one].max() for one in epoch]):
            peer.train_step([ids[i] for i in batch], [labels[i] for i in batch])
            yield len(batch), int(lengths[batch].sum())


def spread(batches: list[Any], lengths: Sequence[int]) -> list[Any]:
    """An epoch's batches so that any few in a row have short and long ones in the epoch's proportions.

    The k-th has the rank of frac(k x golden ratio) among all, by length: a sequence of low discrepancy.
    """
    by_length = np.argsort(lengths, kind="stable")
    ranks = np.argsort(np.argsort(np.arange(len(batches)) * GOLDEN % 1))
    return [batches[i] for i in by_length[ranks]]


def torch_passes(config: Config, test: Examples, task: Task, grouped: bool) -> Iterator[Work]:
    """The peer's prediction of the test texts, over and over."""
    from benchmarks.torch_peer import TorchPeer

    peer = TorchPeer(resolve(config.model.ref), config, len(task.classes), HORIZON, config.seed)
    while True:
        peer.logits(ids_of(test), by_length=grouped)
        yield len(test.encoded), int(test.encoded.lengths.sum())


def products(config: Config, model: str) -> Iterator[Work]:
    """Products of a batch's tokens with the widest matrix of a layer."""
    sizes = SHAPES.get(model) or json.loads((resolve(config.model.ref) / "config.json").read_text())
    rows, d_in, d_out = config.train.batch_size * LENGTH, sizes["hidden_size"], sizes["intermediate_size"]
    x, kernel = jnp.ones((rows, d_in)), jnp.ones((d_in, d_out))
    product = jax.jit(jnp.matmul).lower(x, kernel).compile(compiler_options=compiler_options(LENGTH))
    while True:
        product(x, kernel).block_until_ready()
        yield 2.0 * rows * d_in * d_out, 0


def work_of(side: str, part: str, model: str, config: Config) -> tuple[Iterator[Work], np.ndarray]:
    """One step, or pass, or product after the other; and the lengths of the texts."""
    if side == PRODUCT:
        return products(config, model), np.empty(0)
    splits = load(config.data, config.seed, None, False)
    reads_words, length = TASKS[config.task].reads_words, config.data.max_length
    encoder = text_encoder(resolve(config.model.ref), lowercase="auto", max_length=length, reads_words=reads_words)
    task = task_of(config, TASKS[config.task].classes_of(splits.labels))
    train = prepare(splits.train, encoder, task, None)
    if part == "train":
        steps = our_steps(config, train, task) if side == OURS else torch_steps(config, train, task, side != DEFAULT)
        return steps, train.encoded.lengths
    test = prepare(drawn(splits.test, config.seed), encoder, task, None)
    passes = (
        our_passes(config, train, test, task) if side == OURS else torch_passes(config, test, task, side != DEFAULT)
    )
    return passes, test.encoded.lengths


def drawn(rows: Rows, seed: int) -> Rows:
    """Some of the rows, in an order of their own."""
    return rows.take(np.random.default_rng(seed).permutation(len(rows))[:PREDICTED].tolist())


def serve(sides: tuple[str, ...], part: str, model: str, config: Config, pipe: Connection) -> None:
    """The process of some sides: tells the texts' lengths; takes a side and seconds, answers with what it did."""
    if OURS in sides or KEPT in sides:
        runtime.keep_freed_memory()
    made = {side: work_of(side, part, model, config) for side in sides}
    work = {side: steps for side, (steps, _) in made.items()}
    pipe.send(made[sides[0]][1])
    while request := pipe.recv():
        side, seconds = request
        started, elapsed, totals = time.perf_counter(), 0.0, np.zeros(2)
        while elapsed <= seconds:
            totals += next(work[side])
            elapsed = time.perf_counter() - started
        pipe.send((*totals, elapsed))


def measure(
    part: str, model: str, config: Config, rounds: int, seconds: float, kept: bool
) -> tuple[dict[str, dict[str, Any]], np.ndarray]:
    """What each side does a second, over rounds of alternating turns; and the lengths of the texts."""
    context = multiprocessing.get_context("spawn")
    pipes, processes, lengths = {}, [], np.empty(0)
    of_processes = (*PROCESSES, (KEPT,)) if kept else PROCESSES
    for sides in of_processes:
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(sides, part, model, config, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # so that a process which dies is an end of file here
        pipes |= dict.fromkeys(sides, ours)
        lengths = ours.recv()
    for side, pipe in pipes.items():
        turn(side, pipe, 0.0)  # one step, to warm up
    turns: dict[str, list[tuple[float, float, float]]] = {side: [] for side in pipes}
    for _ in range(rounds):
        for side, pipe in pipes.items():
            turns[side].append(turn(side, pipe, seconds / 5 if side == PRODUCT else seconds))
    for (side, *_), process in zip(of_processes, processes, strict=True):
        pipes[side].send(None)
        process.join()
    product = turns.pop(PRODUCT)
    found = {side: summary(one, lengths.mean()) for side, one in turns.items()}
    operations, _, spent = np.array(product).T
    return found | {PRODUCT: {"operations_per_s": float(operations.sum() / spent.sum())}}, lengths


def turn(side: str, pipe: Connection, seconds: float) -> tuple[float, float, float]:
    """One side works while the others wait; returns its examples, real tokens and seconds."""
    pipe.send((side, seconds))
    return pipe.recv()


def summary(turns: list[tuple[float, float, float]], mean_length: float) -> dict[str, Any]:
    """Rates over all turns together, since batches differ in length; and the range of the turns."""
    _, tokens, seconds = np.array(turns).T
    rates = tokens / seconds / mean_length
    return {
        "examples_per_s": float(tokens.sum() / seconds.sum() / mean_length),
        "range": [float(rates.min()), float(rates.max())],
        "tokens_per_s": float(tokens.sum() / seconds.sum()),
        "seconds": float(seconds.sum()),
    }


def operations_of_a_token(part: str, config: Config, lengths: np.ndarray) -> float:
    """By formula, of a step or of its forward pass alone, in texts of these lengths."""
    blueprint = draw(config, ("no", "yes"))
    if part == "predict":
        blueprint.labels.update(dict.fromkeys(blueprint.labels, "frozen"))
    # Attention's share grows with the square: the text in which a token meets as many others as the mean token does.
    length = round(float((lengths**2).sum() / lengths.sum()))
    return step_operations(blueprint, 1, length) / length


def config_of(model: str, method: str, data: Path, max_length: int | None, bases: Path) -> Config:
    """The experiment of a case; a shape's folder is made in `bases`."""
    config = Config(task=SETS[data.name].task)
    config.data.format, config.data.path, config.peft.method = "jsonl", str(data), method
    config.data.negative_label = SETS[data.name].negative_label
    if max_length:
        config.data.max_length = max_length
    if model in SHAPES:
        config.model.ref = str(written_base(bases / model, model, resolve(config.model.ref)))
    return config


def written_base(folder: Path, model: str, minilm: Path) -> Path:
    """The folder of a shape with random weights and MiniLM's tokenizer."""
    import transformers

    if not folder.exists():
        sizes = {key: value for key, value in SHAPES[model].items() if key != "model_type"}
        transformers.BertModel(transformers.BertConfig(**sizes)).save_pretrained(folder)
        for file in (*minilm.glob("tokenizer*"), *minilm.glob("vocab*"), *minilm.glob("special_tokens*")):
            shutil.copy(file, folder)
    return folder


def row_of(side: str, found: dict[str, dict[str, Any]], operations: float) -> dict[str, Any]:
    """A side's rates beside ours, and its share of the machine's rate."""
    speed, best = found[side], found[PRODUCT]["operations_per_s"]
    return {
        "side": side,
        **speed,
        "ours_over_this": found[OURS]["tokens_per_s"] / speed["tokens_per_s"],
        "share": speed["tokens_per_s"] * operations / best,
        "gflops_of_a_product": best / 1e9,
        "date": time.strftime("%Y-%m-%d"),
        "versions": versions(),
    }


def main() -> None:
    """Measures each case; prints one table and writes one JSON as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["mts_dialog_section", "nicta_piboso"])
    parser.add_argument("--models", nargs="+", choices=("minilm", "tinybert", "bert-base"), default=["minilm"])
    parser.add_argument("--methods", nargs="+", default=["lora", "full"])
    parser.add_argument("--parts", nargs="+", choices=("train", "predict"), default=["train"])
    parser.add_argument("--max_length", type=int, help="tokens; the default of data.max_length if left out")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of a turn")
    parser.add_argument("--kept", action="store_true", help="measure the peer with freed memory kept, too")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"rows": []}
    if arguments.json.exists():
        report = json.loads(arguments.json.read_text())
    report |= {"device": runtime.device(), "processor": processor()}
    keys = ("model", "set", "method", "part", "max_length")
    done = {tuple(row.get(key) for key in keys) for row in report["rows"]}
    columns = "examples/s  [range]          share  ours / this"
    print(f"model      set                 method  part     side                                       {columns}")
    with tempfile.TemporaryDirectory() as bases:
        for model, data, method, part in itertools.product(
            arguments.models, arguments.sets, arguments.methods, arguments.parts
        ):
            config = config_of(model, method, arguments.data / data, arguments.max_length, Path(bases))
            case = dict(zip(keys, (model, data, method, part, config.data.max_length), strict=True))
            if tuple(case.values()) in done:
                continue
            found, lengths = measure(part, model, config, arguments.rounds, arguments.seconds, arguments.kept)
            operations = operations_of_a_token(part, config, lengths)
            for side in (side for side in found if side != PRODUCT):
                row = case | row_of(side, found, operations)
                report["rows"].append(row)
                low, high = row["range"]
                print(
                    f"{model:9}  {data:18}  {method:6}  {part:7}  {side:41}  {row['examples_per_s']:10.1f}  "
                    f"{f'[{low:.1f}, {high:.1f}]':15}  {row['share']:5.0%}  {row['ours_over_this']:6.2f}",
                    flush=True,
                )
            write_report(arguments.json, report)


if __name__ == "__main__":
    main()
