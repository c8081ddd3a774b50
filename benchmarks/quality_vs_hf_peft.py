"""Does training here reach what torch + PEFT reaches? The test score of both, dropout on, several seeds a side.

Same base (MiniLM), token ids, labels (of entities: on the first piece of a word), batches, number of steps,
hyper-parameters and scorer; each side initialises and drops on its own. What is reported is the difference of the mean
test score after the last step with its 95 % interval (Welch), where a side has two seeds or more; it fails only when
the interval lies wholly below -1.5 points. A folder's name says which set it is and so its task and score (see SETS).

    python -m benchmarks.quality_vs_hf_peft --data=FOLDER/ncbi_disease --json=benchmarks/results/quality

writes ncbi_disease.json there, after each run, so a killed benchmark goes on where it was, and prints the table of all
sets of that folder. Needs torch and peft.
"""

import argparse
import dataclasses
import itertools
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
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
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.tasks.task import Task
from jaxpeft.training.evaluation import prepare
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir

METHODS = ("lora", "full", "ia3")
SIDES = ("jaxpeft", "torch + PEFT")
MARGIN = -0.015


@dataclasses.dataclass(frozen=True)
class OpenSet:
    """A set of examples, and the score that both sides are compared by."""

    task: str
    metric: str
    max_length: int
    negative_label: str = "none"  # where the task is relation_extraction
    full_steps: int = 300
    adapter_steps: int = 300
    full_rate: float = 2e-4
    lora_rate: float = 2e-3
    ia3_rate: float = 5e-3

    def learning_rate(self, method: str) -> float:
        """The peak rate of a method, its head's as well."""
        return {"full": self.full_rate, "lora": self.lora_rate, "ia3": self.ia3_rate}[method]


_TEXTS, _WORDS, _PAIRS = "sequence_classification", "token_classification", "relation_extraction"
# Half of the pairs and more are negative, and for hundreds of steps it is the answer to all (at the other sets' rates
# for good); half as many steps end anywhere from 0 to 0.5 on both sides, by the seed alone.
_OF_PAIRS = OpenSet(
    _PAIRS, "f1_positive_micro", 128, full_steps=600, adapter_steps=1200, full_rate=7e-5, lora_rate=1e-3
)
SETS = {
    "nicta_piboso": OpenSet(_TEXTS, "accuracy", 64),
    "mts_dialog_section": OpenSet(_TEXTS, "accuracy", 128),
    "mtsamples_specialty": OpenSet(_TEXTS, "accuracy", 128),
    "chemprot": OpenSet(_TEXTS, "f1_macro", 128),  # it has no pairs without a relation
    "ncbi_disease": OpenSet(_WORDS, "f1_strict", 128),
    "bc5cdr": OpenSet(_WORDS, "f1_strict", 128),
    "maccrobat_ner": OpenSet(_WORDS, "f1_strict", 128),
    "presidio_pii": OpenSet(_WORDS, "f1_strict", 128),
    "maccrobat_re": _OF_PAIRS,
    "ddi2013": _OF_PAIRS,
}


def experiment(method: str, seed: int, data: str, steps: int | None = None) -> Config:
    """The configuration of both sides; `steps` are the set's own if left out."""
    chosen = SETS[Path(data).name]
    steps = steps or (chosen.full_steps if method == "full" else chosen.adapter_steps)
    config = Config(name=f"quality_{method}_{seed}", seed=seed, task=chosen.task)
    config.data.format, config.data.path = "jsonl", data
    config.data.max_length, config.data.negative_label = chosen.max_length, chosen.negative_label
    config.peft.method = method
    config.peft.lora.alpha = 16.0
    config.train.batch_size = 16
    config.train.epochs, config.train.steps, config.train.eval_every = 1000, steps, steps
    config.train.learning_rate = chosen.learning_rate(method)
    config.train.test_on = "last"
    return config


def run_ours(config: Config, metric: str) -> float:
    """Test score of the main job."""
    folder = Path(tempfile.mkdtemp())
    try:
        config.data.path = str(with_less_validation(Path(config.data.path or ""), folder / "data"))
        result = train(config, Workdir(folder / "run"), started=time.time())
        return result["metrics"]["test"][metric]["value"]
    finally:
        shutil.rmtree(folder)


def with_less_validation(data: Path, folder: Path) -> Path:
    """A copy of the data with 100 validation rows: nothing is chosen by them, and scoring thousands takes minutes."""
    shutil.copytree(data, folder)
    path = folder / "validation.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:100]))
    return folder


def run_torch(config: Config, metric: str) -> float:
    """Test score of the same experiment in torch."""
    from benchmarks.torch_peer import TorchPeer

    folder = resolve(config.model.ref)
    reads_words, length = TASKS[config.task].reads_words, config.data.max_length
    encoder = text_encoder(folder, lowercase="auto", max_length=length, reads_words=reads_words)
    splits = load(config.data, config.seed, None, False)
    task = task_of(config, TASKS[config.task].classes_of(splits.labels))
    train_split, test_split = (prepare(rows, encoder, task, None) for rows in (splits.train, splits.test))
    steps, ids, labels = config.train.steps, ids_of(train_split), labels_of(task, train_split)
    peer = TorchPeer(folder, config, len(task.classes), steps, config.seed)
    for plan in itertools.islice(batches(config, train_split), steps):
        peer.train_step([ids[i] for i in plan.examples], [labels[i] for i in plan.examples])
    answers = task.answers(answering(peer.logits(ids_of(test_split)), test_split), test_split)
    return task.scores(answers, test_split, resamples=0).metrics[metric]["value"]


