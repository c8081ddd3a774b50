"""A study's folder, read back: its runs in the order of its grid, whatever became of each.

study.json          name, question, and `runs`: a list of {"id", "axes"} in the order of the grid
runs/<id>/          a workdir a run; its result.json means: finished
failed/<id>.json    id, axes, error, kind, when
"""

import dataclasses
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.training.workdir import Workdir, read_json

Axis = str | int | float | None


@dataclasses.dataclass(frozen=True)
class Run:
    """One experiment of a study: finished with a result, failed with an error, or still to do with neither."""

    id: str
    axes: dict[str, Axis]  # model, method, task, seed, and whatever else the grid names
    workdir: Path
    config: dict[str, Any]  # config.json; empty before the run has begun
    result: dict[str, Any] | None  # result.json
    error: str | None


def runs(folder: Path) -> list[Run]:
    """Everything that a study's folder holds, in the order of its grid; what the grid does not name comes last.

    A result.json that cannot be read makes a failed run of it, not of the study.
    """
    planned = {entry["id"]: entry.get("axes") or {} for entry in study(folder).get("runs") or []}
    found = sorted(path.name for part in ("runs", "failed") for path in (folder / part).glob("*") if _is_run(path))
    names = dict.fromkeys([*planned, *(name.removesuffix(".json") for name in found)])
    return [_run(folder, name, planned.get(name) or {}) for name in names]


def study(folder: Path) -> dict[str, Any]:
    """What study.json says; nothing where there is none."""
    return _object(folder / "study.json")


def _is_run(path: Path) -> bool:
    return path.suffix == ".json" if path.parent.name == "failed" else path.is_dir()


def _run(folder: Path, name: str, axes: dict[str, Axis]) -> Run:
    workdir = Workdir(folder / "runs" / name)
    failed = _object(folder / "failed" / f"{name}.json")
    error = str(failed.get("error") or "failed without a message") if failed else None
    config, result = _object(workdir.config), None
    if workdir.result.exists():
        try:
            result, error = read_json(workdir.result), None
        except InputError:
            error = "its result.json cannot be read"
    return Run(name, axes or failed.get("axes") or _axes_of(config), workdir.root, config, result, error)


def _axes_of(config: dict[str, Any]) -> dict[str, Axis]:
    """The axes of a workdir that no grid made, from its config."""
    if not config:
        return {}
    model, peft = config.get("model") or {}, config.get("peft") or {}
    return {
        "model": model.get("ref"),
        "method": peft.get("method"),
        "task": config.get("name"),
        "seed": config.get("seed"),
    }


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except InputError:
        return {}
