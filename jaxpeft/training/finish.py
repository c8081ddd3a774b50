"""A run's end: the tested step's logits, and of those all that a finished workdir holds."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Examples
from jaxpeft.tasks.clusters import Scores
from jaxpeft.tasks.task import Answers, Task
from jaxpeft.training import forgetting, plots, system
from jaxpeft.training.export import can_export, export
from jaxpeft.training.loop import Loop, seed_of
from jaxpeft.training.position import Outcome, Position
from jaxpeft.training.workdir import Workdir, write_json, write_lines

TESTED = ("validation", "test")


def tested_logits(loop: Loop, outcome: Outcome, examples: Mapping[str, Examples]) -> dict[str, np.ndarray]:
    """Logits of the tested step on validation and test."""
    trainable = loop.placement.replicate(outcome.trainable)
    loop.clock.start()  # the wait for the last checkpoint is no training
    with loop.clock.evaluating():
        return {name: loop.evaluator.logits(trainable, loop.frozen, examples[name]) for name in TESTED}


def write(
    loop: Loop,
    outcome: Outcome,
    logits: Mapping[str, np.ndarray],
    examples: Mapping[str, Examples],
    splits: Splits,
    *,
    timing: Mapping[str, Any],
    memory: Mapping[str, Any],
) -> dict[str, Any]:
    """Scores the logits and writes predictions, plots, adapter and, last, result.json, which it returns."""
    config, model, task, workdir = loop.config, loop.system, loop.task, loop.workdir
    scores, answers = _test(logits, task, examples, workdir)
    result = {
        **_identity(config, model, examples, loop.buckets),
        **_outcome(outcome, task, scores, examples, task.known(splits)),
        **task.report(answers, examples),
        "timing": timing,
        "memory": memory,
        "versions": runtime.versions(),
        "device": runtime.device(),
        "data_report": splits.report,
        "forgetting": forgetting.measure(config, model, outcome.trainable, examples["validation"].encoded),
    }
    _draw(config, task, workdir, examples["test"], answers["test"], result)
    if can_export(config.peft.method):
        export(config, model, outcome.trainable, workdir)
    write_json(workdir.result, result)
    return result


def timing(position: Position, first_step: float | None) -> dict[str, float | None]:
    """The seconds of a run, and what it did in them."""
    seconds = position.train_seconds if position.step else None
    return {
        "time_to_first_step_s": first_step,
        "compile_s": position.compile_seconds,
        "train_s": position.train_seconds,
        "eval_s": position.eval_seconds,
        "examples_per_s": position.examples / seconds if seconds else None,
        "tokens_per_s": position.tokens / seconds if seconds else None,
    }


def _test(
    logits: Mapping[str, np.ndarray], task: Task, examples: Mapping[str, Examples], workdir: Workdir
) -> tuple[dict[str, Scores], dict[str, Answers]]:
    """Scores and answers of the tested step on validation and test; writes the predictions."""
    scores, answers = {}, {}
    for name in TESTED:
        answers[name] = task.answers(logits[name], examples[name])
        scores[name] = task.scores(answers[name], examples[name])
        write_lines(workdir.predictions(name), task.prediction_rows(answers[name], examples[name].rows))
    return scores, answers


def _identity(
    config: Config, model: system.System, examples: Mapping[str, Examples], buckets: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "name": config.name,
        "task": config.task,
        "method": config.peft.method,
        "model": config.model.ref,
        "model_type": model.model_type,
        "base_sha256": model.base_sha256,
        "quantise": model.quantise,
        "tokenizer_sha256": model.encoder.sha256,
        "labels": list(model.classes),
        "seeds": {source: seed_of(config, source) for source in ("data", "init", "dropout")},
        **model.count(),
        "ignored_tensors": list(model.ignored_tensors),
        "new_tensors": list(model.new_tensors),
        "examples": {name: len(split) for name, split in examples.items()},
        "truncated": {name: split.encoded.truncated for name, split in examples.items()},
        "windows": {name: len(split.encoded) for name, split in examples.items()},
        "words_cut": {name: split.encoded.words_cut for name, split in examples.items()},
        "buckets": list(buckets),
        "pairs": examples["train"].rows.text_pair is not None,
    }


def _outcome(
    outcome: Outcome, task: Task, scores: Mapping[str, Scores], examples: Mapping[str, Examples], known: Rows
) -> dict[str, Any]:
    majority = {name: task.majority(known, examples[name].rows) for name in scores}
    reports = {name: found.report() for name, found in scores.items()}
    by_field = {field: {name: report[field] for name, report in reports.items()} for field in reports["test"]}
    return {
        "steps": outcome.position.step,
        "flops": outcome.position.flops,
        "best_step": outcome.position.best_step,
        "tested_step": outcome.tested_step,
        "select_metric": task.select_metric,
        "stopped": outcome.position.stopped,
        **by_field,
        "few_clusters": any(by_field["few_clusters"].values()),
        "majority": majority,
    }


def _draw(
    config: Config, task: Task, workdir: Workdir, test: Examples, answers: Answers, result: Mapping[str, Any]
) -> None:
    workdir.plots.mkdir(exist_ok=True)
    if records := workdir.read_metrics():  # none where no step was taken
        plots.learning_curve(records, workdir.plots / "learning_curve.png", metric=task.select_metric)
    for name, arguments in task.pictures(answers, test, result).items():
        plots.PICTURES[name](*arguments, workdir.plots / f"{name}_test.png", f"{config.name}, test")