def ids_of(examples: Examples) -> list[np.ndarray]:
    """The token ids of each example."""
    return np.split(examples.encoded.ids, examples.encoded.starts[1:-1])


def labels_of(task: Task, examples: Examples) -> Sequence[Any]:
    """The label of each example or, as the peer wants them, those of its tokens."""
    from benchmarks.torch_peer import NO_LABEL

    targets = task.targets(examples)
    if not targets.of_tokens:
        return targets.label
    return np.split(np.where(targets.weight > 0, targets.label, NO_LABEL), examples.encoded.starts[1:-1])


def answering(logits: Sequence[np.ndarray], examples: Examples) -> np.ndarray:
    """The logits of all examples, or of the tokens that answer for a word."""
    return np.stack(logits) if examples.encoded.leads is None else np.concatenate(logits)[examples.encoded.leads]


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


def differences(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Of each method: the means over the seeds that ran on both sides, their number, and with two the difference."""
    found = {}
    for method in METHODS:
        ours, theirs = (
            {run["seed"]: run["score"] for run in report["runs"] if (run["method"], run["side"]) == (method, side)}
            for side in SIDES
        )
        runs = of_common_seeds(ours, theirs)
        if seeds := len(runs[0]):
            means = {side: float(np.mean(scores)) for side, scores in zip(SIDES, runs, strict=True)}
            found[method] = {"seeds": seeds, **means} | (difference(*runs) if seeds > 1 else {})
    return found


def of_common_seeds(one: dict[int, float], other: dict[int, float]) -> tuple[list[float], list[float]]:
    """The scores, by seed, of the seeds that both have."""
    both = sorted(one.keys() & other.keys())
    return [one[seed] for seed in both], [other[seed] for seed in both]


def table(folder: Path) -> str:
    """One line a set and method, of all reports in the folder."""
    lines = ["data                 score              method  seeds  jaxpeft  torch+PEFT  difference (95 %)"]
    for path in sorted(folder.glob("*.json")):
        report = json.loads(path.read_text())
        for method, found in report["difference"].items():
            ours, theirs = (found[side] for side in SIDES)
            gap = f"{ours - theirs:+.3f}"
            if "low" in found:
                gap += f" [{found['low']:+.3f}, {found['high']:+.3f}]" + (" WORSE" if found["high"] < MARGIN else "")
            lines.append(
                f"{report['data']:19}  {report['metric']:17}  {method:6}  {found['seeds']:5}  {ours:7.3f}  "
                f"{theirs:10.3f}  {gap}"
            )
    return "\n".join(lines)


def benchmark(
    data: str,
    folder: Path,
    *,
    steps: int | None,
    seeds: range,
    methods: Sequence[str] = METHODS,
    make: Callable[..., Config] = experiment,
) -> str:
    """Runs what the report in `folder` lacks, seed by seed; returns the table. `make` is `experiment`."""
    name = Path(data).name
    metric, path = SETS[name].metric, folder / f"{name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"data": name, "metric": metric, "difference": {}, "runs": []}
    if path.exists():
        report = json.loads(path.read_text())
    report |= {"versions": runtime.versions(), "processor": platform.processor() or platform.machine()}
    done = {(run["method"], run["seed"], run["side"]): run["steps"] for run in report["runs"]}
    for seed, method, side in itertools.product(seeds, methods, SIDES):
        config = make(method, seed, data, steps)
        if had := done.get((method, seed, side)):
            if had != config.train.steps:
                raise SystemExit(f"{path} is of runs with {had} steps: name another --json")
            continue
        started = time.time()
        score = (run_ours if side == SIDES[0] else run_torch)(config, metric)
        seconds = round(time.time() - started, 1)
        run = {"method": method, "seed": seed, "side": side, "steps": config.train.steps}
        run |= {"score": score, "seconds": seconds}
        report["runs"].append(run)
        report["difference"] = differences(report)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(name, run, flush=True)
    return table(folder)


def main() -> None:
    """Prints the table."""
    runtime.keep_freed_memory()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", required=True, help=f"folder of .jsonl splits with one of the names {', '.join(SETS)}"
    )
    parser.add_argument("--json", type=Path, required=True, help="folder of the reports")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--steps", type=int, help="the set's own if left out")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    if Path(arguments.data).name not in SETS:
        parser.error(f"--data={arguments.data}: expected a folder named {', '.join(SETS)}")
    seeds = range(1, arguments.seeds + 1)
    print(benchmark(arguments.data, arguments.json, steps=arguments.steps, seeds=seeds, methods=arguments.methods))


if __name__ == "__main__":
    main()
