"""A study's folder: what it says of the study, its runs and their failures. The truth of a run is its own workdir.

Its files:
    study.json          the study: question, axes, rules in words, prices, reference, experiments and their runs
    runs/<id>/          one jaxpeft workdir a run; with a result.json it is finished
    failed/<id>.json    id, axes, error, kind, when: of the latest start, gone once the run is finished
    locks/<id>          held by the process that runs it, for as long as that lives
    logs/<id>.log       what the run printed
    together/<hash>/    seeds of one system that train as a population, see `together`: their runs/<id> are links
    bases/              random models that the study asks for
    report/
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.config import MOVABLE, Config, from_dict, leaves, set_leaf, to_json
from jaxpeft.errors import InputError
from jaxpeft.study.design import Choice, Study
from jaxpeft.study.grid import Plan
from jaxpeft.study.planned import Planned
from jaxpeft.training.workdir import Workdir, read_json, write_json, write_text

SHARED = "a process that several runs had one after the other: no figure of this run"
TOGETHER = "a process in which several runs trained together: no figure of this run"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run as a study's folder has it.

    Attributes:
        id: its name in the folder.
        axes: experiment, model, method, task, seed, and what else the study varies; None where it does not apply.
        config: config.json, empty before the run has begun. result: result.json, None before it is finished.
        error: what the latest start failed with, or what is wrong with result.json.
    """

    id: str
    axes: dict[str, str | int | float | None]
    workdir: Path
    config: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None


def runs(folder: Path) -> list[Run]:
    """The runs of a study, finished or not, in the order of its grids; none where there is no readable study.json.

    Runs that no grid has any more are no part of it: they would stand beside those that took their place.
    """
    try:
        study = read_json(folder / "study.json")
    except InputError:
        return []
    return [_run(folder, entry["id"], entry["axes"], study.get("fresh_process", True)) for entry in study["runs"]]


def _run(folder: Path, id: str, axes: dict[str, Any], fresh_process: bool) -> Run:
    workdir = Workdir(folder / "runs" / id)
    result, error = _read(workdir.result)
    if result is not None and (trained_together(result) > 1 or not fresh_process):
        how = SHARED if trained_together(result) == 1 else TOGETHER
        result["memory"] = {**result.get("memory", {}), "peak_bytes": None, "how": how}
    if result is None and error is None:
        error = (_read(failure_file(folder, id))[0] or {}).get("error")
    return Run(
        id=id,
        axes=axes,
        workdir=workdir.root,
        config=_read(workdir.config)[0] or {},
        result=result,
        error=error,
    )


def trained_together(result: Mapping[str, Any]) -> int:
    """How many runs a result's `timing` is of: those that trained in one step, itself among them."""
    return (result.get("timing") or {}).get("members", 1)


