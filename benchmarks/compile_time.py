"""Time to trace and compile a training step by depth: layers are scanned, so it should hardly grow with their number.

LoRA's step at the real width of Llama-2-7B and of MobileBERT, from shapes alone: no weights, no memory. Depths take
turns in one process, the persistent cache is off.

    python -m benchmarks.compile_time --json=benchmarks/results/compile_time.json
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from benchmarks.turns import write_report
from jaxpeft import peft, runtime
from jaxpeft.config import Config
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from jaxpeft.training.optimizer import optimizer
from jaxpeft.training.step import draw_of, train_step

MODELS = {  # name -> what config.json says, and the depths to compare; the last is the real one
    "Llama-2-7B": ({"model_type": "llama", "vocab_size": 32000}, (4, 32)),
    "MobileBERT": ({"model_type": "mobilebert", "classifier_activation": False}, (4, 24)),
}


def seconds(hf_config: dict[str, Any], batch: int, length: int) -> tuple[float, float]:
    """Time to trace and time to compile one step."""
    config = Config()
    config.model.dtype = "bfloat16" if hf_config["model_type"] == "llama" else "float32"
    model = system.abstract(config, hf_config, 2)
    head = [tensor.path for tensor in model.tensors() if tensor.path.split(".")[0] in model.head]
    labels = system.partition(config, model, head)
    adapted = nnx.eval_shape(lambda base: peft.attach(base, config.peft, jax.random.key(0)), model)
    graphdef, leaves = peft.flatten(adapted)
    trainable, frozen = peft.split(leaves, labels)
    frozen = {path: jax.ShapeDtypeStruct(leaf.shape, config.model.dtype) for path, leaf in frozen.items()}
    update = optimizer(config.train, {path: labels[path] for path in trainable})
    texts = {name: np.zeros((1, batch, length), np.int32) for name in ("ids", "mask")}
    rows = {name: np.zeros((1, batch), np.int32) for name in ("label", "example")}
    inputs = {**texts, **rows, "weight": np.ones((1, batch), np.float32)}
    step = jax.jit(train_step(graphdef, update, loss_sum), donate_argnums=(0, 1))
    started = time.perf_counter()
    state = jax.eval_shape(update.init, trainable)
    lowered = step.lower(trainable, state, frozen, inputs, draw_of(0, 0), np.zeros(2, np.float32))
    traced = time.perf_counter()
    lowered.compile()
    return traced - started, time.perf_counter() - traced


def main() -> None:
    """Prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    jax.config.update("jax_enable_compilation_cache", False)
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device(), "rows": []}
    print("model       layers  trace s  compile s  whole, over the first")
    for name, (hf_config, depths) in MODELS.items():
        found: dict[int, list[tuple[float, float]]] = {depth: [] for depth in depths}
        for number in range(arguments.repeats + 1):
            for depth in depths:
                sizes = hf_config | {"num_hidden_layers": depth}
                times = seconds(sizes, arguments.batch, arguments.length)
                if number:  # the first is slow for reasons of its own
                    found[depth].append(times)
        first = statistics.median(map(sum, found[depths[0]]))
        for depth in depths:
            trace, compile_ = (statistics.median(times) for times in zip(*found[depth], strict=True))
            ratio = statistics.median(map(sum, found[depth])) / first
            print(f"{name:10}  {depth:6}  {trace:7.2f}  {compile_:9.2f}  {ratio:21.2f}", flush=True)
            report["rows"].append(
                {"model": name, "layers": depth, "trace_s": trace, "compile_s": compile_, "ratio": ratio}
            )
    write_report(arguments.json, report)


if __name__ == "__main__":
    main()
