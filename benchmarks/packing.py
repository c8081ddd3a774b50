"""Texts end to end beside a text a row: examples/s of training, and how many of the tokens are real.

Both take turns of some steps in one process. Beside the clock's time the processor's is measured, which other people's
work on the machine changes less.

    python -m benchmarks.packing --data=FOLDER --json=benchmarks/results/packing.json
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.turns import write_report
from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import Batch, bucket_lengths, plan_epoch
from jaxpeft.data.load import load
from jaxpeft.data.packing import Packing, step_batch
from jaxpeft.data.tokenise import Examples
from jaxpeft.peft import FROZEN
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.tasks.task import Task
from jaxpeft.training import system
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.parallel import Placement
from jaxpeft.training.step import draw_of, train_step

SIDES = ("a text a row", "packed")
HORIZON = 1000  # steps of the schedule: longer than any measurement


def batches(side: str, config: Config, train: Examples, task: Task) -> Iterator[tuple[np.ndarray, Batch]]:
    """The examples and the arrays of one step after the other, epoch after epoch."""
    targets, lengths, size = task.targets(train), train.encoded.lengths, config.train.batch_size
    buckets = bucket_lengths(lengths, config.data.buckets, config.data.max_length)
    packing = Packing.of(lengths, buckets, size) if side == "packed" else None
    for epoch in itertools.count():
        for plan in plan_epoch(lengths, buckets, size, seed=config.seed, epoch=epoch):
            yield plan.examples, step_batch(plan, train.encoded, targets, size, packing=packing)


def steps(side: str, config: Config, train: Examples, task: Task) -> Iterator[np.ndarray]:
    """One step after the other: examples, real and padded tokens, seconds, processor's seconds, compilations."""
    model, place = system.build(config, task.classes, seed=config.seed), Placement()
    update = optimizer(config.train, {p: v for p, v in model.labels.items() if v != FROZEN})
    rates = learning_rates(config.train, HORIZON)
    function = train_step(model.graphdef, update, task.loss_sum)
    step = place.compiled(function, donate=(0, 1), batch_argument=3)
    trainable, state = model.trainable, update.init(model.trainable)
    made = batches(side, config, train, task)
    for number in itertools.count():
        compiled, started, worked = place.compilations, time.perf_counter(), time.process_time()
        examples, batch = next(made)
        draw = draw_of(config.seed, number)
        trainable, state, loss = step(trainable, state, model.frozen, place.shard(batch, 1), draw, rates[number])
        jax.block_until_ready(loss)
        spent = time.perf_counter() - started, time.process_time() - worked
        real = int(train.encoded.lengths[examples].sum())
        yield np.array([len(examples), real, batch["ids"].size, *spent, place.compilations - compiled])


def measure(config: Config, rounds: int, turn: int) -> dict[str, dict[str, Any]]:
    """Rates of each side over rounds of alternating turns; steps that compile are left out."""
    splits = load(config.data, config.seed, None, False)
    task = task_of(config, TASKS[config.task].classes_of(splits.labels))
    train = prepare(splits.train, system.encoder_of(config, system.pretrained.resolve(config.model.ref)), task, None)
    sides = {side: steps(side, config, train, task) for side in SIDES}
    seen: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side, one in sides.items():
            seen[side] += [next(one) for _ in range(turn)]
    return {side: summary(np.array(found)) for side, found in seen.items()}


def summary(found: np.ndarray) -> dict[str, Any]:
    """Of steps [S, 6]."""
    compilations = int(found[:, 5].sum())
    examples, real, padded, seconds, worked, _ = found[found[:, 5] == 0].sum(axis=0)
    return {
        "steps": int((found[:, 5] == 0).sum()),
        "shapes": compilations,
        "examples_per_s": examples / seconds,
        "examples_per_processor_s": examples / worked,
        "real_tokens": real / padded,
    }


def main() -> None:
    """Measures each data set; prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", default="nicta_piboso,mts_dialog_section,maccrobat_ner")
    parser.add_argument("--method", default="lora")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    arguments = parser.parse_args()
    runtime.keep_freed_memory()
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device(), "rows": []}
    print("set                 side           examples/s  /processor s  real tokens  shapes  over a text a row")
    for data in arguments.sets.split(","):
        config = Config()
        config.data.format, config.data.path, config.peft.method = "jsonl", str(arguments.data / data), arguments.method
        if data.endswith("_ner"):
            config.task = "token_classification"
        found = measure(config, arguments.rounds, arguments.steps)
        for side, row in found.items():
            ratios = [row[name] / found[SIDES[0]][name] for name in ("examples_per_s", "examples_per_processor_s")]
            print(
                f"{data:18}  {side:13}  {row['examples_per_s']:10.1f}  {row['examples_per_processor_s']:12.1f}  "
                f"{row['real_tokens']:11.3f}  {row['shapes']:6}  {ratios[0]:.2f} ({ratios[1]:.2f})",
                flush=True,
            )
            report["rows"].append({"set": data, "side": side, **row, "over_padded": ratios})
    write_report(arguments.json, report)


if __name__ == "__main__":
    main()
