r"""What training together saves: 8 members of a population, 2 ranks x 4 seeds, beside the same 8 as single runs.

LoRA on MiniLM, the same steps for all. The singles run one after the other, each in a process of its own, as a user
would start them; compiled programs are kept from one to the next, and neither side sees the other's. Figures are of all
8 members: `step` is one step of each, so the sum of the singles', and `whole` is from the first process's start to the
last one's end. `loss` is the largest difference of a loss between a member and its single run at any step, `score`
that of a test score.

    python -m benchmarks.population --data=FOLDER/mts_dialog_section --runs=DIR \
        --json=benchmarks/results/population.json

Without --data the runs read made-up notes. --runs must not be there yet.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpeft import population, runtime
from jaxpeft.config import Config, to_json
from jaxpeft.training.workdir import Workdir, read_json, write_json, write_text

PARTS = ("train_s", "compile_s", "eval_s")
RUN = """import json
from jaxpeft.config import from_dict
def get_config():
    return from_dict(json.loads({}))
"""


def experiment(arguments: argparse.Namespace) -> Config:
    """The population."""
    config = Config(name="population")
    if arguments.data is not None:
        config.data.format, config.data.path = "jsonl", str(arguments.data.resolve())
    config.data.synthetic.documents = arguments.documents
    config.data.max_length, config.model.dtype = arguments.max_length, arguments.dtype
    config.train.steps, config.train.batch_size = arguments.steps, arguments.batch_size
    config.train.learning_rate = 1e-3
    config.population.ranks, config.population.seeds = (4, 16), (1, 2, 3, 4)
    return config


def run(config: Config, workdir: Path, cache: Path) -> float:
    """Trains in a new process; returns the seconds from its start to its end."""
    file = workdir.with_name(workdir.name + "_config.py")
    write_text(file, RUN.format(repr(to_json(config))))
    command = [sys.executable, "-m", "jaxpeft.main", f"--config={file}", f"--workdir={workdir}"]
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(cache.resolve())}
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - started


def figures(results: Sequence[dict[str, Any]], steps: int, whole: float) -> dict[str, float]:
    """Seconds of one side, summed over the results whose timing stands for itself."""
    summed = {name: sum(result["timing"][name] for result in results) for name in PARTS}
    peak = max(result["memory"]["peak_bytes"] for result in results)
    return {"step_s": summed["train_s"] / steps, "whole_s": whole, **summed, "peak_bytes": peak}


def differences(together: Path, alone: Path, names: Sequence[str]) -> dict[str, float]:
    """The largest differences between a member and its single run."""
    losses, scores, same_best = [0.0], [0.0], []
    for name in names:
        ours, theirs = Workdir(together / "members" / name), Workdir(alone / name)
        for one, other in zip(ours.read_metrics(), theirs.read_metrics(), strict=True):
            losses.append(abs(one["loss"] - other["loss"]))
        result, expected = read_json(ours.result), read_json(theirs.result)
        scores += list(_score_differences(result, expected))
        same_best.append(result["best_step"] == expected["best_step"])
    return {"loss": max(losses), "score": max(scores), "same_best_step": sum(same_best)}


def _score_differences(result: dict[str, Any], expected: dict[str, Any]) -> Iterator[float]:
    for name, score in expected["metrics"]["test"].items():
        value = result["metrics"]["test"][name]["value"]
        if None not in (value, score["value"]):
            yield abs(value - score["value"])


def main() -> None:
    """Runs both sides; prints one table and writes one JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder of JSONL splits")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--max_length", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--documents", type=int, default=1000, help="of made-up notes")
    arguments = parser.parse_args()
    if arguments.runs.exists():
        parser.error(f"{arguments.runs} is there already: name a new folder")
    config = experiment(arguments)
    members = population.runs(config)
    together, alone = arguments.runs / "together", arguments.runs / "alone"
    seconds = run(config, together, arguments.runs / "cache_together")
    report: dict[str, Any] = {"versions": runtime.versions(), "device": runtime.device()}
    report["processor"] = platform.processor() or platform.machine()
    report["settings"] = {name: value for name, value in vars(arguments).items() if not isinstance(value, Path)}
    report["settings"]["data"] = arguments.data.name if arguments.data else "synthetic"
    report["together"] = figures([read_json(together / "result.json")], arguments.steps, seconds)
    walls = [run(member.config, alone / member.name, arguments.runs / "cache_alone") for member in members]
    results = [read_json(alone / member.name / "result.json") for member in members]
    report["alone"] = figures(results, arguments.steps, sum(walls))
    report["differences"] = differences(together, alone, [member.name for member in members])
    print("8 members  step ms  whole s  training s  compilation s  evaluation s  peak MiB")
    for side in ("together", "alone"):
        found = report[side]
        parts = "".join(f"{found[name]:{width}.1f}" for name, width in zip(PARTS, (12, 15, 14), strict=True))
        peak = f"{found['peak_bytes'] / 2**20:10.0f}"
        print(f"{side:9}  {found['step_s'] * 1e3:7.1f}  {found['whole_s']:7.1f}{parts}{peak}")
    found = report["differences"]
    print(f"largest difference: loss {found['loss']:.1e}, test score {found['score']:.1e}")
    if arguments.json:
        write_json(arguments.json, report)


if __name__ == "__main__":
    main()
