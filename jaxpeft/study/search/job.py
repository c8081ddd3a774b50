"""A process that runs trials, one after the other, until there is none left. It ends when its parent does."""

import contextlib
import json
import os
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import logging
from optuna.trial import Trial

from jaxpeft.errors import InputError
from jaxpeft.runtime import keep_freed_memory
from jaxpeft.study import store
from jaxpeft.study.planned import digest
from jaxpeft.study.runner import placed
from jaxpeft.study.search.design import Search, load_search
from jaxpeft.study.search.systems import System, systems_of
from jaxpeft.study.search.trials import Trials, open_storage
from jaxpeft.study.worker import told, volunteer
from jaxpeft.training.position import DivergenceError, Position
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir

SECONDS_BETWEEN_LOOKS = 2.0  # at trials that other processes run
BAD_INPUT = 2  # exit code; what is wrong is told to the parent
SEARCHED = "searched"  # why a trial ends that has come to its own end
PRUNED = "pruned"


def main(job: Mapping[str, Any], answers: int) -> None:
    """Works for a parent; `answers` is the file descriptor for what the user has to mend, as JSON."""
    volunteer()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.set_verbosity(logging.ERROR)  # jax and orbax tell of every backend and save
    try:
        file = Path(job["config"])
        search = load_search(file, job["trials"])
        systems = systems_of(search, file.absolute().parent, job["corpora"])
        work(search, systems, Path(job["folder"]), begun=job["begun"])
    except (InputError, OSError) as error:
        kind, message = told(error)
        if kind != "input":
            raise
        problems = error.problems if isinstance(error, InputError) else [message]
        os.write(answers, json.dumps(problems).encode())
        sys.exit(BAD_INPUT)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)  # what runs is taken up by the next start


def work(search: Search, systems: Sequence[System], folder: Path, *, begun: float) -> None:
    """Runs trials until no system has one to give and no other process runs one that might die.

    `begun` is when the search was started. Raises InputError where a trial cannot run for what the user has to mend.
    """
    storage = open_storage(folder)
    of_systems = [Trials(search, system, folder, storage, begun=begun) for system in systems]
    while True:
        took = any(_run_next(trials, folder) for trials in of_systems)
        if not took and not any(trials.is_open() for trials in of_systems):
            return
        if not took:
            time.sleep(SECONDS_BETWEEN_LOOKS)


def _run_next(trials: Trials, folder: Path) -> bool:
    """Runs the next trial of a system, if it has one."""
    with contextlib.ExitStack() as held:
        trial = trials.take(held)
        if trial is not None:
            _run(trials, trial, folder)
        return trial is not None


def _run(trials: Trials, trial: Trial, folder: Path) -> None:
    """Runs a trial and tells of its end. Raises InputError where it is the user's to mend."""
    folder_name = digest(trial.params)
    print(f"{trials.system.name}: trial {trial.number}, {trial.params}", flush=True)
    with store.lock(folder, f"{trials.system.name}.{folder_name}", wait=True):
        workdir = Workdir(folder / "trials" / trials.system.name / folder_name)
        if (twin := trials.twin_of(trial)) is not None and twin.value is not None:
            trials.complete(trial, twin.value)
            return
        try:
            value = _value(trials.system, trial, workdir, folder)
        except DivergenceError:
            trial.set_user_attr("diverged", True)
            value = None
        except Exception as error:
            _fail(trials, trial, error)
            return
        if value is None:
            trials.prune(trial)
        else:
            trials.complete(trial, value)
        for rest in (workdir.checkpoints, workdir.root / "data"):
            shutil.rmtree(rest, ignore_errors=True)


def _fail(trials: Trials, trial: Trial, error: Exception) -> None:
    """Records a failure. Raises it again where the user has to mend it: the next trial would fail alike."""
    kind, message = told(error)
    print(f"{kind}: {message}", *traceback.format_tb(error.__traceback__), sep="\n", file=sys.stderr)
    trials.fail(trial, f"{kind}: {message}")
    if kind == "input":
        raise InputError(*error.problems) if isinstance(error, InputError) else InputError(message)


def _value(system: System, trial: Trial, workdir: Workdir, folder: Path) -> float | None:
    """Trains; returns the validation score of the step that would be tested, None if the trial was pruned."""
    config = placed(system.configured(trial.params), folder)
    store.follow_places(workdir, config)
    watch = _Watch(trial, system.metric, workdir)
    position = train(config, workdir, started=time.time(), on_evaluation=watch)
    watch.report()  # of a trial that was over when its process died
    if position.get("stopped") == PRUNED:
        return None
    value = position.get("best_value") if config.train.test_on == "best" else watch.last
    if value is None:
        raise InputError(f"validation {system.metric} is undefined at every step that counts: choose another score")
    return float(value)


class _Watch:
    """Reports a trial's validation scores, by the number of the evaluation, and ends it where it is no good.

    It always ends it before the test: of the test split a trial knows nothing.
    """

    def __init__(self, trial: Trial, metric: str, workdir: Workdir):
        self._trial, self._metric, self._workdir = trial, metric, workdir
        self._reported = 0
        self.last: float | None = None  # score

    def __call__(self, position: Position, values: Mapping[str, float | None]) -> str | None:
        self.report()
        if position.stopped is not None:
            return SEARCHED
        return PRUNED if self._trial.should_prune() else None

    def report(self) -> None:
        """Reports what is new, and what the trial had before its process died."""
        evaluated = [record["validation"] for record in self._workdir.read_metrics() if "validation" in record]
        for number, scores in enumerate(evaluated[self._reported :], start=self._reported + 1):
            self.last = scores[self._metric]
            if self.last is not None:
                self._trial.report(self.last, number)
            self._reported = number


if __name__ == "__main__":
    keep_freed_memory()
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
