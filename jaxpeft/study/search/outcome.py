"""What a search has found: of each system the best trial by validation, retrained on fresh seeds and tested.

Only these runs see the test split. They are those of an ordinary study in `best/`, with a report of its own.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from jaxpeft.config import SeedsConfig
from jaxpeft.data.load import is_drawn, read_corpus
from jaxpeft.study import store
from jaxpeft.study.design import Grid, Study
from jaxpeft.study.evidence import sample
from jaxpeft.study.grid import Plan
from jaxpeft.study.planned import Planned, named
from jaxpeft.study.search.design import Search
from jaxpeft.study.search.systems import System, described
from jaxpeft.study.search.trials import ERROR, RETRY_OF, Trials
from jaxpeft.study.statistics import estimate
from jaxpeft.study.store import Run
from jaxpeft.study.systems import test_scores
from jaxpeft.training.workdir import write_json, write_text

BEST = "best"  # the folder of the retrained runs, and their experiment
HEADINGS = ("system", "trials", "validation", "found", "seeds", "test", "95 %")


def retrained(search: Search, trials: Trials) -> list[Planned]:
    """The runs of a system's best trial on the fresh seeds; none where no trial is complete."""
    best, system = trials.best(), trials.system
    if best is None:
        return []
    runs = []
    for seed in search.seeds:
        config = system.configured(best.params)
        data = _data_seed(trials)
        config.seed, config.seeds = seed, SeedsConfig(data=data)
        run = named({**system.axes, "experiment": BEST, "seed": seed}, config)
        of_base = system.name.rpartition("-")[2]  # a run's own id does not tell one local base from another
        runs.append(dataclasses.replace(run, id=f"{run.id}-{of_base}"))
    return runs


def _data_seed(trials: Trials) -> int | None:
    """The trials' where the seed cuts the corpus: another would test on what chose the trial. Else None, each its own.

    It is found out once: a large corpus takes a minute to read.
    """
    config = trials.system.config
    if (drawn := trials.noted("drawn")) is None:
        drawn = is_drawn(config.data, read_corpus(config.data, None, config.model.allow_download))
        trials.note("drawn", drawn)
    own = config.seeds.data
    return (config.seed if own is None else own) if drawn else None


def write_study(search: Search, folder: Path, runs: Sequence[Planned]) -> None:
    """Makes `best/` the folder of a study that has these runs."""
    study = Study(search.name, search.question, {BEST: Grid(search.axes, search.fields, search.rules)})
    store.write_study(folder / BEST, study, Plan(tuple(runs), {BEST: [run.id for run in runs]}))


def write_summary(search: Search, folder: Path, of_systems: Sequence[tuple[Trials, Sequence[Planned]]]) -> str:
    """Writes search.json and search.md; returns the latter, a table with a line a system.

    `of_systems` are the trials of each system and the runs of its best.
    """
    found = {run.id: run for run in store.runs(folder / BEST)}
    systems = [
        _system(trials, [found[run.id] for run in runs if run.id in found], folder) for trials, runs in of_systems
    ]
    told = {"name": search.name, "question": search.question, "seeds": list(search.seeds), "systems": systems}
    write_json(folder / "search.json", told)
    table = _markdown([_line(system) for system in systems])
    write_text(folder / "search.md", f"# {search.name}\n\n{search.question}\n\n{table}\n{_NOTE}\n")
    return table


_NOTE = """
`validation` is the score of the chosen trial, the highest of many and so too high for what to expect. `test` is the
mean over the fresh seeds, which no trial had, with an interval over patients and seeds (docs/study.md).
"""


def _system(trials: Trials, runs: Sequence[Run], folder: Path) -> dict[str, Any]:
    system, best = trials.system, trials.best()
    return {
        "study": system.name,
        "axes": system.axes,
        "metric": system.metric,
        "space": described(system.space),
        "trials": [_trial(trial) for trial in trials.all()],
        "best": best and {"trial": best.number, "validation": best.value, "params": best.params},
        "test": _tested(system, runs, folder / BEST / "report" / "draws"),
        "runs": [
            {"id": run.id, "seed": run.axes["seed"], "test": test_scores(run), "error": run.error} for run in runs
        ],
    }


def _trial(trial: FrozenTrial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "params": trial.params,
        "validation": trial.value if trial.state is TrialState.COMPLETE else None,
        "evaluations": [value for _, value in sorted(trial.intermediate_values.items())],
        "seconds": trial.duration and trial.duration.total_seconds(),
        "diverged": trial.user_attrs.get("diverged", False),
        "error": trial.user_attrs.get(ERROR, "its process died" if trial.state is TrialState.FAIL else None),
        "retry_of": trial.user_attrs.get(RETRY_OF),
    }


def _tested(system: System, runs: Sequence[Run], kept: Path) -> dict[str, Any] | None:
    """The mean test score over the fresh seeds, with its interval; None before the first run is finished."""
    found = sample([run for run in runs if system.metric in test_scores(run)], system.metric, kept)
    if not found.seeds:
        return None
    score = estimate((1.0, found))
    return {"value": score.value, "low": score.low, "high": score.high, "seeds": score.seeds}


def _line(system: dict[str, Any]) -> list[str]:
    tested, best, states = system["test"], system["best"], [trial["state"] for trial in system["trials"]]
    counts = ", ".join(f"{states.count(one)} {one}" for one in ("complete", "pruned", "fail") if one in states)
    words = [str(value) for value in system["axes"].values() if value is not None]
    found = ", ".join(f"{name} {_number(value)}" for name, value in (best["params"] if best else {}).items())
    interval = f"{tested['low']:.3f} to {tested['high']:.3f}" if tested and tested["low"] is not None else "–"
    return [
        " ".join(words),
        counts,
        f"{system['metric']} {best['validation']:.3f}" if best else "–",
        found or "–",
        str(tested["seeds"]) if tested else "0",
        f"{tested['value']:.3f}" if tested else "–",
        interval,
    ]


def _number(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    rows = [HEADINGS, ["---"] * len(HEADINGS), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
