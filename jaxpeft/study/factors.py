"""What explains the differences: of each experiment that varies two settings or more, the share of each.

An experiment is taken apart task by task, since scores of two tasks have no common scale, by `variance`. That needs a
finished run for every combination of the settings, and as many seeds of each.

LoRA's scale, alpha / rank (or alpha / sqrt(rank)), is no setting of its own: two of rank, alpha and scale fix the
third. Where it differs between runs it is added as a grouping of the combinations, whose share overlaps with those of
rank and alpha and cannot be added to them.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.study import names
from jaxpeft.study.evidence import draws
from jaxpeft.study.findings import Findings
from jaxpeft.study.store import Run
from jaxpeft.study.systems import Task, protocol, task_name, test_scores
from jaxpeft.study.variance import Part, decompose

SCALE = "scale"
INTERACTIONS, SEEDS = "interactions", "seeds"
_SYSTEM = ("model", "method")
_APART = ("experiment", "task", "protocol", "seed")  # what is no factor: scores are compared within these


@dataclasses.dataclass(frozen=True)
class Share:
    """One row: what a factor explains of how the scores of an experiment differ."""

    name: str  # an axis, `interactions`, `seeds` or `scale`
    levels: int | None
    part: Part

    @property
    def title(self) -> str:
        """In words."""
        return names.axis(self.name)


@dataclasses.dataclass(frozen=True)
class Explained:
    """One experiment on one task: shares that add up to all, and those that overlap with them.

    `left_out` says why there are none; `note` what cannot be told apart.
    """

    experiment: str
    task: Task
    runs: int
    seeds: int = 0
    shares: list[Share] = dataclasses.field(default_factory=list)
    overlapping: list[Share] = dataclasses.field(default_factory=list)
    left_out: str = ""
    note: str = ""


def explain(found: Findings, experiments: Mapping[str, Iterable[str]], kept: Path) -> list[Explained]:
    """Every experiment (name -> ids of its runs) on every task that varies two settings or more there.

    Draws of the scores are kept in the folder `kept`.
    """
    explained = []
    for name, ids in experiments.items():
        members = set(ids)
        for one in found.tasks:
            task = one.task
            runs = [run for run in found.runs if run.id in members]
            runs = [run for run in runs if (task_name(run), protocol(run)) == (task.name, task.protocol)]
            scored = [run for run in runs if task.metric in test_scores(run)]
            factors = _varied(runs)  # of all: a level whose runs have failed is missing, and not none
            if scored and len(factors) > 1:
                explained.append(_explain(name, task, scored, factors, kept))
    return explained


def _varied(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """Axis -> its levels, of those that differ; what a model or method brings with it is no factor beside it."""
    axes = dict.fromkeys(axis for run in runs for axis in run.axes if axis not in _APART)
    levels = {axis: list(dict.fromkeys(run.axes.get(axis) for run in runs)) for axis in axes}
    systems: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        systems.setdefault(tuple(run.axes.get(axis) for axis in _SYSTEM), []).append(run)

    def is_factor(axis: str) -> bool:
        groups = [runs] if axis in _SYSTEM else systems.values()
        return any(len({run.axes.get(axis) for run in group}) > 1 for group in groups)

    return {axis: found for axis, found in levels.items() if is_factor(axis)}


def _explain(experiment: str, task: Task, runs: list[Run], factors: dict[str, list[Any]], kept: Path) -> Explained:
    table, reason = _factorial(runs, factors)
    if table is None:
        return Explained(experiment, task, len(runs), left_out=reason)
    scores = np.vectorize(lambda run: float(test_scores(run)[task.metric]["value"]), otypes=[float])(table)
    groups, note = _scales(table)
    parts = decompose(scores, _drawn(table, task.metric, kept), groups)
    if parts is None:
        return Explained(experiment, task, len(runs), left_out="all scores are equal")
    shares = [Share(axis, len(factors[axis]), part) for axis, part in zip(factors, parts.factors, strict=True)]
    if parts.interactions:
        shares.append(Share(INTERACTIONS, None, parts.interactions))
    shares.append(Share(SEEDS if parts.interactions else f"{INTERACTIONS} and {SEEDS}", None, parts.rest))
    overlapping = [Share(SCALE, part.freedom + 1, part) for part in parts.groups]
    return Explained(experiment, task, len(runs), table.shape[-1], shares, overlapping, note=note)


def _factorial(runs: Sequence[Run], factors: Mapping[str, list[Any]]) -> tuple[np.ndarray | None, str]:
    """The runs as an array [L1, L2, ..., seeds]; None, and why, where combinations are missing or unlike."""
    shape = [len(levels) for levels in factors.values()]
    cells: dict[tuple[int, ...], list[Run]] = {}
    for run in runs:
        place = tuple(levels.index(run.axes.get(axis)) for axis, levels in factors.items())
        cells.setdefault(place, []).append(run)
    if nested := [names.axis(axis) for axis in factors if _is_of_some_methods(runs, axis)]:
        return None, f"only some of its methods have {' and '.join(nested)}"
    if missing := math.prod(shape) - len(cells):
        return None, f"{missing} of the {math.prod(shape)} combinations of its settings have no finished run"
    counts = {len(found) for found in cells.values()}
    if len(counts) > 1:
        return None, f"its combinations have from {min(counts)} to {max(counts)} seeds"
    table = np.empty((*shape, counts.pop()), dtype=object)
    for place, found in cells.items():
        table[place] = sorted(found, key=lambda run: str(run.axes.get("seed")))
    return table, ""


def _is_of_some_methods(runs: Sequence[Run], axis: str) -> bool:
    """Whether runs of one method have it, and none of another's."""
    methods = {run.axes.get("method") for run in runs}
    having = {run.axes.get("method") for run in runs if run.axes.get(axis) is not None}
    return 0 < len(having) < len(methods)


