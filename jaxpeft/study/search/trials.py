"""The trials of a system, in the Optuna storage that all processes of a search share.

The storage is one file of JSON lines, appended to under a lock of the operating system: a process that is killed holds
nothing up, and half a line that it left is cut away by the next. A trial is locked by the process that runs it for as
long as that lives, so that one that died is known by its free lock. It counts as failed, and is tried again in its own
folder, from its checkpoint.
"""

import contextlib
import datetime
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, Trial, TrialState

from jaxpeft.study import store
from jaxpeft.study.search.design import Dimension, LogUniform, OneOf, Search
from jaxpeft.study.search.systems import System

STORAGE = "trials.jsonl"
MOST_TRIES = 3  # of a trial whose process dies, within one start of the search
RETRY_OF = "retry_of"  # the number of the trial that this one tries again
ERROR = "error"  # why it failed; a trial that failed without one died
optuna.logging.set_verbosity(optuna.logging.WARNING)


class _FileLock(JournalFileOpenLock):
    """Holds the storage while it is appended to. Optuna's own locks are files, which a kill leaves behind."""

    def __init__(self, path: Path):
        super().__init__(str(path))
        self._path = path
        self._held: list[IO[str]] = []

    def acquire(self) -> bool:
        file = self._path.with_suffix(".lock").open("a", encoding="ascii")
        fcntl.flock(file, fcntl.LOCK_EX)
        self._held.append(file)
        _cut_half_line(self._path)
        return True

    def release(self) -> None:
        self._held.pop().close()


def _cut_half_line(path: Path) -> None:
    """Cuts away what a kill in the middle of an append has left: nobody else can be writing."""
    with path.open("rb+") as file:
        content = b""
        end = position = file.seek(0, os.SEEK_END)
        while position and b"\n" not in content:
            position = max(position - 2**16, 0)
            file.seek(position)
            content = file.read(end - position)
        whole = position + content.rfind(b"\n") + 1
        if whole < end:
            file.truncate(whole)


def open_storage(folder: Path) -> BaseStorage:
    """The storage of a search's folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / STORAGE
    return JournalStorage(JournalFileBackend(str(path), lock_obj=_FileLock(path)))


class Trials:
    """The trials of one system."""

    def __init__(self, search: Search, system: System, folder: Path, storage: BaseStorage, *, begun: float):
        """`begun` is when the search was started, in seconds since the epoch."""
        self.system = system
        self._search, self._folder = search, folder
        self._begun = datetime.datetime.fromtimestamp(begun)  # as Optuna has it: local, without a zone
        self._distributions = {name: _distribution(one) for name, one in system.space.items()}
        self._study = optuna.create_study(
            storage=storage,
            study_name=system.name,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(search.startup, n_warmup_steps=search.prune_from),
            load_if_exists=True,
        )

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Draws the trial of this number: from that and the trials before, whoever ran them."""
        return optuna.samplers.TPESampler(
            seed=self._search.sampler_seed * 100_003 + number,
            n_startup_trials=self._search.startup,
            multivariate=True,
            constant_liar=True,  # of several processes none draws what another is at
        )

    def all(self) -> list[FrozenTrial]:
        """Every trial so far, by number."""
        return self._study.get_trials(deepcopy=False)

    def is_open(self) -> bool:
        """Whether a trial runs or waits, so that there may still be one to try again."""
        return any(not trial.state.is_finished() for trial in self.all())

    def take(self, held: contextlib.ExitStack) -> Trial | None:
        """The next trial to run, whose lock is left to `held`; None where there is none at the moment."""
        with store.lock(self._folder, "search", wait=True):
            trials = self._without_dead(self.all())
            if not any(trial.state is TrialState.WAITING for trial in trials):
                retry = next((trial for trial in trials if self._is_to_retry(trial, trials)), None)
                if retry is not None:
                    self._study.enqueue_trial(retry.params, user_attrs={RETRY_OF: retry.number})
                elif sum(RETRY_OF not in trial.user_attrs for trial in trials) >= self._search.trials:
                    return None
            self._study.sampler = self._sampler(len(trials))
            taken = self._study.ask(self._distributions)
            held.enter_context(store.lock(self._folder, self._lock_of(taken.number), wait=True))
            return taken

    def _lock_of(self, number: int) -> str:
        return f"{self.system.name}.{number}"

    def _without_dead(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """The trials, those whose process has died as failed ones."""
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                with store.lock(self._folder, self._lock_of(trial.number)) as free:
                    if free:
                        self._study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return self.all()

    def _is_to_retry(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
        """What failed in an earlier start, by whatever, or died in this one, unless it has been tried again."""
        if trial.state is not TrialState.FAIL or any(one.user_attrs.get(RETRY_OF) == trial.number for one in trials):
            return False
        if self._is_earlier(trial):
            return True
        tries, one = 1, trial
        while RETRY_OF in one.user_attrs and not self._is_earlier(one):
            tries, one = tries + 1, trials[one.user_attrs[RETRY_OF]]
        return ERROR not in trial.user_attrs and tries < MOST_TRIES

    def _is_earlier(self, trial: FrozenTrial) -> bool:
        return trial.datetime_start is not None and trial.datetime_start < self._begun

    def twin_of(self, trial: Trial) -> FrozenTrial | None:
        """A completed trial with the same values."""
        alike = (one for one in self.all() if one.state is TrialState.COMPLETE and one.params == trial.params)
        return next(alike, None)

    def complete(self, trial: Trial, value: float) -> None:
        """The trial has its score."""
        self._study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        """The trial was no good before its end."""
        self._study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, error: str) -> None:
        """The trial has failed; `error` has no text of a note."""
        trial.set_user_attr(ERROR, error)
        self._study.tell(trial, state=TrialState.FAIL)

    def note(self, name: str, value: Any) -> None:
        """Keeps a fact about the system beside its trials."""
        self._study.set_user_attr(name, value)

    def noted(self, name: str) -> Any:
        """A fact that was kept; None if there is none."""
        return self._study.user_attrs.get(name)

    def best(self) -> FrozenTrial | None:
        """The completed trial with the highest validation score, of several the first; None if none is complete."""
        complete = [
            (trial.value, trial)
            for trial in self.all()
            if trial.state is TrialState.COMPLETE and trial.value is not None
        ]
        return max(complete, key=lambda scored: scored[0])[1] if complete else None


def _distribution(dimension: Dimension) -> BaseDistribution:
    if isinstance(dimension, OneOf):
        return CategoricalDistribution(dimension.values)
    return FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))
