"""Runs a study's runs one after the other, each in a child process: what kills a run does not kill the study.

`run_all` is the executor `local`; `ray_executor` is the other. Both are functions that keep a `Tally` and have each
run done by a `Worker`.
"""

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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxpeft.config import Config, to_json
from jaxpeft.study import random_base, store, together
from jaxpeft.study.planned import Planned
from jaxpeft.study.progress import Progress
from jaxpeft.study.together import Group

LOGGED = {"PYTHONIOENCODING": "utf-8:backslashreplace"}  # what a run prints is for its log, whatever the locale
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


def shard_of(runs: Sequence[Planned], number: int, of: int, *, seeds_together: bool = False) -> list[Planned]:
    """Every `of`-th run, or group of them, from the `number`-th (from 1): long and short spread over all shards."""
    return [run for group in _groups(runs, seeds_together)[number - 1 :: of] for run in group]


def _groups(runs: Sequence[Planned], seeds_together: bool) -> list[Group]:
    return together.groups(runs) if seeds_together else [(run,) for run in runs]


class Executor(Protocol):
    """Runs what is not finished, and returns when all runs are over."""

    def __call__(self, runs: Sequence[Planned], folder: Path, *, progress: Progress) -> Outcome:
        """Tells `progress` of each run."""
        ...


class Tally:
    """What has become of a start's runs, in the folder and for whoever watches."""

    def __init__(self, runs: Sequence[Planned], folder: Path, progress: Progress):
        self.begun = store.clock(folder)
        self._runs, self._folder, self._progress = runs, folder, progress
        self._failed: dict[str, str] = {}

    def is_over(self, run: Planned) -> bool:
        """Whether the run is finished, or cannot begin, or another process has seen it fail since this start.

        Then it is counted.
        """
        if store.is_finished(self._folder, run.id):
            self._progress.skip(run)
            return True
        if problem := run.missing or store.damage(self._folder, run.id):
            store.record_failure(self._folder, run, problem, "input")
        kind = "input" if problem else store.failed_since(self._folder, run.id, self.begun)
        if kind is None:
            return False
        self._failed[run.id] = kind
        self._progress.skip(run, failed=True)
        return True

    def settle(self, run: Planned, answer: Mapping[str, Any]) -> None:
        """Records the answer of a run's worker."""
        if answer["status"] == "failed":
            self._failed[run.id] = answer["kind"]
            store.record_failure(self._folder, run, answer["error"], answer["kind"])
        else:
            store.failure_file(self._folder, run.id).unlink(missing_ok=True)
        self._progress.end(run, answer)

    def outcome(self) -> Outcome:
        """How it went."""
        return Outcome(sum(store.is_finished(self._folder, run.id) for run in self._runs), self._failed)


@dataclasses.dataclass(frozen=True)
class _Job:
    """Runs that are left to do in one go: one, or what is left of a `group` that trains together."""

    runs: Group
    group: Group = ()


def run_all(
    runs: Sequence[Planned], folder: Path, *, fresh_process: bool, progress: Progress, seeds_together: bool = False
) -> Outcome:
    """Runs what is not finished, in order; what another process runs is waited for, and taken over if that dies.

    A failure is recorded and the rest goes on; the next start tries it again, unless another process just has.
    With `fresh_process` every run has a process of its own; else runs on one base follow one another in one. With
    `seeds_together` the groups that `together` makes train as one.
    """
    tally = Tally(runs, folder, progress)
    groups = _groups(runs, seeds_together)
    waiting = collections.deque(job for group in groups for job in _jobs(group, group, tally, folder))
    held = 0  # in a row
    with Worker() as worker:
        while waiting:
            queued = waiting.popleft()
            jobs = _jobs(queued.runs, queued.group, tally, folder)  # others may have finished, or begun, some of it
            if not jobs:
                held = 0
                continue
            job = jobs[0]
            waiting.extendleft(reversed(jobs[1:]))
            began = time.monotonic()
            answer = _one(worker, job, folder, fresh_process, progress)
            if answer["status"] == "held":
                waiting.append(job)
                held += 1
                if held >= len(waiting):
                    progress.wait([run for job in waiting for run in job.runs])
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                continue
            held = 0
            for run in job.runs:
                tally.settle(run, {"seconds": (time.monotonic() - began) / len(job.runs), **_own(answer, run, folder)})
    return tally.outcome()


def _jobs(runs: Group, group: Group, tally: Tally, folder: Path) -> list[_Job]:
    """What is left of some runs of a group: one job where the group trains together, else a job a run."""
    left = tuple(run for run in runs if not tally.is_over(run))
    if left and together.can_begin(left, group, folder):
        return [_Job(left, group)]
    return [_Job((run,)) for run in left]


def _one(worker: "Worker", job: _Job, folder: Path, fresh_process: bool, progress: Progress) -> dict[str, Any]:
    if not all(store.is_free(folder, run.id) for run in job.runs):
        return {"status": "held"}
    first = job.runs[0]
    log = store.log_file(folder, first.id)
    progress.begin(first, log, beside=len(job.runs) - 1)
    if fresh_process or worker.base != first.config.model.ref:
        worker.stop()
    worker.base = first.config.model.ref
    told = _joint_job_of(job.group, folder) if job.group else job_of(first, folder)
    return worker.run(told, log, progress.tick)


def _own(answer: dict[str, Any], run: Planned, folder: Path) -> dict[str, Any]:
    """What a job's answer says of one of its runs."""
    if store.is_finished(folder, run.id):
        return {**answer, "status": "done"}
    if answer["status"] == "failed":
        return answer
    error = "the loss diverged among seeds that trained together; the next start trains this one alone"
    return {"status": "failed", "kind": "input", "error": error}


def job_of(run: Planned, folder: Path) -> dict[str, Any]:
    """What a worker is told of a run; its random base is written if it has one."""
    return {"id": run.id, "folder": str(folder.absolute()), "config": json.loads(to_json(placed(run.config, folder)))}


def _joint_job_of(group: Group, folder: Path) -> dict[str, Any]:
    joint = dataclasses.replace(group[0], config=together.joint(group))
    return {**job_of(joint, folder), "together": [run.id for run in group]}


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


class Worker:
    """The child process that trains; started when there is work for it.

    It has this process's environment, with `environment` on top, and runs in `directory` where there is one.
    """

    def __init__(self, environment: Mapping[str, str] | None = None, directory: Path | None = None) -> None:
        self._environment = environment or {}
        self._directory = directory if directory and directory.is_dir() else None
        self.base: str | None = None  # of its latest run
        self._process: subprocess.Popen[bytes] | None = None
        self._answers = -1

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def run(self, job: dict[str, Any], log: Path, tick: Callable[[], None]) -> dict[str, Any]:
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
                    [*WORKER, str(write)],
                    stdin=subprocess.PIPE,
                    stdout=file,
                    stderr=file,
                    pass_fds=[write],
                    env={**os.environ, **LOGGED, **self._environment},
                    cwd=self._directory,
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