def _read(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """A JSON object, None where the file is missing; or what is wrong with it."""
    try:
        return (read_json(path), None) if path.exists() else (None, None)
    except InputError as error:
        return None, str(error)


def is_finished(folder: Path, id: str) -> bool:
    """Whether the run has its result, and one that can be read."""
    return _read(Workdir(folder / "runs" / id).result)[0] is not None


def damage(folder: Path, id: str) -> str | None:
    """What is wrong with the result of a run that has one, and what to do; None where nothing is."""
    workdir = Workdir(folder / "runs" / id)
    error = _read(workdir.result)[1]
    return error and f"{error}; delete {workdir.root}, and the run begins anew"


def failure_file(folder: Path, id: str) -> Path:
    """Where a failure of the run is told."""
    return folder / "failed" / f"{id}.json"


def log_file(folder: Path, id: str) -> Path:
    """Where everything goes that the run prints."""
    return folder / "logs" / f"{id}.log"


def record_failure(folder: Path, run: Planned, error: str, kind: str) -> None:
    """Tells of a failure: `kind` is input, memory, crash or fault. `error` never has text of a note."""
    when = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    record = {"id": run.id, "axes": run.axes, "error": error, "kind": kind, "when": when}
    write_json(failure_file(folder, run.id), record)


def clock(folder: Path) -> float:
    """The time by the clock that dates the folder's files, which may be a file server's and not this machine's."""
    path = folder / "locks" / "clock"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path.stat().st_mtime


def failed_since(folder: Path, id: str, begun: float) -> str | None:
    """The kind of a failure that was recorded after a time of `clock`."""
    path = failure_file(folder, id)
    return read_json(path)["kind"] if path.exists() and path.stat().st_mtime > begun else None


def write_study(folder: Path, study: Study, plan: Plan) -> None:
    """Writes study.json. Raises InputError where the folder is another study's or holds other things.

    A study may have grown since the last start: runs are kept by what they are, and those that no grid has any more
    are left where they lie and out of the report.
    """
    path = folder / "study.json"
    if folder.is_dir() and not path.exists() and not is_new(folder):
        raise InputError(f"--workdir={folder} holds files, but no study.json: name another folder")
    with lock(folder, "study", wait=True):
        if path.exists() and (theirs := read_json(path).get("name")) != study.name:
            raise InputError(f"--workdir={folder} holds the study {theirs!r}, this one is {study.name!r}: name another")
        write_json(path, _described(study, plan))


def is_new(folder: Path) -> bool:
    """Whether a folder holds nothing but what another start makes at this very moment."""
    return all(entry.name == "locks" or entry.suffix == ".partial" for entry in folder.iterdir())


def _described(study: Study, plan: Plan) -> dict[str, Any]:
    axes: dict[str, dict[Any, None]] = {}
    for run in plan.runs:
        for axis, value in run.axes.items():
            axes.setdefault(axis, dict.fromkeys([value])).setdefault(value)
    rules = [*study.rules, *(rule for grid in study.experiments.values() for rule in grid.rules)]
    return {
        "name": study.name,
        "question": study.question,
        "axes": {axis: list(values) for axis, values in axes.items()},
        "choices": _choices(study),
        "rules": [rule.why for rule in rules],
        "prices": dict(study.prices),
        "currency": study.currency,
        "price_source": study.price_source,
        "reference": dict(study.reference),
        "fresh_process": study.fresh_process,
        "experiments": plan.experiments,
        "runs": [{"id": run.id, "axes": run.axes} for run in plan.runs],
    }


def _choices(study: Study) -> dict[str, dict[str, dict[str, Any]]]:
    """Axis -> name -> the fields that it stands for, where they are no function."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for grid in study.experiments.values():
        for axis, values in grid.axes.items():
            for value in values:
                if isinstance(value, Choice):
                    fields = {field: one for field, one in value.fields.items() if not callable(one)}
                    found.setdefault(axis, {})[value.name] = fields
    return found


@contextlib.contextmanager
def lock(folder: Path, name: str, *, wait: bool = False) -> Iterator[bool]:
    """Holds the lock of a run, or of the study; yields whether it is held.

    It is the operating system's, on an open file: it ends with the process, however that ends, so none is ever stale.
    Between machines the file system has to support it (NFS 4, Lustre mounted with flock, GPFS).
    """
    path = folder / "locks" / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be made or opened: {error.strerror}; name another folder") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise InputError(f"{path} cannot be locked ({error.strerror}): put --workdir on another disk") from None
        file.truncate(0)
        file.write(json.dumps({"host": os.uname().nodename, "process": os.getpid()}) + "\n")
        file.flush()
        yield True


def is_free(folder: Path, id: str) -> bool:
    """Whether nobody runs the run at this moment."""
    with lock(folder, id) as free:  # given back at once: the worker takes it, and keeps it if its parent dies
        return free


def follow_places(workdir: Workdir, config: Config) -> None:
    """Lets an unfinished run go on where its data or its base lie elsewhere now: config.json gets the new paths."""
    if workdir.result.exists() or not workdir.config.exists():
        return
    theirs = from_dict(read_json(workdir.config))
    before = to_json(theirs)
    for name in MOVABLE:
        set_leaf(theirs, name, leaves(config)[name])
    if to_json(theirs) != before:
        write_text(workdir.config, to_json(theirs))
