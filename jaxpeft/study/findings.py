"""What a study found: the systems of each task beside one another, and each method against the reference."""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxpeft.study import names
from jaxpeft.study.costs import Cost, mean_cost, mean_of, ratio
from jaxpeft.study.evidence import sample
from jaxpeft.study.statistics import Estimate, Sample, best_of, estimate
from jaxpeft.study.store import Run
from jaxpeft.study.systems import Axis, Cell, System, Task, model_of, tasks_of, test_scores
from jaxpeft.tasks.clusters import FEW_CLUSTERS

LEVEL = 0.05
_T = TypeVar("_T")
Variant = tuple[str, tuple[tuple[str, Axis], ...]]  # a method and its settings


@dataclasses.dataclass(frozen=True)
class Row:
    """One system on one task."""

    cell: Cell
    sample: Sample
    score: Estimate
    cost: Cost  # mean over the seeds
    lead: float | None  # p-value of the highest score's lead over this one; None for the highest and where untested
    best: bool  # ahead of every other system of the task, each by a paired test
    open: bool  # by the paired test it may be as good as the highest

    @property
    def system(self) -> System:
        """The model, the method and its settings."""
        return self.cell.system


@dataclasses.dataclass(frozen=True)
class Point:
    """One value of a sweep for one model and method."""

    value: float
    cell: Cell
    score: Estimate


@dataclasses.dataclass(frozen=True)
class TaskFindings:
    """The systems of one task, the highest score first, and what is reached without a model."""

    task: Task
    rows: list[Row]
    curves: dict[str, list[Point]]  # sweep -> its points, by model, method and value
    majority: float | None
    few_clusters: bool
    clusters: int | None  # patients, documents or rows of the test split


@dataclasses.dataclass(frozen=True)
class MethodFindings:
    """A method against the reference method, over the models and tasks that have both."""

    title: str
    difference: Estimate  # mean over the pairs, of each task's own score
    better: int  # pairs in which a paired test says so
    worse: int
    pairs: int
    trained: float | None  # of the reference's, means over the pairs
    seconds: float | None
    flops: float | None
    storage_bytes: float | None


@dataclasses.dataclass(frozen=True)
class Findings:
    """All of it; `reference` is None where no two methods were run on one model and task."""

    runs: list[Run]
    tasks: list[TaskFindings]
    reference: str | None
    methods: list[MethodFindings]

    @property
    def averaged_tasks(self) -> list[TaskFindings]:
        """Those that averages are over."""
        return averaged(self.tasks)

    @property
    def finished(self) -> list[Run]:
        """The runs with a result."""
        return [run for run in self.runs if run.result]

    @property
    def failed(self) -> list[Run]:
        """The runs with an error and no result."""
        return [run for run in self.runs if run.error and not run.result]

    @property
    def models(self) -> list[str]:
        """The bases of the finished runs."""
        return list(dict.fromkeys(model_of(run) for run in self.finished))

    @property
    def seeds(self) -> tuple[int, int]:
        """The fewest and the most seeds of a system; zeros where there is none."""
        counts = [row.sample.seeds for found in self.tasks for row in found.rows]
        return (min(counts), max(counts)) if counts else (0, 0)


def findings_of(
    runs: list[Run], kept: Path, experiments: Iterable[Iterable[str]], prices: Mapping[str, float]
) -> Findings:
    """Scores, intervals, tests and costs of a study's runs; draws are kept in the folder `kept`.

    `experiments` are ids of runs each, as `tasks_of` has them; `prices` are money an hour by device.
    """
    tasks = [_task_findings(task, kept, prices) for task in tasks_of(runs, experiments)]
    reference = _reference(tasks)
    return Findings(runs, tasks, reference, _methods(tasks, reference) if reference else [])


def _task_findings(task: Task, kept: Path, prices: Mapping[str, float]) -> TaskFindings:
    samples = [sample(cell.runs, task.metric, kept) for cell in task.cells]
    best, leads = best_of(samples) if samples else (0, [])
    alone = len(samples) > 1 and all(p is not None and p < LEVEL for place, p in enumerate(leads) if place != best)
    rows = [
        Row(
            cell=cell,
            sample=one,
            score=estimate((1.0, one)),
            cost=mean_cost(cell.runs, prices),
            lead=lead,
            best=alone and place == best,
            open=len(samples) > 1 and not alone and (place == best or lead is None or lead >= LEVEL),
        )
        for place, (cell, one, lead) in enumerate(zip(task.cells, samples, leads, strict=True))
    ]
    curves = {
        axis: [Point(value, cell, estimate((1.0, sample(cell.runs, task.metric, kept)))) for value, cell in points]
        for axis, points in task.sweeps.items()
    }
    swept = [cell for points in task.sweeps.values() for _, cell in points]
    runs = [run.result or {} for cell in task.cells or swept for run in cell.runs]  # a sweep may train on less
    majorities = [score for one in runs if (score := _majority(one, task.metric)) is not None]
    clusters = [count for one in runs if (count := (one.get("clusters") or {}).get("test"))]
    return TaskFindings(
        task=task,
        rows=sorted(rows, key=lambda row: -row.score.value),
        curves=curves,
        majority=mean_of(majorities),
        few_clusters=min(clusters) < FEW_CLUSTERS if clusters else any(one.get("few_clusters") for one in runs),
        clusters=min(clusters) if clusters else None,
    )


