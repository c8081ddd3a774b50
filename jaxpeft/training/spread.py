"""What a population leaves beside its members: their scores side by side, and how far they lie apart by chance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxpeft import population
from jaxpeft.config import Config

KEPT = ("steps", "best_step", "tested_step", "stopped")


def spread(config: Config, results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The result of a population, of the results of those members, by their names, that came to an end.

    `members`: name, workdir and values of each with its steps and `metrics.{split}.{name}`, None where it diverged.
    `spread`: for each combination of values other than seeds and draws, the mean and the standard deviation (of the
    sample, n - 1) of each metric over its members, and of how many it is.
    """
    runs = population.runs(config)
    members = [
        {"name": run.name, "workdir": f"members/{run.name}", "values": run.values, **_summary(results.get(run.name))}
        for run in runs
    ]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for member in members:
        fixed = {axis: value for axis, value in member["values"].items() if axis not in population.RANDOM}
        groups.setdefault(tuple(fixed.items()), []).append(member)
    any_one = next(iter(results.values()))
    return {
        "name": config.name,
        **{name: any_one[name] for name in ("task", "method", "model", "base_sha256", "labels", "select_metric")},
        "members": members,
        "spread": [{"values": dict(values), **_spread_of(group)} for values, group in groups.items()],
    }


def _summary(result: Mapping[str, Any] | None) -> dict[str, Any]:
    if result is None:
        return dict.fromkeys((*KEPT, "metrics")) | {"stopped": "diverged"}
    values = {
        split: {name: score["value"] for name, score in scores.items()} for split, scores in result["metrics"].items()
    }
    return {name: result[name] for name in KEPT} | {"metrics": values}


def _spread_of(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    finished = [member["metrics"] for member in group if member["metrics"] is not None]
    metrics = {
        split: {name: _moments([one[split][name] for one in finished]) for name in values}
        for split, values in (finished[0] if finished else {}).items()
    }
    return {"members": len(group), "finished": len(finished), "metrics": metrics}


def _moments(values: Sequence[float | None]) -> dict[str, float | int | None]:
    """Mean and standard deviation of those that are defined, and how many those are."""
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "runs": len(known),
    }
