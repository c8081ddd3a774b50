"""The process that trains: it reads one run a line from its parent, and answers each with one line.

It ends when its parent does. What a run prints goes to the run's log.
"""

import time

STARTED = time.time()  # before the slow imports: a cold start is measured from here

import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import queue  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from absl import logging  # noqa: E402

from jaxpeft.runtime import keep_freed_memory  # noqa: E402

KILL_ME_FIRST = "500"  # of -1000 to 1000: where memory runs out the study's own process should stay


def main(answers: int) -> None:
    """Serves runs until standard input ends; `answers` is the file descriptor to answer on."""
    volunteer()
    logging.set_verbosity(logging.ERROR)  # jax and orbax tell of every backend and save
    jobs: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read_jobs, args=(jobs,), daemon=True).start()
    started = STARTED
    with os.fdopen(answers, "w", encoding="utf-8") as channel:
        while True:
            job = jobs.get()
            _print_to(Path(job["folder"], "logs", f"{job['id']}.log"))
            answer = _run(job, started)
            channel.write(json.dumps(answer) + "\n")
            channel.flush()
            started = time.time()


def _read_jobs(jobs: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    os._exit(0)  # the parent has closed its end or is dead: whatever runs goes on from its checkpoint next time


def volunteer() -> None:
    """Lets the system end this process, and not its parent, where memory runs out."""
    with contextlib.suppress(OSError):  # not Linux
        Path("/proc/self/oom_score_adj").write_text(KILL_ME_FIRST, encoding="ascii")


def _print_to(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _run(job: dict[str, Any], started: float) -> dict[str, Any]:
    """`status` is done, held (by another process) or failed; a failure has its `error` and `kind`."""
    from jaxpeft.study.store import lock

    folder = Path(job["folder"])
    try:
        with contextlib.ExitStack() as locks:
            if not all(locks.enter_context(lock(folder, id)) for id in job.get("together", [job["id"]])):
                return {"status": "held"}
            _train(job, folder, started)
        return {"status": "done"}
    except Exception as error:
        kind, message = told(error)
        print(f"{kind}: {message}", *traceback.format_tb(error.__traceback__), sep="\n", file=sys.stderr)
        return {"status": "failed", "kind": kind, "error": message}


def _train(job: dict[str, Any], folder: Path, started: float) -> None:
    """Trains the job's run, or its group."""
    from jaxpeft import population
    from jaxpeft.config import from_dict
    from jaxpeft.study import together
    from jaxpeft.study.store import follow_places
    from jaxpeft.training.run import train
    from jaxpeft.training.workdir import Workdir

    config, ids = from_dict(job["config"]), job.get("together")
    if ids is None:
        workdir = Workdir(folder / "runs" / job["id"])
        follow_places(workdir, config)
        train(config, workdir, started=started)
        return
    workdir = together.workdir_of(ids, folder)
    if not workdir.result.exists():  # else all that is left to do are links
        follow_places(workdir, config)
        for member in population.runs(config):
            follow_places(Workdir(workdir.members / member.name), member.config)
        train(config, workdir, started=started)
    together.link_members(config, ids, folder)


def told(error: Exception) -> tuple[str, str]:
    """The kind of an error, and a message without a word of any note."""
    from jaxpeft.command_line import DISK_FULL, OUT_OF_MEMORY, is_disk_full, is_out_of_memory
    from jaxpeft.errors import DISK_ERRORS, InputError

    if isinstance(error, InputError):
        return "input", str(error)
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        return "input", f"{error.filename or 'a file'}: {error.strerror}"
    if is_disk_full(error):
        return "input", DISK_FULL
    if is_out_of_memory(error):
        return "memory", OUT_OF_MEMORY
    # Anybody's message may quote what it could not read, so of others only the type and the place are told.
    place = traceback.extract_tb(error.__traceback__)[-1]
    return "fault", f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


if __name__ == "__main__":
    keep_freed_memory()
    main(int(sys.argv[1]))
