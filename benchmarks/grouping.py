"""Does batching texts of like length change what is learned? Test scores with it and without, over several seeds.

LoRA on MiniLM, with the steps, rates and scores of `quality_vs_hf_peft`. `grouped` is the default of `data.buckets`;
`mixed` has a single bucket: a batch is the next texts of a shuffled epoch. The difference of
the means has its 95 % interval (Welch); the same seed shuffles both, yet into different batches.

    python -m benchmarks.grouping --data=FOLDER --json=benchmarks/results/grouping.json

FOLDER holds the sets of --sets. JSON is written after each run; what stands in it is not run again.
"""

import argparse
import itertools
import json
import platform
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality_vs_hf_peft import SETS, difference, experiment, of_common_seeds, run_ours
from benchmarks.turns import write_report
from jaxpeft import runtime
from jaxpeft.config import Config

BUCKETS = {"grouped": Config().data.buckets, "mixed": 1}


def score(data: Path, seed: int, batches: str) -> float:
    """Test score of one run."""
    config = experiment("lora", seed, str(data))
    config.data.buckets = BUCKETS[batches]
    return run_ours(config, SETS[data.name].metric)


def table(runs: list[dict[str, Any]]) -> str:
    """One line a set, over the seeds that both have."""
    lines = ["data                 score              seeds  grouped   mixed  difference (95 %)"]
    for name in dict.fromkeys(run["data"] for run in runs):
        grouped, mixed = of_common_seeds(
            *(
                {run["seed"]: run["score"] for run in runs if (run["data"], run["batches"]) == (name, batches)}
                for batches in BUCKETS
            )
        )
        if len(grouped) < 2:
            continue
        gap = difference(grouped, mixed)
        lines.append(
            f"{name:19}  {SETS[name].metric:17}  {len(grouped):5}  {np.mean(grouped):7.3f}  {np.mean(mixed):6.3f}  "
            f"{gap['value']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}]"
        )
    return "\n".join(lines)


def main() -> None:
    """Prints the table as it grows."""
    runtime.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["nicta_piboso", "maccrobat_ner"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, required=True)
    arguments = parser.parse_args()
    report: dict[str, Any] = {"runs": []}
    if arguments.json.exists():
        report = json.loads(arguments.json.read_text())
    report |= {"versions": runtime.versions(), "processor": platform.processor() or platform.machine()}
    done = {(run["data"], run["seed"], run["batches"]) for run in report["runs"]}
    for name, seed, batches in itertools.product(arguments.sets, range(1, arguments.seeds + 1), BUCKETS):
        if (name, seed, batches) in done:
            continue
        found = score(arguments.data / name, seed, batches)
        report["runs"].append({"data": name, "seed": seed, "batches": batches, "score": found})
        write_report(arguments.json, report)
        print(table(report["runs"]), flush=True)


if __name__ == "__main__":
    main()
