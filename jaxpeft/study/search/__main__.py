"""Searches hyper-parameters with Optuna, retrains the best on fresh seeds, and tests only that.

python -m jaxpeft.study.search --config=configs/search/smoke.py --workdir=DIR
python -m jaxpeft.study.search --config=configs/search/paper.py --workdir=DIR --corpus=mimic3=/data/mimic3
python -m jaxpeft.study.search --config=FILE.py --workdir=DIR --trials=40 --jobs=2  # more trials, two at a time
"""

import importlib.util
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from jaxpeft.config import expanded
from jaxpeft.errors import InputError
from jaxpeft.study import store
from jaxpeft.study.entry import corpora, define_common, run
from jaxpeft.study.progress import Progress
from jaxpeft.training.workdir import read_json, write_json

if TYPE_CHECKING:
    from jaxpeft.study.search.design import Search
    from jaxpeft.study.search.trials import Trials

NOTHING_FOUND = 1  # exit code: no trial of some system came to its end, or the processes that run trials did not


def main(argv: Sequence[str]) -> None:
    """Runs a search; every user error becomes one message and exit code 2."""
    run(argv, _define_flags(), __doc__, _search)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "The search: a Python file with get_search().", flag_values=values)
    flags.DEFINE_string("workdir", None, "Folder of the search; searches/<name> if left out.", flag_values=values)
    flags.DEFINE_integer("trials", None, "Trials of each system; the search's own if left out.", flag_values=values)
    flags.DEFINE_integer("jobs", 1, "Processes that run trials at once.", lower_bound=1, flag_values=values)
    define_common(values)
    return values


def _search(chosen: flags.FlagValues) -> int:
    """The exit code: 0 where every system has its best and that is tested, else as of a study."""
    begun = time.time()
    if chosen.config is None:
        raise InputError("--config=FILE.py is missing, for example --config=configs/search/smoke.py")
    if importlib.util.find_spec("optuna") is None:
        raise InputError("a search needs Optuna, which is not installed: pip install 'optuna>=5,<6'")
    from jaxpeft.study.search.design import load_search
    from jaxpeft.study.search.supervisor import Supervisor
    from jaxpeft.study.search.systems import systems_of
    from jaxpeft.study.search.trials import MOST_TRIES, Trials, open_storage

    file, paths = expanded(chosen.config), corpora(chosen.corpus)
    search = load_search(file, chosen.trials, paths)
    systems = systems_of(search, file.absolute().parent, paths)
    folder = expanded(chosen.workdir or f"searches/{search.name}")
    _claim(folder, search)
    storage = open_storage(folder)
    of_systems = [Trials(search, system, folder, storage, begun=begun) for system in systems]
    for trials in of_systems:
        _check_corpus(trials)
    print(f"{search.name}: {len(systems)} systems, {search.trials} trials each, in {folder}", flush=True)
    told = {
        "config": str(file.absolute()),
        "folder": str(folder.absolute()),
        "trials": search.trials,
        "corpora": paths,
        "begun": begun,
    }
    restarts = MOST_TRIES * search.trials * len(systems)
    try:
        Supervisor(told, folder / "logs" / "trials.log", restarts=restarts).run(chosen.jobs, _Told(of_systems).look)
    except ChildProcessError as error:
        print(f"{error}; the same command goes on from here", file=sys.stderr)
        return NOTHING_FOUND
    return _finish(search, folder, of_systems)


def _claim(folder: Path, search: "Search") -> None:
    """Makes the folder this search's, or checks that it is. Raises InputError where it holds something else."""
    path = folder / "search.json"
    if folder.is_dir() and not path.exists() and not store.is_new(folder):
        raise InputError(f"--workdir={folder} holds files, but no search.json: name another folder")
    with store.lock(folder, "search", wait=True):
        if not path.exists():
            write_json(path, {"name": search.name, "systems": []})
        elif (theirs := read_json(path).get("name")) != search.name:
            raise InputError(
                f"--workdir={folder} holds the search {theirs!r}, this one is {search.name!r}: name another"
            )


def _check_corpus(trials: "Trials") -> None:
    """Raises InputError where earlier trials, and what was tested after them, are of other files than these."""
    from jaxpeft.study.search.systems import corpus_of

    corpus = corpus_of(trials.system.config)
    if (noted := trials.noted("corpus")) is None:
        trials.note("corpus", corpus)
    elif noted != corpus:
        raise InputError(
            f"the trials of {trials.system.name} read other files than are in {trials.system.config.data.path} now "
            "(names or sizes differ): name another --workdir"
        )


class _Told:
    """Tells of each trial that has ended, once."""

    def __init__(self, of_systems: Sequence["Trials"]):
        self._of_systems = of_systems
        self._told = {
            (trials.system.name, trial.number)
            for trials in of_systems
            for trial in trials.all()
            if trial.state.is_finished()
        }

    def look(self) -> None:
        """Tells of what is new."""
        for trials in self._of_systems:
            for trial in trials.all():
                key = (trials.system.name, trial.number)
                if trial.state.is_finished() and key not in self._told:
                    self._told.add(key)
                    score = "" if trial.value is None else f" {trials.system.metric} {trial.value:.4f}"
                    why = f" ({trial.user_attrs['error']})" if "error" in trial.user_attrs else ""
                    print(f"{key[0]}: trial {key[1]} {trial.state.name.lower()}{score}{why}", flush=True)


def _finish(search: "Search", folder: Path, of_systems: Sequence["Trials"]) -> int:
    """Retrains and tests the best of each system, and writes what was found."""
    from jaxpeft.study.report import build
    from jaxpeft.study.runner import run_all
    from jaxpeft.study.search.outcome import BEST, retrained, write_study, write_summary

    best = [(trials, retrained(search, trials)) for trials in of_systems]
    runs = [run for _, of_one in best for run in of_one]
    write_study(search, folder, runs)
    outcome = run_all(runs, folder / BEST, fresh_process=True, progress=Progress(runs))
    print(write_summary(search, folder, best))
    print(f"report: {build(folder / BEST)}", flush=True)
    if without := [trials.system.name for trials, of_one in best if not of_one]:
        print(f"no trial came to its end of {', '.join(without)}; search.json says why", file=sys.stderr)
        return NOTHING_FOUND
    return outcome.exit_code


if __name__ == "__main__":
    main(sys.argv)
