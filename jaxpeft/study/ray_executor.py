"""Runs a study's runs as tasks of Ray: on all cores or cards of this machine, or on a cluster.

A task is one run in a child process, as the executor `local` has it, so that a run costs and gives the same; Ray says
where, and tries again when a process dies. The truth stays in the study's folder, which all machines share.
"""

import collections
import contextlib
import dataclasses
import functools
import os
import secrets
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.study import store
from jaxpeft.study.planned import Planned
from jaxpeft.study.progress import Progress
from jaxpeft.study.runner import SECONDS_BETWEEN_LOOKS, Executor, Outcome, Tally, Worker, job_of
from jaxpeft.study.worker import told

SECONDS_TO_CONNECT = 10.0  # Ray itself waits for minutes where nothing answers
SECONDS_OF_GRACE = 10.0  # for the child of a worker that has died to notice, and to give its lock back
OBJECT_STORE = 100 * 2**20  # bytes; Ray's least is 75 MiB, and jobs and answers are small


class WorkerDied(Exception):  # noqa: N818 - what happened, not whose error
    """The process that trains is gone: Ray tries again, from the run's checkpoint."""


@dataclasses.dataclass(frozen=True)
class Share:
    """What a run gets of a machine, and how often it is tried again after its process has died.

    `gpus` None is one where the cluster has any, else none.
    """

    cpus: int = 1
    gpus: int | None = None
    retries: int = 3


def executor(address: str | None = None, share: Share = Share()) -> Executor:
    """The executor `ray`. Raises InputError where Ray is not installed.

    `address` is HOST:PORT of a cluster's head, or `auto` for the one that this machine is in; without it, and without
    RAY_ADDRESS, a Ray of this machine alone is started, which needs no setup and ends with the study.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # as all that follow: read when Ray is imported
    address = address or os.environ.get("RAY_ADDRESS")
    if address is None:
        # Its ports are open to the network, and whoever may speak to one may run what he likes here.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        # Ray's own is 15: whatever else the machine does would slow the runs, and their seconds are a result.
        os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ImportError:
        raise InputError("--executor=ray needs Ray: pip install ray, or leave --executor out") from None
    return functools.partial(_run_all, ray, address, share)


def _run_all(
    ray: Any, address: str | None, share: Share, runs: Sequence[Planned], folder: Path, *, progress: Progress
) -> Outcome:
    """Hands Ray everything that is not finished and free, and looks again at what other processes have."""
    tally = Tally(runs, folder, progress)
    waiting = collections.deque(runs)
    pending: dict[Any, Planned] = {}
    with _connected(ray, address):
        share = _settled(ray, share)
        _say_what_fits(ray, share, address, progress)
        task = _task(ray, share)
        while waiting or pending:
            for run in _taken_out(waiting, tally, folder):
                pending[task.remote(job_of(run, folder), tally.begun, share, Path.cwd())] = run
            if not pending:
                _wait_for_others(waiting, progress)
                continue
            for done in ray.wait(list(pending), timeout=SECONDS_BETWEEN_LOOKS if waiting else None)[0]:
                run, answer = pending.pop(done), _answer(ray, done)
                if answer["status"] == "held":
                    waiting.append(run)
                    continue
                progress.at_once = _at_once(ray, share)
                progress.begin(run, store.log_file(folder, run.id))
                tally.settle(run, answer)
    return tally.outcome()


def _taken_out(waiting: collections.deque[Planned], tally: Tally, folder: Path) -> list[Planned]:
    """Of what waits, the runs that may begin; those that are over are dropped, those that others run stay."""
    free: list[Planned] = []
    for _ in range(len(waiting)):
        run = waiting.popleft()
        if tally.is_over(run):
            continue
        (free if store.is_free(folder, run.id) else waiting).append(run)
    return free


def _wait_for_others(waiting: Collection[Planned], progress: Progress) -> None:
    if waiting:
        progress.wait(waiting)
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _task(ray: Any, share: Share) -> Any:
    return ray.remote(
        num_cpus=share.cpus,
        num_gpus=share.gpus,
        max_retries=share.retries,
        retry_exceptions=[WorkerDied],
        max_calls=0,  # Ray's own process may go on to the next run: each run has a child of its own
    )(_attempt)


def _attempt(job: dict[str, Any], begun: float, share: Share, directory: Path) -> dict[str, Any]:
    """One attempt at a run, on the machine that Ray has chosen; `directory` is the study's own working directory.

    Returns the answer of `worker`, and `seconds`. Raises WorkerDied.
    """
    start = time.monotonic()
    folder, id = Path(job["folder"]), job["id"]
    # Without a card it must see none (Ray hides them no more), and XLA would take a thread for each core there is.
    environment = {} if share.gpus else {"NPROC": str(share.cpus), "CUDA_VISIBLE_DEVICES": ""}
    try:
        if not (folder / "study.json").exists():
            raise InputError(f"{os.uname().nodename} has no {folder}: --workdir has to be on storage that all share")
        if not _becomes_free(folder, id) or store.is_finished(folder, id) or store.failed_since(folder, id, begun):
            return {"status": "held"}  # or over by now: the study looks again
        with Worker(environment, directory) as worker:
            answer = worker.run(job, store.log_file(folder, id), tick=lambda: None)
    except Exception as error:
        kind, message = told(error)
        answer = {"status": "failed", "kind": kind, "error": message}
    if answer.get("kind") == "crash":
        raise WorkerDied(answer["error"])
    return answer | {"seconds": time.monotonic() - start}


def _becomes_free(folder: Path, id: str) -> bool:
    end = time.monotonic() + SECONDS_OF_GRACE
    while not (free := store.is_free(folder, id)) and time.monotonic() < end:
        time.sleep(0.1)
    return free


def _answer(ray: Any, done: Any) -> dict[str, Any]:
    """What a task has returned; or, after its last attempt, what became of it."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, WorkerDied):
            return _failed("crash", f"{error.cause}; tried again in vain")
        return _failed("fault", f"{type(error.cause).__name__} in Ray's worker: is this jaxpeft installed everywhere?")
    except ray.exceptions.RayError as error:
        return _failed("crash", f"Ray lost the machine or the process ({type(error).__name__}); tried again in vain")


