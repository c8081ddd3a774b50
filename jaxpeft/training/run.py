"""The train mode: from a config to a finished workdir."""

import shutil
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft import runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import bucket_lengths
from jaxpeft.data.load import load as load_data
from jaxpeft.data.packing import Packing
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Examples, private_folder
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import Scores
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.tasks.task import Answers, Task
from jaxpeft.training import plots, processes, start, system
from jaxpeft.training.checkpoint import save_best
from jaxpeft.training.evaluation import Evaluator, prepare
from jaxpeft.training.export import can_export, export
from jaxpeft.training.loop import Loop, Outcome, seed_of
from jaxpeft.training.parallel import Placement, placement
from jaxpeft.training.progress import Progress
from jaxpeft.training.report import final_table
from jaxpeft.training.workdir import Workdir, read_json, write_json, write_lines

SPLITS = ("train", "validation", "test")
TESTED = SPLITS[1:]


def train(config: Config, workdir: Workdir, *, started: float) -> dict[str, Any]:
    """Runs one experiment to its end, or on from where it was; returns (and leaves) the result.

    Of several processes the first alone writes; to the others the result of a run that they end is empty.

    `started` is the time at which the process began, the zero of `time_to_first_step_s`. Raises InputError.
    """
    config, adapter = start.settle(config)
    first = processes.is_first()
    if first:
        workdir.claim(config)
    if result := processes.shared(read_json(workdir.result) if first and workdir.result.exists() else None):
        if first:
            print(f"{workdir.root} is finished:\n{final_table(result)}")
        return result
    memory = runtime.PeakMemory()
    runtime.set_compilation_cache(workdir.root)
    place = placement(config.parallel, (config.train.batch_size, config.train.eval_batch_size), config.mesh)
    folder = workdir.root if first else None
    splits = load_data(config.data, seed_of(config, "data"), folder, config.model.allow_download)
    task = task_of(config, TASKS[config.task].classes_of(splits.labels))
    with place.loading():
        model, origin = start.build(config, task.classes, adapter)
    examples = _prepare(config, splits, model, task, workdir)
    buckets = bucket_lengths(examples["train"].encoded.lengths, config.data.buckets, config.data.max_length)
    _check_alike(model, examples)
    packs = model.prompt_length() if config.data.packing else None
    evaluator = Evaluator(model.graphdef, place, buckets, config.train.eval_batch_size, packs)
    progress = Progress(workdir.tensorboard, silent=not first)
    _announce(config, model, examples, splits, progress)
    progress.say(origin)
    loop = Loop(
        config,
        model,
        task,
        examples["train"],
        examples["validation"],
        buckets=buckets,
        placement=place,
        evaluator=evaluator,
        workdir=workdir,
        progress=progress,
        memory=memory,
        packing=None if packs is None else _packing(config, examples["train"], buckets, packs, place),
    )
    outcome = loop.run()
    logits = _test_logits(outcome, examples, evaluator, loop)
    save_best(workdir.best, outcome.trainable)
    if not first:
        return {}
    scores, answers = _test(logits, task, examples, workdir)
    first_step = None if loop.first_step_at is None else loop.first_step_at - started
    result = {
        **_identity(config, model, examples, buckets),
        **_outcome(outcome, task, scores, examples),
        **task.report(answers, examples),
        "timing": _timing(outcome, first_step),
        "memory": memory.report(),
        "versions": runtime.versions(),
        "device": runtime.device(),
        "data_report": splits.report,
    }
    _draw(config, task, workdir, examples["test"], answers["test"], result)
    if can_export(config.peft.method):
        export(config, model, outcome.trainable, workdir)
    write_json(workdir.result, result)
    shutil.rmtree(workdir.checkpoints, ignore_errors=True)
    print(final_table(result))
    return result


def _prepare(config: Config, splits: Splits, model: system.System, task: Task, workdir: Workdir) -> dict[str, Examples]:
    if not processes.is_first():
        return {name: prepare(getattr(splits, name), model.encoder, task, cache=None) for name in SPLITS}
    named = config.data.cache_dir  # a folder inside it: the user's own keeps the permissions that it has
    cache = Path(named).expanduser() / "tokens" if named else workdir.cache
    private_folder(cache)
    return {name: prepare(getattr(splits, name), model.encoder, task, cache) for name in SPLITS}