def _majority(result: dict, metric: str) -> float | None:
    score = ((result.get("majority") or {}).get("test") or {}).get(metric)
    return float(score) if isinstance(score, int | float) else None


def _reference(tasks: Sequence[TaskFindings]) -> str | None:
    """Full fine-tuning where it was run beside another method, else what trains most; None without a pair."""
    sizes: dict[str, float] = {}
    for found in tasks:
        for row in found.rows:
            others = [other.system for other in found.rows if other.system.model == row.system.model]
            if any(other.method != row.system.method for other in others):
                size = sizes.get(row.system.method, 0.0)
                sizes[row.system.method] = max(size, row.cost.trained or 0.0)
    if len(sizes) < 2:
        return None
    return "full" if "full" in sizes else max(sizes, key=lambda name: sizes[name])


def _methods(tasks: Sequence[TaskFindings], reference: str) -> list[MethodFindings]:
    """Every other method and setting against the reference, the best first."""
    tasks = averaged(tasks)
    chosen = reference_settings(tasks, reference)
    pairs: dict[Variant, list[tuple[Row, Row]]] = {}
    for found in tasks:
        references = {_side(row): row for row in found.rows if row.system in chosen}
        for row in found.rows:
            against = references.get(_side(row)) or references.get((row.system.model, None))
            if against is not None and row.system.method != reference:
                pairs.setdefault((row.system.method, row.system.settings), []).append((row, against))
    return sorted((_against(two) for two in pairs.values()), key=lambda one: -one.difference.value)


def averaged(tasks: Sequence[TaskFindings]) -> list[TaskFindings]:
    """Of a task under both protocols the fixed one alone, as both are tested on the same patients; all others."""
    fixed = {one.task.name for one in tasks if one.task.protocol == "fixed"}
    return [one for one in tasks if one.task.protocol == "fixed" or one.task.name not in fixed]


def of_the_same_systems(tasks: Sequence[_T], systems_of: Callable[[_T], frozenset[Any]]) -> list[_T]:
    """The tasks that have the most systems, all the same ones: where sets of them differ, the most frequent."""
    sets = [systems_of(one) for one in tasks]
    most = max(map(len, sets), default=0)
    counts = collections.Counter(one for one in sets if len(one) == most > 0)
    chosen = [one for one, _ in counts.most_common(1)]
    return [one for one, systems in zip(tasks, sets, strict=True) if systems in chosen]


def reference_settings(tasks: Sequence[TaskFindings], reference: str) -> dict[System, int]:
    """The systems of the reference method to compare with, one a model (and experiment), and of how many it is one.

    Of several settings that is the one that most tasks have, and of those the best by validation: chosen by test
    scores, it would have chance on its side.
    """
    by_side: dict[tuple[str, Axis], dict[System, list[float]]] = {}
    for found in tasks:
        for row in found.rows:
            if row.system.method == reference:
                score = _validation(row, found.task.metric)
                by_side.setdefault(_side(row), {}).setdefault(row.system, []).append(score)
    return {
        max(systems, key=lambda one: (len(systems[one]), mean_of(systems[one]) or 0.0)): len(systems)
        for systems in by_side.values()
    }


def _validation(row: Row, metric: str) -> float:
    scores = [((run.result or {}).get("metrics") or {}).get("validation") or {} for run in row.cell.runs]
    return mean_of([(one.get(metric) or {}).get("value") or 0.0 for one in scores]) or 0.0


def _side(row: Row) -> tuple[str, Axis]:
    """The model and, where experiments differ in more than axes, the experiment: what is compared has both alike."""
    return row.system.model, dict(row.system.settings).get("experiment")


def _against(pairs: Sequence[tuple[Row, Row]]) -> MethodFindings:
    weight = 1.0 / len(pairs)
    terms = [term for ours, theirs in pairs for term in ((weight, ours.sample), (-weight, theirs.sample))]
    single = [estimate((1.0, ours.sample), (-1.0, theirs.sample)) for ours, theirs in pairs]
    sure = [one.value for one in single if one.p is not None and one.p < LEVEL]
    costs = [(ours.cost, theirs.cost) for ours, theirs in pairs]
    return MethodFindings(
        title=pairs[0][0].system.method_title,
        difference=estimate(*terms),
        better=sum(value > 0 for value in sure),
        worse=sum(value < 0 for value in sure),
        pairs=len(pairs),
        trained=_mean_ratio([(ours.trained, theirs.trained) for ours, theirs in costs]),
        seconds=_mean_ratio([(ours.seconds, theirs.seconds) for ours, theirs in costs]),
        flops=_mean_ratio([(ours.flops, theirs.flops) for ours, theirs in costs]),
        storage_bytes=_mean_ratio([(ours.storage_bytes, theirs.storage_bytes) for ours, theirs in costs]),
    )


def _mean_ratio(pairs: Sequence[tuple[float | None, float | None]]) -> float | None:
    return mean_of([found for one in pairs if (found := ratio(*one)) is not None])


def other_scores(row: Row) -> dict[str, float]:
    """The mean of every score that all runs of a system have."""
    scores = [test_scores(run) for run in row.cell.runs]
    shared = [name for name in scores[0] if all(name in one for one in scores)] if scores else []
    return {name: sum(one[name]["value"] for one in scores) / len(scores) for name in shared}


def reference_title(found: Findings) -> str:
    """`full fine-tuning`, as it stands in a sentence."""
    title = names.method(found.reference or "")
    return title if title[:2].isupper() or title[1:2].isupper() else title[:1].lower() + title[1:]