def _failed(kind: str, error: str) -> dict[str, Any]:
    return {"status": "failed", "kind": kind, "error": error}


@contextlib.contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            ray.init("local", include_dashboard=False, object_store_memory=OBJECT_STORE, **quiet)
        else:
            _knock(address)
            ray.init(address, **quiet)
    except Exception as error:  # Ray has no class for what keeps it from starting
        reason = (str(error).splitlines() or [""])[0]
        asked = f"--address={address}" if address else "--executor=ray"
        raise InputError(f"{asked}: Ray does not answer or start: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises ConnectionError where nothing listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto`, and whatever else Ray knows
    try:
        socket.create_connection((host.removeprefix("ray://"), int(port)), SECONDS_TO_CONNECT).close()
    except OSError as error:
        raise ConnectionError(error.strerror or "no answer") from None


def _settled(ray: Any, share: Share) -> Share:
    if share.gpus is not None:
        return share
    return dataclasses.replace(share, gpus=int(ray.cluster_resources().get("GPU", 0) >= 1))


def _at_once(ray: Any, share: Share) -> int:
    """How many runs the cluster takes at a time: it may grow and shrink."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    fit = [node.get("CPU", 0) // share.cpus for node in nodes]
    if share.gpus:
        fit = [min(one, node.get("GPU", 0) // share.gpus) for one, node in zip(fit, nodes, strict=True)]
    return int(sum(fit))


def _say_what_fits(ray: Any, share: Share, address: str | None, progress: Progress) -> None:
    """Raises InputError where no run will ever begin."""
    wanted = f"{share.cpus} CPUs and {share.gpus} GPUs"
    fit = _at_once(ray, share)
    if not fit and address is None:
        raise InputError(f"a run wants {wanted}, more than this machine has: change --cpus_per_run or --gpus_per_run")
    progress.say(f"Ray: {wanted} a run, {f'{fit} at a time' if fit else 'and they wait for a machine that has them'}")