def _packing(config: Config, train: Examples, buckets: tuple[int, ...], virtual: int, place: Placement) -> Packing:
    return Packing.of(
        train.encoded.lengths,
        config.train.batch_size,
        count=config.data.buckets,
        longest=buckets[-1],
        virtual=virtual,
        parts=place.parts,
        seed=seed_of(config, "data"),
    )


def _check_alike(model: system.System, examples: Mapping[str, Examples]) -> None:
    """Raises InputError where this process has read another base or other data than the first one has."""
    if not processes.several():
        return
    own: dict[str, Any] = {
        "model.ref": model.base_sha256,
        "tokenizer": model.encoder.sha256,
        "labels": list(model.classes),
    }
    for name, split in examples.items():
        own[f"data ({name})"] = zlib.crc32(split.encoded.ids.tobytes() + split.encoded.starts.tobytes())
    first = processes.shared(own)
    if different := [name for name in own if own[name] != first[name]]:
        raise InputError(
            f"this process finds another {' and '.join(different)} than the first one: every machine needs the same "
            "files under the paths of the config"
        )


def _announce(
    config: Config, model: system.System, examples: Mapping[str, Examples], splits: Splits, progress: Progress
) -> None:
    counts = model.count()
    sizes = ", ".join(f"{name} {len(split)}" for name, split in examples.items())
    cut = examples["train"].encoded.truncated
    held = "" if model.quantise == "none" else f", its layers in {model.quantise}"
    progress.say(f"{config.name}: {config.peft.method} on {config.model.ref}{held}")
    longest = config.data.max_length
    progress.say(f"examples: {sizes}; {len(model.classes)} labels; {cut} training texts cut at {longest} tokens")
    progress.say(f"trains {counts['trainable_params']:,} of {counts['total_params']:,} parameters")
    if model.ignored_tensors:
        progress.say(f"tensors of the checkpoint without use here: {', '.join(model.ignored_tensors)}")
    for name in TESTED:
        if unseen := splits.report[f"unseen_{name}_rows"]:
            progress.say(f"{name}: {unseen} rows have a label that training lacks; each counts as wrong")


def _test_logits(
    outcome: Outcome, examples: Mapping[str, Examples], evaluator: Evaluator, loop: Loop
) -> dict[str, np.ndarray]:
    """Logits of the tested step on validation and test."""
    trainable = loop.placement.replicate(outcome.trainable)
    started, compiled = time.perf_counter(), loop.placement.compile_seconds
    logits = {name: evaluator.logits(trainable, loop.frozen, examples[name]) for name in TESTED}
    compiling = loop.placement.compile_seconds - compiled
    outcome.position.compile_seconds += compiling
    outcome.position.eval_seconds += time.perf_counter() - started - compiling
    return logits


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
    outcome: Outcome, task: Task, scores: Mapping[str, Scores], examples: Mapping[str, Examples]
) -> dict[str, Any]:
    majority = {name: task.majority(examples["train"].rows, examples[name].rows) for name in scores}
    reports = {name: found.report() for name, found in scores.items()}
    by_field = {field: {name: report[field] for name, report in reports.items()} for field in reports["test"]}
    return {
        "steps": outcome.position.step,
        "best_step": outcome.position.best_step,
        "tested_step": outcome.tested_step,
        "select_metric": task.select_metric,
        "stopped": outcome.position.stopped,
        **by_field,
        "few_clusters": any(by_field["few_clusters"].values()),
        "majority": majority,
    }


def _timing(outcome: Outcome, first_step: float | None) -> dict[str, float | None]:
    position = outcome.position
    seconds = position.train_seconds  # 0 in a run without steps
    return {
        "time_to_first_step_s": first_step,
        "compile_s": position.compile_seconds,
        "train_s": position.train_seconds,
        "eval_s": position.eval_seconds,
        "examples_per_s": position.examples / seconds if seconds else None,
        "tokens_per_s": position.tokens / seconds if seconds else None,
    }


def _draw(
    config: Config, task: Task, workdir: Workdir, test: Examples, answers: Answers, result: Mapping[str, Any]
) -> None:
    workdir.plots.mkdir(exist_ok=True)
    if records := workdir.read_metrics():  # none where no step was taken
        plots.learning_curve(records, workdir.plots / "learning_curve.png", metric=task.select_metric)
    for name, arguments in task.pictures(answers, test, result).items():
        plots.PICTURES[name](*arguments, workdir.plots / f"{name}_test.png", f"{config.name}, test")
