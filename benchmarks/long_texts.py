r"""Do long notes need more than their head? Test scores of each way to cut them, at several lengths.

LoRA on MiniLM, one seed, the same epochs, batches and learning rates for all; the step with the best macro-F1 on
validation is tested. Windows do not overlap, so that an epoch sees each token once: what that costs is in `seconds`.
The differences are from `head` of the same length, over the same resamples of the test notes.

    python -m benchmarks.long_texts --data=FOLDER/mtsamples_specialty --runs=DIR \
        --json=benchmarks/results/long_texts.json

A run is a workdir below --runs: finished ones are not run again, a killed one goes on where it was.
"""

import argparse
import itertools
import json
import platform
import time
from pathlib import Path
from typing import Any

from jaxpeft import runtime
from jaxpeft.compare import compare
from jaxpeft.config import Config
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir

WAYS = ("head", "tail", "head_tail", "windows_mean", "windows_max", "windows_attention")
SPECIAL = 2  # tokens around a text
METRICS = ("accuracy", "f1_macro")


def experiment(data: str, way: str, length: int) -> Config:
    """The run of one cell."""
    config = Config(name=f"long_texts_{way}_{length}", seed=1)
    config.data.format, config.data.path, config.data.max_length = "jsonl", data, length
    config.data.long_text = way
    if way.startswith("windows"):
        config.data.long_text, config.data.window_pooling = way.split("_")
        config.data.window_stride = length - SPECIAL
    config.peft.lora.alpha = 16.0
    config.train.epochs, config.train.batch_size = 4, 16
    config.train.learning_rate, config.train.head_learning_rate = 3e-3, 1e-2
    return config


def cell(config: Config, folder: Path, head: Path) -> dict[str, Any]:
    """The scores of a run and its differences from that of the head."""
    result = train(config, Workdir(folder), started=time.time())
    differences = {} if folder == head else compare(head, folder)["metrics"]
    return {
        "length": config.data.max_length,
        "cut": folder.name.rpartition("_")[0],
        "scores": {name: result["metrics"]["test"][name] for name in METRICS},
        "against_head": {name: differences[name] for name in METRICS if differences},
        "examples": result["examples"]["test"],
        "truncated": result["truncated"]["test"],
        "windows": result["windows"]["test"],
        "seconds": round(result["timing"]["train_s"], 1),
    }


def table(cells: list[dict[str, Any]]) -> str:
    """One line a cell."""
    lines = ["length  cut           accuracy  macro-F1  macro-F1 against head (95 %)  cut short  train s"]
    for found in cells:
        accuracy, f1 = (found["scores"][name]["value"] for name in METRICS)
        gap = found["against_head"].get("f1_macro")
        shown = f"{gap['difference']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]" if gap else ""
        lines.append(
            f"{found['length']:6}  {found['cut']:12}  {accuracy:8.3f}  {f1:8.3f}  {shown:28}  "
            f"{found['truncated']:9}  {found['seconds']:7.0f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table as it grows."""
    runtime.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder of .jsonl splits of texts with a label")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the workdirs")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=WAYS[1:], help="beside head")
    arguments = parser.parse_args()
    cells: list[dict[str, Any]] = []
    for length, way in itertools.product(arguments.lengths, (WAYS[0], *arguments.ways)):
        folder = arguments.runs / f"{way}_{length}"
        cells.append(cell(experiment(arguments.data, way, length), folder, arguments.runs / f"{WAYS[0]}_{length}"))
        report = {
            "data": Path(arguments.data).name,
            "cells": cells,
            "versions": runtime.versions(),
            "processor": platform.processor() or platform.machine(),
        }
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
        print(table(cells), flush=True)


if __name__ == "__main__":
    main()
