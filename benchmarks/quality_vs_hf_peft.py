"""Does training here reach what torch + PEFT reaches? Test accuracy of both, dropout on, several seeds a side.

Same base (MiniLM), token ids, batches, number of steps and hyper-parameters; each side initialises and drops on its
own. What is reported is the difference of the mean test accuracy after the last
step with its 95 % interval (Welch); it fails only when the interval lies wholly below -1.5 points.

    python -m benchmarks.quality_vs_hf_peft --data=FOLDER/nicta_piboso --json=benchmarks/results/quality.json

Each finished run is written at once, so a killed benchmark goes on where it was. Needs torch and peft.
"""

import argparse
import itertools
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import BatchPlan, bucket_lengths, plan_epoch
from jaxpeft.data.load import load
from jaxpeft.data.tokenise import Examples, text_encoder
from jaxpeft.models.pretrained import resolve
from jaxpeft.tasks.registry import task_of
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir

METHODS = ("lora", "full")
SIDES = ("jaxpeft", "torch + PEFT")
MARGIN = -0.015


def experiment(method: str, seed: int, data: str, steps: int) -> Config:
    """The configuration of both sides."""
    config = Config(name=f"quality_{method}_{seed}", seed=seed)
    config.data.format, config.data.path = "jsonl", data
    config.data.max_length = 64
    config.peft.method = method
    config.peft.lora.alpha = 16.0
    config.train.batch_size = 16
    config.train.epochs, config.train.steps, config.train.eval_every = 1000, steps, steps
    config.train.learning_rate = 2e-3 if method == "lora" else 2e-4
    config.train.test_on = "last"
    return config


def run_ours(config: Config) -> float:
    """Test accuracy of the main job."""
    folder = Path(tempfile.mkdtemp())
    try:
        result = train(config, Workdir(folder / "run"), started=time.time())
        return result["metrics"]["test"]["accuracy"]["value"]
    finally:
        shutil.rmtree(folder)


def run_torch(config: Config) -> float:
    """Test accuracy of the same experiment in torch."""
    from benchmarks.torch_peer import TorchPeer

    folder = resolve(config.model.ref)
    encoder = text_encoder(folder, lowercase="auto", max_length=config.data.max_length)
    splits = load(config.data, config.seed, None, False)
    task = task_of(config, splits.labels)
    train_split, test_split = (prepare(rows, encoder, task, None) for rows in (splits.train, splits.test))
    labels, test_labels = task.targets(train_split).label, task.targets(test_split).label
    ids, test_ids = (np.split(one.encoded.ids, one.encoded.starts[1:-1]) for one in (train_split, test_split))
    steps = config.train.steps
    peer = TorchPeer(folder, config, len(splits.labels), steps, config.seed)
    for plan in itertools.islice(batches(config, train_split), steps):
        peer.train_step([ids[i] for i in plan.examples], labels[plan.examples])
    return float((peer.predict(test_ids) == test_labels).mean())


def batches(config: Config, train_split: Examples) -> Iterator[BatchPlan]:
    """The batches of the training loop, epoch after epoch."""
    lengths = train_split.encoded.lengths
    buckets = bucket_lengths(lengths, config.data.buckets, config.data.max_length)
    for epoch in itertools.count():
        yield from plan_epoch(lengths, buckets, config.train.batch_size, seed=config.seed, epoch=epoch)


def difference(ours: list[float], theirs: list[float]) -> dict[str, float]:
    """Mean difference and its 95 % interval, unequal variances (Welch 1947)."""
    found = scipy.stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return {"value": float(np.mean(ours) - np.mean(theirs)), "low": float(found.low), "high": float(found.high)}


def table(report: dict[str, Any]) -> str:
    """One line a method."""
    lines = ["method  seeds  jaxpeft  torch+PEFT  difference (95 %)            verdict"]
    for method in METHODS:
        runs = [
            [run["accuracy"] for run in report["runs"] if (run["method"], run["side"]) == (method, side)]
            for side in SIDES
        ]
        if min(map(len, runs)) < 2:
            continue
        gap = difference(*runs)
        report["difference"][method] = gap
        verdict = "WORSE" if gap["high"] < MARGIN else "not worse than -1.5 points"
        lines.append(
            f"{method:6}  {len(runs[0]):5}  {np.mean(runs[0]):7.4f}  {np.mean(runs[1]):10.4f}  "
            f"{gap['value']:+.4f} [{gap['low']:+.4f}, {gap['high']:+.4f}]  {verdict}"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing, seed by seed, and prints the table."""
    runtime.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with train, validation and test .jsonl")
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=1, help="seed to begin with, to share seeds among processes")
    arguments = parser.parse_args()
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    report = {"data": Path(arguments.data).name, "steps": arguments.steps, "difference": {}, "runs": []}
    if arguments.json.exists():
        report = json.loads(arguments.json.read_text())
    report |= {"versions": runtime.versions(), "processor": platform.processor() or platform.machine()}
    done = {(run["method"], run["seed"], run["side"]) for run in report["runs"]}
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        for method in METHODS:
            for side in SIDES:
                if (method, seed, side) in done:
                    continue
                config = experiment(method, seed, arguments.data, arguments.steps)
                started = time.time()
                accuracy = run_ours(config) if side == SIDES[0] else run_torch(config)
                seconds = round(time.time() - started, 1)
                run = {"method": method, "seed": seed, "side": side, "accuracy": accuracy, "seconds": seconds}
                report["runs"].append(run)
                table(report)
                arguments.json.write_text(json.dumps(report, indent=1) + "\n")
                print(run, flush=True)
    print(table(report))


if __name__ == "__main__":
    main()
