"""What a run cost, and a system on average over its runs: the one place that reads it from results and files."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpeft.study.store import Run, trained_together
from jaxpeft.training.workdir import Workdir

_BYTES = 4  # of a trained parameter: adapters and heads are float32


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run took, or a system's runs on average; None is unknown.

    Attributes:
        seconds: of training, without compilation and evaluation; of runs that trained together a run's part.
        seconds_to_best: as many of them as the steps to the best validation score took.
        money: for these seconds, in the study's currency. memory_bytes: the peak of one device.
        storage_bytes: what a task adds to a base that is there already: adapter and head, or a whole model.
        flops: operations of training, by formula at the padded lengths.
        trained: parameters, head included. trained_without_head, total: parameters as the paper counts them.
        devices: "cpu x 1".
    """

    seconds: float | None = None
    seconds_to_best: float | None = None
    money: float | None = None
    memory_bytes: float | None = None
    storage_bytes: float | None = None
    flops: float | None = None
    trained: float | None = None
    trained_without_head: float | None = None
    total: float | None = None
    devices: tuple[str, ...] = ()


AMOUNTS = tuple(field.name for field in dataclasses.fields(Cost) if field.name != "devices")


def cost_of(run: Run, prices: Mapping[str, float]) -> Cost:
    """What a finished run took, by its result.json and its files; `prices` are money an hour by device."""
    result = run.result or {}
    seconds, steps, best = _number(result, "timing", "train_s"), _number(result, "steps"), _number(result, "best_step")
    if seconds is not None:
        seconds /= trained_together(result)
    price = _price(run, prices)
    return Cost(
        seconds=seconds,
        seconds_to_best=seconds * best / steps if seconds is not None and best is not None and steps else None,
        money=seconds / 3600 * price if seconds is not None and price is not None else None,
        memory_bytes=_number(result, "memory", "peak_bytes"),
        storage_bytes=_storage(run),
        flops=_number(result, "flops"),
        trained=_number(result, "trainable_params"),
        trained_without_head=_number(result, "peft_params"),
        total=_number(result, "total_params"),
        devices=_devices(run),
    )


def mean_cost(runs: Sequence[Run], prices: Mapping[str, float]) -> Cost:
    """The mean of each amount over the runs that tell it."""
    costs = [cost_of(run, prices) for run in runs]
    told = {name: [value for one in costs if (value := getattr(one, name)) is not None] for name in AMOUNTS}
    devices = {device for one in costs for device in one.devices}
    return Cost(**{name: mean_of(values) for name, values in told.items()}, devices=tuple(sorted(devices)))


def price_of(device: str, prices: Mapping[str, float]) -> float | None:
    """Money an hour of a device by the longest key that stands in its name as whole words, whatever the case.

    "a100" is no price of an "RTX A1000". None where no key stands there.
    """
    found = [key for key in prices if re.search(rf"(?<![a-z0-9]){re.escape(key.lower())}(?![a-z0-9])", device.lower())]
    return prices[max(found, key=len)] if found else None


def mean_of(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return sum(values) / len(values) if values else None


def ratio(first: float | None, second: float | None) -> float | None:
    """first / second; None where that says nothing."""
    return first / second if first is not None and second else None


def _price(run: Run, prices: Mapping[str, float]) -> float | None:
    """Money an hour of all devices of a run; a CPU is one, into however many JAX divides it."""
    kind, count = _kind_and_count(run)
    price = price_of(kind, prices) if kind else None
    return price if price is None or kind.lower() == "cpu" else price * count


def _devices(run: Run) -> tuple[str, ...]:
    kind, count = _kind_and_count(run)
    return (f"{kind} x {count}",) if kind else ()


def _kind_and_count(run: Run) -> tuple[str, int]:
    """Of the devices that a run used; by `jit`, as every population, that is one of those that it saw."""
    device = (run.result or {}).get("device") or {}
    return str(device.get("kind") or ""), 1 if run.config.get("parallel") == "jit" else device.get("count", 1)


def _storage(run: Run) -> float | None:
    """Bytes of the run's adapter/, model/ or best/, the first that is there, else four a trained parameter.

    A head alone leaves no model: one beside it was merged later.
    """
    workdir = Workdir(run.workdir)
    only_head = (run.result or {}).get("method") == "head"
    for folder in (workdir.best,) if only_head else (workdir.adapter, workdir.model, workdir.best):
        if size := _size(folder):
            return float(size)
    trained = _number(run.result or {}, "trainable_params")
    return None if trained is None else _BYTES * trained


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _number(result: Mapping[str, Any], *names: str) -> float | None:
    """A number of a result, which may be another version's and lack it."""
    value: Any = result
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return float(value) if isinstance(value, int | float) else None