def _drawn(table: np.ndarray, metric: str, kept: Path) -> np.ndarray | None:
    """The scores of the runs on resampled patients, in the table's shape; None where a run's are not to be had."""
    found = [draws(run, metric, kept) for run in table.flat]
    known = [one for one in found if one is not None]
    return np.stack(known).reshape(*table.shape, -1) if len(known) == len(found) else None


def _scales(table: np.ndarray) -> tuple[list[np.ndarray], str]:
    """The combinations grouped by LoRA's scale, if that says something of its own; else why not."""
    settings = np.empty(table.shape[:-1], dtype=object)
    for place in np.ndindex(settings.shape):
        settings[place] = _rank_and_scale(table[(*place, 0)])
    if any(one is None for one in settings.flat):
        return [], ""
    ranks, scales = ({one[part] for one in settings.flat} for part in (0, 1))
    if len(scales) == 1:
        return [], ""
    pairs = set(settings.flat)
    if len(pairs) == len(scales) == len(ranks):
        return [], "Each rank has one scale: what the rank does and what the scale does cannot be told apart here."
    if len(pairs) == len(scales):
        return [], ""
    numbers = {scale: number for number, scale in enumerate(sorted(scales))}
    return [np.vectorize(lambda one: numbers[one[1]], otypes=[int])(settings)], (
        "Scale is alpha / rank: two of rank, alpha and scale fix the third, so that its share overlaps with theirs and "
        "is no part of the sum."
    )


def _rank_and_scale(run: Run) -> tuple[int, float] | None:
    """Of a run by LoRA."""
    peft = run.config.get("peft") or {}
    lora = peft.get("lora") or {}
    rank, alpha = lora.get("rank"), lora.get("alpha")
    if peft.get("method") != "lora" or not rank or alpha is None:
        return None
    return rank, round(alpha / (math.sqrt(rank) if lora.get("rslora") else rank), 9)
