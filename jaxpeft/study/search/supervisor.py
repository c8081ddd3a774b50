"""Keeps the processes of a search going: what kills one of them fails a trial, and another process takes its place."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.study.runner import LOGGED
from jaxpeft.study.search.job import BAD_INPUT

JOB = (sys.executable, "-m", "jaxpeft.study.search.job")
SECONDS_BETWEEN_LOOKS = 0.5


class Supervisor:
    """The processes that run the trials of one start."""

    def __init__(self, job: Mapping[str, Any], log: Path, *, restarts: int):
        """`job` is what each process is told; `restarts` bounds how many may be killed before the search gives up."""
        self._job, self._log, self._restarts = json.dumps(job), log, restarts

    def run(self, count: int, look: Callable[[], None]) -> None:
        """Runs `count` processes until each has ended by itself; `look` is called now and then.

        Raises InputError for what the user has to mend, ChildProcessError where processes go on dying.
        """
        with contextlib.ExitStack() as started:
            jobs = [started.enter_context(_Job(self._job, self._log)) for _ in range(count)]
            while jobs:
                time.sleep(SECONDS_BETWEEN_LOOKS)
                look()
                for job in [job for job in jobs if job.exit_code() is not None]:
                    jobs.remove(job)
                    if self._is_to_replace(job):
                        jobs.append(started.enter_context(_Job(self._job, self._log)))
            look()

    def _is_to_replace(self, job: "_Job") -> bool:
        code = job.exit_code()
        if code == BAD_INPUT:
            raise InputError(*job.problems())
        if code == 0:
            return False
        self._restarts -= 1
        if (code or 0) > 0 or self._restarts < 0:
            raise ChildProcessError(f"a process of the search ended with exit code {code}; {self._log} says more")
        return True


class _Job:
    """One process; it ends with the block that it is entered in, or with its parent, whatever ends that."""

    def __init__(self, job: str, log: Path):
        log.parent.mkdir(parents=True, exist_ok=True)
        self._answers, write = os.pipe()
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*JOB, job, str(write)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                pass_fds=[write],
                env=os.environ | LOGGED,
            )
        os.close(write)

    def __enter__(self) -> "_Job":
        return self

    def __exit__(self, *error: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        os.close(self._answers)

    def exit_code(self) -> int | None:
        """None while it runs, negative where a signal ended it."""
        return self._process.poll()

    def problems(self) -> list[str]:
        """What a process that ended with BAD_INPUT has told."""
        problems: list[str] = json.loads(os.read(self._answers, 2**16))
        return problems
