"""Training speed on this machine beside torch + PEFT: examples/s and real tokens/s, end to end.

Both sides train the same encoder on the same token ids with AdamW, clipping and dropout, batch 32. The peer runs
in both of its trainer's settings: dynamic padding of shuffled batches (the default) and `group_by_length`. Ours and
theirs each have a process of their own, as their users run them, and take turns of some seconds.

    python -m benchmarks.step_time --data=FOLDER --json=benchmarks/results/step_time.json

FOLDER holds mts_dialog_section and nicta_piboso (or name others in --sets). Needs torch and peft.
"""

import argparse
import itertools
import json
import multiprocessing
import platform
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import assemble, bucket_lengths, plan_epoch
from jaxpeft.data.load import load
from jaxpeft.data.tokenise import Examples, text_encoder
from jaxpeft.models.pretrained import resolve
from jaxpeft.peft import FROZEN
from jaxpeft.tasks.registry import task_of
from jaxpeft.tasks.task import Task
from jaxpeft.training import system
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.optimizer import optimizer
from jaxpeft.training.parallel import Placement
from jaxpeft.training.step import train_step

OURS, DEFAULT, GROUPED = "jaxpeft", "torch + PEFT", "torch + PEFT, grouped"
HORIZON = 1000  # steps of the schedule: longer than any measurement


def our_steps(config: Config, train: Examples, task: Task) -> Iterator[tuple[int, int]]:
    """The step as the training loop runs it, batches assembled on the way."""
    model, targets = system.build(config, task.classes, seed=config.seed), task.targets(train)
    place = Placement()
    update = optimizer(config.train, {p: v for p, v in model.labels.items() if v != FROZEN}, HORIZON)
    function = train_step(model.graphdef, update, task.loss_sum, dropout_seed=config.seed)
    step = place.compiled(function, donate=(0, 1), batch_argument=3)
    lengths, size = train.encoded.lengths, config.train.batch_size
    buckets = bucket_lengths(lengths, config.data.buckets, config.data.max_length)
    epochs = (plan_epoch(lengths, buckets, size, seed=config.seed, epoch=epoch) for epoch in itertools.count())
    first = next(epochs)
    one_each = {plan.length: plan for plan in first}.values()  # compiled here, before the clock starts
    trainable, state = model.trainable, update.init(model.trainable)
    for number, plan in enumerate(itertools.chain(one_each, first, itertools.chain.from_iterable(epochs))):
        batch = {name: leaf[None] for name, leaf in assemble(plan, train.encoded, targets, size).items()}
        trainable, state, loss = step(trainable, state, model.frozen, place.shard(batch, 1), np.uint32(number))
        jax.block_until_ready(loss)
        if number >= len(one_each):
            yield len(plan.examples), int(lengths[plan.examples].sum())


def torch_steps(config: Config, train: Examples, task: Task, grouped: bool) -> Iterator[tuple[int, int]]:
    """The peer's step, its batches padded on the way."""
    from benchmarks.torch_peer import TorchPeer, grouped_batches, random_batches

    peer = TorchPeer(resolve(config.model.ref), config, len(task.classes), HORIZON, config.seed)
    ids, lengths = np.split(train.encoded.ids, train.encoded.starts[1:-1]), train.encoded.lengths
    labels = task.targets(train).label
    size = config.train.batch_size
    batches = grouped_batches(lengths, size, config.seed) if grouped else random_batches(len(ids), size, config.seed)
    for batch in batches:
        peer.train_step([ids[i] for i in batch], labels[batch])
        yield len(batch), int(lengths[batch].sum())


def steps_of(side: str, config: Config) -> Iterator[tuple[int, int]]:
    """The examples and real tokens of one step after the other."""
    splits = load(config.data, config.seed, None, False)
    encoder = text_encoder(resolve(config.model.ref), lowercase="auto", max_length=config.data.max_length)
    task = task_of(config, splits.labels)
    train = prepare(splits.train, encoder, task, None)
    if side == OURS:
        return our_steps(config, train, task)
    return torch_steps(config, train, task, grouped=side == GROUPED)


def serve(sides: tuple[str, ...], config: Config, pipe: Connection) -> None:
    """The process of some sides: takes a side and seconds, trains it for as long, answers with what it did."""
    if OURS in sides:
        runtime.keep_freed_memory()
    steps = {side: steps_of(side, config) for side in sides}
    while request := pipe.recv():
        side, seconds = request
        started, elapsed, totals = time.perf_counter(), 0.0, np.zeros(2)
        while elapsed <= seconds:
            totals += next(steps[side])
            elapsed = time.perf_counter() - started
        pipe.send((*totals, elapsed))


def measure(config: Config, rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """Examples/s and tokens/s of each side over rounds of alternating turns."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for sides in ((OURS,), (DEFAULT, GROUPED)):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=serve, args=(sides, config, theirs), daemon=True))
        processes[-1].start()
        theirs.close()  # so that a process which dies is an end of file here
        pipes |= dict.fromkeys(sides, ours)
    for side, pipe in pipes.items():
        turn(side, pipe, 0.0)  # one step, to warm up
    turns: dict[str, list[tuple[float, float, float]]] = {side: [] for side in pipes}
    for _ in range(rounds):
        for side, pipe in pipes.items():
            turns[side].append(turn(side, pipe, seconds))
    for pipe, process in zip((pipes[OURS], pipes[DEFAULT]), processes, strict=True):
        pipe.send(None)
        process.join()
    return {side: summary(found) for side, found in turns.items()}


def turn(side: str, pipe: Connection, seconds: float) -> tuple[float, float, float]:
    """One side trains while the others wait; returns its examples, real tokens and seconds."""
    pipe.send((side, seconds))
    return pipe.recv()


def summary(turns: list[tuple[float, float, float]]) -> dict[str, Any]:
    """Rates over all turns together, since batches differ in length; and the range of the turns."""
    examples, tokens, seconds = np.array(turns).T
    return {
        "examples_per_s": float(examples.sum() / seconds.sum()),
        "range": [float((examples / seconds).min()), float((examples / seconds).max())],
        "tokens_per_s": float(tokens.sum() / seconds.sum()),
    }


def main() -> None:
    """Measures each data set and method; prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="mts_dialog_section,nicta_piboso")
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="of a turn")
    arguments = parser.parse_args()
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device(), "rows": []}
    report["processor"] = platform.processor() or platform.machine()
    print("set                 method  side                   examples/s  [range]          tokens/s  ours / theirs")
    for data, method in itertools.product(arguments.sets.split(","), arguments.methods.split(",")):
        config = Config()
        config.data.format, config.data.path, config.peft.method = "jsonl", str(arguments.data / data), method
        found = measure(config, arguments.rounds, arguments.seconds)
        for side, speed in found.items():
            ratio = found[OURS]["examples_per_s"] / speed["examples_per_s"]
            low, high = speed["range"]
            print(
                f"{data:18}  {method:6}  {side:21}  {speed['examples_per_s']:10.1f}  [{low:.1f}, {high:.1f}]"
                f"{speed['tokens_per_s']:14.0f}  {ratio:13.2f}",
                flush=True,
            )
            report["rows"].append({"set": data, "method": method, "side": side, **speed, "ours_over_this": ratio})
        if arguments.json:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            arguments.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
