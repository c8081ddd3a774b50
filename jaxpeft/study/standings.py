"""What each system gives for its cost, beside the study's reference system: skill over relative cost."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxpeft.study.costs import Cost
from jaxpeft.study.efficiency import WEIGHTS, relative_cost, skill
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.statistics import Estimate, estimate
from jaxpeft.study.systems import System, value_of

_UNKNOWN: Mapping[str, str] = {
    "money": "money (no price, in `prices` of the study, for {devices})",
    "memory_bytes": "memory (runs that share a process have no peak of their own)",
    "storage_bytes": "what it adds on disk",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """One system on one task that has the reference; `cost` is over the reference's."""

    task: TaskFindings
    row: Row
    chance: float
    cost: float


@dataclasses.dataclass(frozen=True)
class Standing:
    """One system over all tasks that it shares with the reference: means, of the cost the geometric one.

    Intervals are those of the scores; costs are taken as they were measured.
    """

    system: System
    places: list[Place]
    skill: Estimate
    cost: float
    efficiency: Estimate
    is_reference: bool


@dataclasses.dataclass(frozen=True)
class Standings:
    """All systems whose cost is known, the highest efficiency first, and in sentences what is left out, and why.

    Those that lack a task which the reference has come after the others: theirs is a mean over other tasks.
    """

    systems: list[Standing]
    left_out: list[str]

    @property
    def tasks(self) -> list[TaskFindings]:
        """Those that have the reference."""
        return list({id(one.task): one.task for system in self.systems for one in system.places}.values())


def standings_of(found: Findings, reference: Mapping[str, Any]) -> Standings:
    """The standings of a study; `reference` are the axes of its reference system."""
    if not reference:
        return Standings([], ["The study names no reference system."])
    places: dict[System, list[Place]] = {}
    without: dict[str, list[str]] = {}  # reason -> tasks
    unknown, references = set(), set()
    for one in found.averaged_tasks:
        against = _reference(one, reference)
        if isinstance(against, str):
            without.setdefault(against, []).append(one.task.title)
            continue
        references.add(against.system)
        for row in one.rows:
            cost = relative_cost(row.cost, against.cost)
            if cost is None:
                unknown.add(row.system.title)
            else:
                places.setdefault(row.system, []).append(Place(one, row, one.majority or 0.0, cost))
    left_out = [f"{', '.join(titles)}: {reason}." for reason, titles in without.items()]
    left_out += [f"A cost is unknown of {title}." for title in sorted(unknown)]
    systems = [_standing(system, found, system in references) for system, found in places.items()]
    most = max((len(found) for found in places.values()), default=0)
    if fewer := [one.system.title for one in systems if len(one.places) < most]:
        left_out.append(f"Below the others, since scored on fewer tasks than the reference: {', '.join(fewer)}.")
    systems.sort(key=lambda one: (len(one.places) < most, -one.efficiency.value))
    return Standings(systems, left_out)


def efficiency_at(place: Place) -> Estimate:
    """One system's efficiency on one task."""
    return _over([place], _per_cost)


def skill_at(place: Place) -> Estimate:
    """One system's skill on one task."""
    return _over([place], _one)


def _reference(one: TaskFindings, axes: Mapping[str, Any]) -> Row | str:
    """The reference on a task, or why there is none to compare with."""
    name = ", ".join(f"{axis} {value}" for axis, value in axes.items())
    rows = [row for row in one.rows if all(value_of(run, axis) == axes[axis] for run in row.cell.runs for axis in axes)]
    if not rows:
        return f"no finished run is of the reference system ({name})"
    if len(rows) > 1:
        return f"the reference ({name}) is said of {len(rows)} systems: name more axes"
    if one.majority is None or not 0 <= one.majority < 1 or not all(0 <= row.score.value <= 1 for row in one.rows):
        return "what is reached without a model is unknown"
    if lacking := _lacking(rows[0].cost):
        return f"of the reference system ({name}) is unknown: {', '.join(lacking)}"
    return rows[0]


def _lacking(cost: Cost) -> list[str]:
    devices = ", ".join(cost.devices) or "its device"
    return [_UNKNOWN[name].format(devices=devices) for name in WEIGHTS if not getattr(cost, name)]


def _standing(system: System, places: Sequence[Place], is_reference: bool) -> Standing:
    cost = math.exp(sum(math.log(one.cost) for one in places) / len(places))
    return Standing(system, list(places), _over(places, _one), cost, _over(places, _per_cost), is_reference)


def _over(places: Sequence[Place], weigh: Callable[[Place], float]) -> Estimate:
    """The mean over places of weight times skill. A place below the majority's score counts 0, without an interval."""
    above = [one for one in places if skill(one.row.score.value, one.chance) > 0]
    if not above:
        return Estimate(0.0, None, None, None, min(one.row.score.seeds for one in places))
    weights = [weigh(one) / (1 - one.chance) / len(places) for one in above]
    found = estimate(*((weight, one.row.sample) for weight, one in zip(weights, above, strict=True)))
    floor = sum(weight * one.chance for weight, one in zip(weights, above, strict=True))
    low, high = (None if end is None else max(0.0, end - floor) for end in (found.low, found.high))
    return Estimate(found.value - floor, low, high, None, found.seeds)


def _one(_: Place) -> float:
    return 1.0


def _per_cost(place: Place) -> float:
    return 1.0 / place.cost
