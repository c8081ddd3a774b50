"""Runs a study's runs one after the other, each in a child process: what kills a run does not kill the study."""

import collections
import contextlib
import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxpeft.config import Config, to_json
from jaxpeft.study import random_base, store
from jaxpeft.study.grid import Planned
from jaxpeft.study.progress import Progress

WORKER = (sys.executable, "-m", "jaxpeft.study.worker")
SECONDS_BETWEEN_LOOKS = 5.0  # at runs that another process has
SECONDS_BETWEEN_SIGNS = 1.0  # of life on a terminal


@dataclasses.dataclass
class Outcome:
    """How many runs are finished, by this start and by earlier ones, and how this start's failures were: id -> kind."""

    finished: int
    failed: dict[str, str]

    @property
    def exit_code(self) -> int:
        """0 where no run failed, 2 where all that did are the user's to mend, else 1."""
        if not self.failed:
            return 0
        return 2 if set(self.failed.values()) <= {"input", "memory"} else 1


def shard_of(runs: Sequence[Planned], number: int, of: int) -> list[Planned]:
    """Every `of`-th run, from the `number`-th (from 1): long and short ones spread over all shards."""
    return list(runs[number - 1 :: of])


def run_all(runs: Sequence[Planned], folder: Path, *, fresh_process: bool, progress: Progress) -> Outcome:
    """Runs what is not finished, in order; what another process runs is waited for, and taken over if that dies.

    A failure is recorded and the rest goes on; the next start tries it again, unless another process just has.
    With `fresh_process` every run has a process of its own; else runs on one base follow one another in one.
    """
    begun = time.time()
    failed: dict[str, str] = {}
    waiting = collections.deque(runs)
    held = 0  # in a row
    with _Worker() as worker:
        while waiting:
            run = waiting.popleft()
            if store.is_finished(folder, run.id):
                progress.skip(run)
                held = 0
                continue
            if kind := store.failed_since(folder, run.id, begun):
                failed[run.id] = kind
                progress.skip(run, failed=True)
                continue
            answer = _one(worker, run, folder, fresh_process, progress)
            if answer["status"] == "held":
                waiting.append(run)
                held += 1
                if held >= len(waiting):
                    progress.wait(waiting)
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            held = 0
            if answer["status"] == "failed":
                failed[run.id] = answer["kind"]
                store.record_failure(folder, run, answer["error"], answer["kind"])
            else:
                store.failure_file(folder, run.id).unlink(missing_ok=True)
            progress.end(run, answer)
    return Outcome(sum(store.is_finished(folder, run.id) for run in runs), failed)


def _one(worker: "_Worker", run: Planned, folder: Path, fresh_process: bool, progress: Progress) -> dict[str, Any]:
    with store.lock(folder, run.id) as free:  # given back at once: the worker takes it, and keeps it if we die
        if not free:
            return {"status": "held"}
    log = folder / "logs" / f"{run.id}.log"
    progress.begin(run, log)
    job = {"id": run.id, "folder": str(folder.absolute()), "config": json.loads(to_json(placed(run.config, folder)))}
    if fresh_process or worker.base != run.config.model.ref:
        worker.stop()
    worker.base = run.config.model.ref
    return worker.run(job, log, progress.tick)


def placed(config: Config, folder: Path) -> Config:
    """A run's config, with its random base written into the folder of its study if it has one."""
    ref = config.model.ref
    if not ref.startswith(random_base.PREFIX):
        return config
    base = folder.absolute() / "bases" / ref.removeprefix(random_base.PREFIX)
    with store.lock(folder, "bases", wait=True):
        if not (base / "config.json").exists():
            random_base.write_base(base, ref)
    return dataclasses.replace(config, model=dataclasses.replace(config.model, ref=str(base)))


class _Worker:
    """The child process that trains; started when there is work for it."""

    def __init__(self) -> None:
        self.base: str | None = None  # of its latest run
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def run(self, job: dict[str, Any], log: Path, tick: Any) -> dict[str, Any]:
        """Has it do one run; `tick` is called about every second. Its death is an answer as well."""
        process = self._started(log)
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            return self._died()
        received = b""
        while not received.endswith(b"\n"):
            if not select.select([self._answers], [], [], SECONDS_BETWEEN_SIGNS)[0]:
                tick()
                continue
            part = os.read(self._answers, 2**16)
            if not part:
                return self._died()
            received += part
        return json.loads(received)

    def stop(self) -> None:
        """Ends it, unless it is not running."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        os.close(self._answers)
        self._process.wait()
        self._process = None

    def _started(self, log: Path) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._answers, write = os.pipe()
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as file:
                self._process = subprocess.Popen(
                    [*WORKER, str(write)], stdin=subprocess.PIPE, stdout=file, stderr=file, pass_fds=[write]
                )
            os.close(write)
        return self._process

    def _died(self) -> dict[str, Any]:
        process = self._process
        assert process is not None
        code = process.wait()
        self.stop()
        if code >= 0:
            error = f"the process ended with exit code {code}; its log says more"
        else:
            error = f"the process was killed by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            error += ": often the system's answer to too little memory (smaller train.batch_size or data.max_length)"
        return {"status": "failed", "kind": "crash", "error": error}
