"""The train mode of a config with a population: its members' workdirs, and what they say together."""

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import jax

from jaxpeft import population, runtime
from jaxpeft.config import Config
from jaxpeft.data.batches import bucket_lengths
from jaxpeft.data.load import cut, is_drawn, read_corpus
from jaxpeft.data.splits import Splits
from jaxpeft.errors import InputError
from jaxpeft.peft import ranks
from jaxpeft.tasks.registry import TASKS, task_of
from jaxpeft.training import finish, processes, start, system
from jaxpeft.training.adapter_folder import Adapter
from jaxpeft.training.checkpoint import save_best
from jaxpeft.training.evaluation import Evaluator
from jaxpeft.training.loop import seed_of
from jaxpeft.training.parallel import Placement
from jaxpeft.training.population import DIVERGED, Member, Population
from jaxpeft.training.progress import MemberProgress, Progress
from jaxpeft.training.report import population_table
from jaxpeft.training.spread import spread
from jaxpeft.training.system import System
from jaxpeft.training.workdir import Workdir, read_json, write_json


def train_population(config: Config, adapter: Adapter | None, workdir: Workdir, *, started: float) -> dict[str, Any]:
    """Trains all members of a config, leaves their workdirs and the result of all, and returns that.

    `adapter` is that of `peft.init_from`, from which all start; `started` is when the process began. Raises InputError.
    """
    if processes.several():
        raise InputError(f"config.population trains in one process, and there are {jax.process_count()}")
    if workdir.result.exists():
        result = read_json(workdir.result)
        print(f"{workdir.root} is finished:\n{population_table(result)}")
        return result
    memory = runtime.PeakMemory()
    runtime.set_compilation_cache(workdir.root)
    together = _gather(config, adapter, workdir, memory)
    together.run()
    members = [member for member in together.members if member.position.stopped != DIVERGED]
    if not members:
        raise InputError("the loss of every member diverged: lower the learning rates, or set train.clip")
    outcomes = [together.outcome(member) for member in members]
    logits = [
        finish.tested_logits(member, outcome, member.examples)
        for member, outcome in zip(members, outcomes, strict=True)
    ]
    first_step = None if together.first_step_at is None else together.first_step_at - started
    of_all = {"members": len(together.members)}
    figures: dict[str, dict[str, Any]] = {
        "timing": finish.timing(together.position, first_step) | of_all,
        "memory": memory.report() | of_all,
    }
    results = {}
    for member, outcome, found in zip(members, outcomes, logits, strict=True):
        save_best(member.workdir.best, outcome.trainable)
        results[member.name] = finish.write(member, outcome, found, member.examples, member.splits, **figures)
    result = spread(config, results) | figures | {"versions": runtime.versions(), "device": runtime.device()}
    write_json(workdir.result, result)
    shutil.rmtree(workdir.checkpoints, ignore_errors=True)
    print(population_table(result))
    return result


def _gather(config: Config, adapter: Adapter | None, workdir: Workdir, memory: runtime.PeakMemory) -> Population:
    """The members, each at its first step and in its workdir."""
    runs, place, progress = population.runs(config), Placement(), Progress()
    splits = _splits(config, runs, workdir)
    classes = TASKS[config.task].classes_of(splits[0].labels)
    first, origin = start.build(runs[0].config, classes, adapter)
    systems = [first, *(start.build_beside(run.config, classes, adapter, first) for run in runs[1:])]
    members = list(_members(runs, systems, splits, place, workdir, progress, memory))
    start.announce(config, first, members[0].examples, splits[0], progress)
    progress.say(origin)
    progress.say(f"{len(runs)} members train together: {', '.join(run.name for run in runs)}")
    common = _common(config, runs, first)
    return Population(config, members, common, placement=place, workdir=workdir, progress=progress)


def _splits(config: Config, runs: Sequence[population.Run], workdir: Workdir) -> list[Splits]:
    """The splits of each run, one object for all that have the same. Raises InputError where labels differ."""
    corpus = read_corpus(config.data, workdir.root, config.model.allow_download)
    seeds = [seed_of(run.config, "data") for run in runs]
    if not is_drawn(config.data, corpus):
        return [cut(config.data, seeds[0], corpus)] * len(runs)
    cuts = {seed: cut(config.data, seed, corpus) for seed in dict.fromkeys(seeds)}
    for run, seed in zip(runs, seeds, strict=True):
        if cuts[seed].labels != cuts[seeds[0]].labels:
            raise InputError(f"{runs[0].name} and {run.name} drew training rows with different labels: set data.labels")
    return [cuts[seed] for seed in seeds]


def _members(
    runs: Sequence[population.Run],
    systems: Sequence[System],
    splits: Sequence[Splits],
    place: Placement,
    workdir: Workdir,
    progress: Progress,
    memory: runtime.PeakMemory,
) -> Iterator[Member]:
    prepared: dict[int, Any] = {}  # the examples of splits that members share
    evaluators: dict[Any, Evaluator] = {}  # by what is compiled in
    for row, (run, model, own_splits) in enumerate(zip(runs, systems, splits, strict=True)):
        config, task = run.config, task_of(run.config, model.classes)
        if id(own_splits) not in prepared:
            prepared[id(own_splits)] = start.prepare_splits(config, own_splits, model, task, workdir)
        examples = prepared[id(own_splits)]
        buckets = bucket_lengths(examples["train"].encoded.lengths, config.data.buckets, config.data.max_length)
        program = config.peft.lora.rank, config.peft.lora.alpha, buckets
        if program not in evaluators:
            packs = model.prompt_length() if config.data.packing else None
            evaluators[program] = Evaluator(model.graphdef, place, buckets, config.train.eval_batch_size, packs)
        folder = Workdir(workdir.members / run.name)
        folder.claim(config)
        yield Member(
            run.name,
            row,
            config,
            model,
            task,
            examples,
            own_splits,
            buckets=buckets,
            placement=place,
            evaluator=evaluators[program],
            workdir=folder,
            progress=MemberProgress(run.name, progress, folder.tensorboard),
            memory=memory,
        )


def _common(config: Config, runs: Sequence[population.Run], first: System) -> System:
    """The system whose structure the members' joint step has."""
    settings = [run.config.peft for run in runs]
    if not ranks.differ(settings) and config.model.attention == "xla":
        return first
    peft = ranks.common(settings) if ranks.differ(settings) else config.peft
    model = dataclasses.replace(config.model, attention="xla")  # cuDNN's takes no mask of ours under a vmap
    wide = dataclasses.replace(config, peft=peft, model=model)
    return system.build_beside(wide, first.classes, first, new=first.new_tensors)
