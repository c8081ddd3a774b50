"""A study's folder as its runs would have left it, from systems of known quality. No model is trained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.data.bio import spans_of_tags
from jaxpeft.tasks.entity_scores import entity_scores
from jaxpeft.tasks.metrics import classification_scores, majority_scores

LABELS = ["AcuteMedicine", "Cardiology", "Oncology"]
SIZES = {"full": 22_713_216, "lora": 73_728, "ia3": 16_128}


def write_study(folder: Path, runs: Sequence[Mapping[str, Any]], **study: Any) -> Path:
    """Writes study.json and a workdir for each of `runs`, which are arguments of `write_run`; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = [{"id": name, "axes": write_run(folder, name, **run)} for name, run in zip(_ids(runs), runs, strict=True)]
    described = {"name": "A study of tests", "question": "Which method, for what cost?", "runs": entries, **study}
    (folder / "study.json").write_text(json.dumps(described))
    return folder


def write_run(
    folder: Path,
    name: str,
    *,
    model: str = "nlpie/tiny-biobert",
    method: str = "lora",
    task: str = "mimic_triage",
    seed: int = 12,
    skill: float = 1.5,
    patients: int = 120,
    train_s: float = 60.0,
    synthetic: bool = True,
    error: str | None = None,
    **axes: Any,
) -> dict[str, Any]:
    """Writes one finished run, or with an `error` one that failed; returns its axes. More skill, better answers."""
    own = {"model": model, "method": method, "task": task, "seed": seed, **axes}
    if error is not None:
        write(folder / "failed" / f"{name}.json", {"id": name, "axes": own, "error": error, "kind": "crash"})
        return own
    workdir = folder / "runs" / name
    rows, scores, majority = (_entities if task.endswith("ner") else _labels)(task, patients, skill, seed + len(method))
    metric = "f1_strict" if task.endswith("ner") else "f1_macro"
    write(workdir / "config.json", _config(own, synthetic))
    write(workdir / "result.json", _result(own, scores, majority, metric, train_s))
    lines = [{"step": step, "loss": 2.0 * 0.97**step, "learning_rate": 1e-3} for step in range(1, 81)]
    for step in (20, 40, 60, 80):
        lines[step - 1]["validation"] = {metric: scores.metrics[metric]["value"] * (1 - 1 / step)}
    write_lines(workdir / "metrics.jsonl", lines)
    write_lines(workdir / "predictions" / "test.jsonl", rows)
    return own


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_lines(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def _ids(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{number:03d}-{run.get('method', 'lora')}" for number, run in enumerate(runs)]


def _config(axes: Mapping[str, Any], synthetic: bool) -> dict[str, Any]:
    kind = "token_classification" if str(axes["task"]).endswith("ner") else "sequence_classification"
    return {
        "name": axes["task"],
        "task": kind,
        "seed": axes["seed"],
        "model": {"ref": axes["model"]},
        "peft": {"method": axes["method"], "lora": {"rank": axes.get("rank") or 8}},
        "data": {
            "format": "synthetic" if synthetic else "mimic3",
            "protocol": axes.get("protocol") or "fixed",
            "few_shot": axes.get("few_shot"),
        },
        "train": {"seconds": axes.get("seconds")},
    }


def _result(axes: Mapping[str, Any], scores: Any, majority: Any, metric: str, train_s: float) -> dict[str, Any]:
    size = SIZES.get(axes["method"], 50_000) * (axes.get("rank") or 8) // 8
    ece = 0.08 if "ece" in scores.metrics else None
    return {
        "task": "token_classification" if metric == "f1_strict" else "sequence_classification",
        "method": axes["method"],
        "model": axes["model"],
        "labels": LABELS,
        "select_metric": metric,
        "peft_params": size,
        "head_params": 1155,
        "trainable_params": size + 1155,
        "total_params": 22_714_371,
        "steps": 80,
        "flops": 10**9 * size,
        "best_step": 80,
        "metrics": {"test": scores.metrics},
        "majority": {"test": majority},
        "few_clusters": scores.few_clusters,
        "clusters": {"test": scores.clusters},
        "examples": {"test": 300},
        "truncated": {"test": 3},
        "calibration": {"test": {"ece": {"before": ece, "after": 0.03}}} if ece else None,
        "timing": {"train_s": train_s, "examples_per_s": 40.0},
        "memory": {"peak_bytes": 2**30, "device": "cpu x 1"},
        "device": {"kind": "cpu", "count": 1},
        "versions": {"jax": "0.10.2", "flax": "0.12.8"},
    }


def _labels(task: str, patients: int, skill: float, seed: int) -> tuple[list[dict[str, Any]], Any, dict[str, Any]]:
    """Predictions of a classifier: the task decides rows and labels, the seed what is got wrong."""
    rng = np.random.default_rng(sum(map(ord, task)))
    groups = np.sort(rng.integers(0, patients, 2 * patients))
    labels = rng.choice(3, size=len(groups), p=[0.2, 0.5, 0.3])
    hardness = rng.normal(size=(len(groups), 3))
    own = np.random.default_rng([seed, 7])
    logits = skill * (labels[:, None] == np.arange(3)) + hardness + 0.5 * own.normal(size=hardness.shape)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = classification_scores(labels, probabilities, LABELS, groups.tolist(), resamples=50)
    rows = [
        {
            "row": number,
            "id": f"{task}/{number}",
            "group": int(group),
            "label": LABELS[label],
            "prediction": LABELS[int(chances.argmax())],
            "probabilities": dict(zip(LABELS, chances.tolist(), strict=True)),
        }
        for number, (group, label, chances) in enumerate(zip(groups, labels, probabilities, strict=True))
    ]
    return rows, scores, majority_scores(labels, labels, LABELS)


def _entities(task: str, patients: int, skill: float, seed: int) -> tuple[list[dict[str, Any]], Any, dict[str, Any]]:
    """Predictions of a tagger, which finds an entity the more likely the more skill it has."""
    rng, own = np.random.default_rng(sum(map(ord, task))), np.random.default_rng([seed, 8])
    rows = []
    for number in range(2 * patients):
        tags = ["B-problem" if entity else "O" for entity in rng.random(6) < 0.4]
        found = own.random(6) < skill / (1 + skill)
        predictions = [tag if hit else "O" for tag, hit in zip(tags, found, strict=True)]
        rows.append({"row": number, "id": f"{task}/{number}", "group": number // 2, "labels": tags})
        rows[-1]["predictions"] = predictions
    gold, predicted = ([spans_of_tags(row[field]) for row in rows] for field in ("labels", "predictions"))
    scores = entity_scores(gold, predicted, [row["group"] for row in rows], resamples=50)
    return rows, scores, {"f1_strict": 0.1}
