"""Where a training step's time goes on a CPU: the kinds of work that its compiled program does, read from a profile.

Kinds: products with weights; attention's own products; attention weights (their softmax and dropout); and the rest
(activations, norms, residuals, dropout, gradients, copies). A fusion is of the first kind that it has a part of, so
what XLA fuses with a product counts as that product's. Loops are left out: what they run is counted itself.

    python -m benchmarks.step_profile --json=benchmarks/results/step_profile.json

The model is MiniLM, its batch random ids.
"""

import argparse
import itertools
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.device_trace import STEP, operations, traced
from benchmarks.turns import write_report
from jaxpeft import peft, runtime
from jaxpeft.config import Config
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from jaxpeft.training.compiler import compiler_options
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.step import draw_of, train_step

KINDS = WEIGHTS, ATTENTION, SCORES, REST = "products with weights", "attention's products", "attention weights", "rest"
PRODUCT, LOOP = re.compile(r" dot\("), re.compile(r" while\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*?^\}", re.MULTILINE | re.DOTALL)
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.-]+) = (.*)$", re.MULTILINE)
CALLED = re.compile(r"calls=%?([\w.-]+)")


def kinds(program: str, scores: str) -> dict[str, str]:
    """The kind of each operation of an optimised program; `scores` is how it writes the shape of attention weights."""
    bodies = {match[1]: match[0] for match in COMPUTATION.finditer(program)}
    found = {}
    for name, text in INSTRUCTION.findall(program):
        if not LOOP.search(text):
            called = CALLED.search(text)
            found[name] = kind(text + bodies.get(called[1], "") if called else text, scores)
    return found


def kind(text: str, scores: str) -> str:
    """The kind of an operation, by its own text and that of what it fuses."""
    products = [line for line in text.splitlines() if PRODUCT.search(line)]
    if products:
        return ATTENTION if all("lhs_batch_dims" in line for line in products) else WEIGHTS
    return SCORES if scores in text else REST


def profiled(method: str, batch_size: int, length: int, steps: int) -> dict[str, Any]:
    """Seconds of a step by the clock, and the share of each kind in what its operations take together."""
    config = Config()
    config.peft.method = method
    model = system.build(config, ("a", "b", "c"), seed=config.seed)
    update = optimizer(config.train, model.trainable_labels())
    rates = learning_rates(config.train, 1000)[500]
    function = train_step(model.graphdef, update, loss_sum)
    generator, shape = np.random.default_rng(0), (1, batch_size, length)
    batch = {
        "ids": generator.integers(1000, 30_000, shape).astype(np.int32),
        "mask": np.ones(shape, bool),
        "label": np.zeros(shape[:2], np.int32),
        "weight": np.ones(shape[:2], np.float32),
        "example": np.arange(batch_size, dtype=np.uint32)[None],
    }
    trainable, state = model.trainable, update.init(model.trainable)
    arguments = trainable, state, model.frozen, batch, draw_of(config.seed, 0), rates
    lowered = jax.jit(function, donate_argnums=(0, 1)).lower(*arguments)
    compiled = lowered.compile(compiler_options=compiler_options(length))
    heads = peft.unflatten(model.graphdef, {**model.trainable, **model.frozen}).config.num_attention_heads

    def run(count: int) -> float:
        nonlocal trainable, state
        started = time.perf_counter()
        for number in range(count):
            draw = draw_of(config.seed, number)
            trainable, state, loss = compiled(trainable, state, model.frozen, batch, draw, rates)
            loss.block_until_ready()
        return (time.perf_counter() - started) / count

    run(2)
    seconds = run(steps)
    of = kinds(compiled.as_text(), f"[{batch_size},{heads},{length},{length}]")

    def spent(profile: Any) -> Counter[str]:
        total: Counter[str] = Counter()
        for event, said in operations(profile):
            if said["hlo_module"] == STEP and said["hlo_op"] in of:
                total[of[said["hlo_op"]]] += event.duration_ns
        return total

    with traced(spent) as found:
        run(1)
    whole = found[0].total()
    return {"method": method, "length": length, "seconds": seconds} | {kind: found[0][kind] / whole for kind in KINDS}


def main() -> None:
    """Prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", nargs="+", default=["lora", "full"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[32, 64, 128, 256, 480])
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    runtime.keep_freed_memory()
    report: dict[str, Any] = {"rows": [], "versions": runtime.versions(), "batch_size": arguments.batch_size}
    print(f"method  length  s a step  {'  '.join(KINDS)}")
    for method, length in itertools.product(arguments.methods, arguments.lengths):
        row = profiled(method, arguments.batch_size, length, arguments.steps)
        report["rows"].append(row)
        shares = "  ".join(f"{row[kind]:{len(kind)}.0%}" for kind in KINDS)
        print(f"{method:6}  {length:6}  {row['seconds']:8.3f}  {shares}", flush=True)
        write_report(arguments.json, report)


if __name__ == "__main__":
    main()
