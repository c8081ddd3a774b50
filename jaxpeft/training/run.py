"""The train mode: from a config to a finished workdir."""

import dataclasses
import json
import shutil
from collections.abc import Mapping
from typing import Any

from jaxpeft import population, runtime
from jaxpeft.config import MOVABLE, Config, leaves
from jaxpeft.data.batches import bucket_lengths
from jaxpeft.data.load import load as load_data
from jaxpeft.data.packing import Packing
from jaxpeft.data.tokenise import Examples
from jaxpeft.errors import InputError
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.training import finish, processes, start, system
from jaxpeft.training.adapter_folder import Adapter
from jaxpeft.training.checkpoint import save_best
from jaxpeft.training.evaluation import Evaluator
from jaxpeft.training.loop import Loop, seed_of
from jaxpeft.training.parallel import placement
from jaxpeft.training.position import OnEvaluation
from jaxpeft.training.progress import Progress
from jaxpeft.training.report import final_table
from jaxpeft.training.run_population import train_population
from jaxpeft.training.workdir import Workdir, read_json


def train(
    config: Config, workdir: Workdir, *, started: float, on_evaluation: OnEvaluation | None = None
) -> dict[str, Any]:
    """Runs one experiment, or a population, to its end, or on from where it was; returns (and leaves) the result.

    Of several processes the first alone writes; to the others the result of a run that they end is empty.

    `started` is the time at which the process began, the zero of `time_to_first_step_s`. A run that `on_evaluation`
    ends is never tested: it leaves no result, and its position as a dict is returned. Raises InputError.
    """
    config, adapter = start.settle(config)
    if not processes.is_first():
        return _train(config, adapter, workdir, started, on_evaluation)
    with workdir.held():
        workdir.claim(config)  # not before: another process may be about to train here under its own config
        return _train(config, adapter, workdir, started, on_evaluation)


def _train(
    config: Config,
    adapter: Adapter | None,
    workdir: Workdir,
    started: float,
    on_evaluation: OnEvaluation | None,
) -> dict[str, Any]:
    if population.is_one(config):
        if on_evaluation is not None:
            raise InputError("config.population cannot be watched run by run: leave it empty")
        return train_population(config, adapter, workdir, started=started)
    first = processes.is_first()
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
    examples = start.prepare_splits(config, splits, model, task, workdir)
    buckets = bucket_lengths(examples["train"].encoded.lengths, config.data.buckets, config.data.max_length)
    _check_alike(config, model, examples)
    packing = None
    if config.data.packing:
        lengths, size, passes = examples["train"].encoded.lengths, config.train.batch_size, config.train.accumulate
        virtual = model.prompt_length()
        packing = Packing.of(lengths, buckets, size, passes=passes, parts=place.parts, virtual=virtual)
    packs = None if packing is None else packing.virtual
    evaluator = Evaluator(model.graphdef, place, buckets, config.train.eval_batch_size, packs)
    progress = Progress(workdir.tensorboard, silent=not first)
    start.announce(config, model, examples, splits, progress)
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
        packing=packing,
        on_evaluation=on_evaluation,
    )
    outcome = loop.run()
    if outcome.position.called_off:
        progress.say(f"ended at step {outcome.position.step}, untested: {outcome.position.stopped}")
        return dataclasses.asdict(outcome.position)
    logits = finish.tested_logits(loop, outcome, examples)
    save_best(workdir.best, outcome.trainable)
    if not first:
        return {}
    first_step = None if loop.first_step_at is None else loop.first_step_at - started
    timing, used = finish.timing(outcome.position, first_step), memory.report()
    result = finish.write(loop, outcome, logits, examples, splits, timing=timing, memory=used)
    shutil.rmtree(workdir.checkpoints, ignore_errors=True)
    print(final_table(result))
    return result


def _check_alike(config: Config, model: system.System, examples: Mapping[str, Examples]) -> None:
    """Raises InputError where this process has another base, config or data than the first one has."""
    if not processes.several():
        return
    own = _own(config, model, examples)
    first = processes.shared(own)
    if different := [name for name in own if own[name] != first[name]]:
        raise InputError(
            f"this process finds another {' and '.join(different)} than the first one: every machine needs the same "
            "flags and the same files under the paths of the config"
        )


def _own(config: Config, model: system.System, examples: Mapping[str, Examples]) -> dict[str, Any]:
    """What all processes have to have alike, by what it is called."""
    own: dict[str, Any] = {
        "model.ref": model.base_sha256,
        "tokenizer": model.encoder.sha256,
        "labels": list(model.classes),
        "config": json.dumps({name: value for name, value in leaves(config).items() if name not in MOVABLE}),
    }
    for name, split in examples.items():
        own[f"data ({name})"] = split.checksum()
    return own
