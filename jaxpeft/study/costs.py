"""What a system cost: parameters, bytes on disk, seconds of training, memory; means over its runs."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpeft.study.store import Run
from jaxpeft.training.workdir import Workdir

_BYTES = 4  # of a trained parameter: adapters and heads are float32


@dataclasses.dataclass(frozen=True)
class Cost:
    """Means over the runs of a system; None where no run says."""

    trainable: float | None  # parameters, adapter and head
    train_s: float | None  # without compilation and evaluation
    bytes: float | None  # of what a run adds to its base: the adapter with its head, or the whole model
    peak_bytes: float | None  # memory
    devices: tuple[str, ...]  # "cpu x 1"


def cost_of(runs: Sequence[Run]) -> Cost:
    """The mean cost of a system's finished runs."""
    return Cost(
        trainable=_mean(runs, lambda result: result["trainable_params"]),
        train_s=_mean(runs, lambda result: result["timing"]["train_s"]),
        bytes=mean_of([size for run in runs if (size := bytes_of(run)) is not None]),
        peak_bytes=_mean(runs, lambda result: result["memory"]["peak_bytes"]),
        devices=tuple(sorted({device for run in runs if (device := device_of(run))})),
    )


def bytes_of(run: Run) -> float | None:
    """What one more task on this base adds on disk: the run's adapter/ or model/, else four bytes a parameter."""
    workdir = Workdir(run.workdir)
    whole_model = (run.result or {}).get("method") in ("full", "bitfit")
    for folder in (workdir.model, workdir.adapter) if whole_model else (workdir.adapter,):
        if size := _size(folder):
            return float(size)
    trainable = (run.result or {}).get("trainable_params")
    return None if trainable is None else float(_BYTES * trainable)


def device_of(run: Run) -> str | None:
    """`cpu x 1`; None where the result does not say."""
    device = (run.result or {}).get("device") or {}
    return f"{device['kind']} x {device.get('count', 1)}" if device.get("kind") else None


def mean_of(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def ratio(first: float | None, second: float | None) -> float | None:
    """first / second; None where that says nothing."""
    return first / second if first is not None and second else None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _mean(runs: Sequence[Run], read: Callable[[dict[str, Any]], Any]) -> float | None:
    values = []
    for run in runs:
        try:
            value = read(run.result or {})
        except (KeyError, TypeError):  # another version's result
            continue
        if isinstance(value, int | float):
            values.append(float(value))
    return mean_of(values)


def money_of(cost: Cost, prices: Mapping[str, float]) -> float | None:
    """What training cost at the study's prices (an hour, by a part of the device's name); None without a price."""
    hourly = [price for device in cost.devices for name, price in prices.items() if name.lower() in device.lower()]
    if cost.train_s is None or not hourly or len(set(hourly)) > 1:
        return None
    return cost.train_s / 3600 * hourly[0]
