"""Which runs belong together: seeds of one system, systems of one task, and the points of a sweep.

A system is a model, a method and the settings that the grid varies for it. Its runs on a task differ by seed alone.
A study's tables hold the systems that stand at the grid's base: rank, few_shot or seconds, where it is None for some of
a model's and method's runs and set for others, is a sweep, and what it sets goes to that sweep's curve. Without two
values it has no curve; then, as of any other axis, what it sets is a system of its own.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from jaxpeft.config import MOVABLE, flatten
from jaxpeft.study import names
from jaxpeft.study.design import AXES
from jaxpeft.study.grid import applies, task_title
from jaxpeft.study.store import Run

Axis = str | int | float | None

SWEEPS = ("rank", "few_shot", "seconds")  # axes that have a picture of their own
_NO_SETTINGS = ("experiment", "model", "method", "task", "seed", "protocol")
_Apart = Mapping[tuple[str, str], list[str]]  # model and method -> axes
_SHORT = {AXES[axis]: axis for axis in SWEEPS}


@dataclasses.dataclass(frozen=True)
class System:
    """A model, a method, and what else tells it from the study's other systems on a task."""

    model: str  # as the grid calls it
    method: str
    settings: tuple[tuple[str, Axis], ...] = ()
    ref: str = ""  # the model's own reference

    @property
    def settings_title(self) -> str:
        """`rank 8, learning rate 0.001`; empty without settings."""
        return ", ".join(names.setting(axis, value) for axis, value in self.settings)

    @property
    def method_title(self) -> str:
        """`LoRA, rank 8`."""
        return ", ".join(filter(None, [names.method(self.method), self.settings_title]))

    @property
    def title(self) -> str:
        """`LoRA, rank 8, on biobert-v1.1`."""
        return f"{self.method_title} on {names.model(self.model)}"


@dataclasses.dataclass(frozen=True)
class Cell:
    """The finished runs of one system on one task: its seeds."""

    system: System
    runs: list[Run]


@dataclasses.dataclass(frozen=True)
class Task:
    """The finished runs on one task under one protocol."""

    name: str
    protocol: str
    metric: str  # the score to compare by
    cells: list[Cell]  # at the grid's base
    sweeps: dict[str, list[tuple[float, Cell]]]  # axis -> its value and the runs there
    synthetic: bool  # on a stand-in for the corpus

    @property
    def title(self) -> str:
        """For headings."""
        title = names.task(self.name) + (" (twin)" if self.synthetic else "")
        return f"{title}, the paper's protocol" if self.protocol == "paper" else title

    @property
    def slug(self) -> str:
        """For file names and anchors: letters, digits, `_` and `-`."""
        name = self.name if self.protocol == "fixed" else f"{self.name}_{self.protocol}"
        return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)


def tasks_of(runs: Sequence[Run], experiments: Iterable[Iterable[str]] = ()) -> list[Task]:
    """The tasks that have a finished run with a score, in the order of the runs.

    `experiments` are ids of runs each; a run that two of them share stands in the sweeps of both.
    """
    ids = [list(one) for one in experiments]
    runs = _with_shared_axes(_without_held_axes([_with_short_names(run) for run in runs], ids), ids)
    by_task = _grouped((run for run in runs if test_scores(run)), lambda run: (task_name(run), protocol(run)))
    scored = {}
    for key, found in by_task.items():
        metric = _metric(found)
        scored[key] = metric, [run for run in found if metric in test_scores(run)]
    apart = _apart(_base(found) for _, found in scored.values())
    return [_task(name, kind, metric, found, apart) for (name, kind), (metric, found) in scored.items()]


def model_of(run: Run) -> str:
    """What the grid calls the run's base, else its reference."""
    return str(run.axes.get("model") or ref_of(run))


def ref_of(run: Run) -> str:
    """The reference of the run's base."""
    config = (run.config.get("model") or {}).get("ref")
    return str(config or (run.result or {}).get("model") or run.axes.get("model") or "unknown model")


def method_of(run: Run) -> str:
    """The name of the run's method; a LoRA with magnitudes is `dora`."""
    name = str(run.axes.get("method") or (run.result or {}).get("method") or "unknown method")
    lora = (run.config.get("peft") or {}).get("lora") or {}
    return "dora" if name == "lora" and lora.get("dora") else name


def value_of(run: Run, axis: str) -> Any:
    """What a run has of an axis, by its short name or its field: as its grid says, else as its config does."""
    own = run.axes.get(_SHORT.get(axis, axis))
    return _in_config(run, axis) if own is None else own


def task_name(run: Run) -> str:
    """The name of the run's task: a config's, without its folder."""
    return task_title(run.axes.get("task") or run.config.get("name") or "unknown task")


def protocol(run: Run) -> str:
    """`fixed` or `paper`."""
    return str(run.axes.get("protocol") or (run.config.get("data") or {}).get("protocol") or "fixed")


def test_scores(run: Run) -> dict[str, Any]:
    """Metric -> value, low, high on the test split, those that are defined; empty for a run that is not finished."""
    scores = ((run.result or {}).get("metrics") or {}).get("test") or {}
    return {name: score for name, score in scores.items() if score and score.get("value") is not None}


def _task(name: str, kind: str, metric: str, runs: list[Run], apart: _Apart) -> Task:
    return Task(
        name=name,
        protocol=kind,
        metric=metric,
        cells=_cells(_base(runs), apart),
        sweeps=_sweeps(runs),
        synthetic=any((run.config.get("data") or {}).get("format") == "synthetic" for run in runs),
    )


def _metric(runs: Sequence[Run]) -> str:
    """What most runs were selected by, if more of it is better; without any such word, the first score they have."""
    rising = [[name for name in test_scores(run) if name not in names.FALLING] for run in runs]
    selected = [(run.result or {}).get("select_metric") for run in runs]
    chosen = collections.Counter(str(one) for one, known in zip(selected, rising, strict=True) if one in known)
    return chosen.most_common(1)[0][0] if chosen else next(iter(rising[0] or test_scores(runs[0])))


def _sweeps(runs: Sequence[Run]) -> dict[str, list[tuple[float, Cell]]]:
    """The axes of a task that have a curve, and its points. What an axis without one sets may be on another's."""
    axes: tuple[str, ...] = SWEEPS
    while True:
        swept = _swept_axes(runs, axes)
        points = {axis: _points(runs, axis, swept) for axis in axes}
        drawn = {axis: found for axis, found in points.items() if len({value for value, _ in found}) > 1}
        if len(drawn) == len(axes):
            return drawn
        axes = tuple(drawn)


def _swept_axes(runs: Sequence[Run], axes: Sequence[str]) -> dict[tuple[str, str], set[str]]:
    """Those of the axes that are None for some runs of a model and method, and set for others.

    Few examples and little time are a sweep as soon as any run of the task had all of them.
    """
    swept = {}
    of_task = {axis for axis in axes if axis != "rank" and any(run.axes.get(axis) is None for run in runs)}
    for key, found in _grouped(runs, _who).items():
        swept[key] = of_task | {axis for axis in axes if len({run.axes.get(axis) is None for run in found}) == 2}
    return swept


def _base(runs: Sequence[Run]) -> list[Run]:
    """The runs of a task that are on no sweep, each once."""
    swept = _swept_axes(runs, tuple(_sweeps(runs)))
    base: dict[str, Run] = {}
    for run in runs:
        if not _set_axes(run, swept):
            base.setdefault(run.id, run)  # not what `_with_shared_axes` has added to a sweep without a curve
    return list(base.values())


def _set_axes(run: Run, swept: dict[tuple[str, str], set[str]]) -> set[str]:
    """The swept axes on which this run is off the base."""
    return {axis for axis in swept[_who(run)] if run.axes.get(axis) is not None}


def _who(run: Run) -> tuple[str, str]:
    return model_of(run), method_of(run)


def _with_short_names(run: Run) -> Run:
    """A grid may name the field itself: `peft.lora.rank` for `rank`."""
    return dataclasses.replace(run, axes={_SHORT.get(axis, axis): value for axis, value in run.axes.items()})


def _without_held_axes(runs: Sequence[Run], experiments: Sequence[Sequence[str]]) -> list[Run]:
    """The runs; those of an experiment that holds an axis lose it, where another experiment sweeps it.

    A grid that does not name an axis has it from its config: beside a sweep of ranks, rank 8 of the others is no rank
    of its own but where the sweep starts from.
    """
    by_id = {run.id: run for run in runs}
    held: set[tuple[str, str]] = set()
    swept: set[tuple[str, str, str]] = set()
    for ids in experiments:
        for who, found in _grouped((by_id[one] for one in ids if one in by_id), _who).items():
            for axis in SWEEPS:
                if len({run.axes.get(axis) for run in found}) > 1:
                    swept.add((*who, axis))
                else:
                    held |= {(run.id, axis) for run in found}

    def kept(run: Run, axis: str, value: Axis) -> Axis:
        return None if (run.id, axis) in held and (*_who(run), axis) in swept else value

    return [dataclasses.replace(run, axes={axis: kept(run, axis, run.axes[axis]) for axis in run.axes}) for run in runs]


def _with_shared_axes(runs: Sequence[Run], experiments: Sequence[Sequence[str]]) -> list[Run]:
    """The runs, and once more those that an experiment shares with another, as points of its sweep.

    A run has the axes of the first experiment that holds it: the base of a study lacks the `rank` that it has in a
    sweep of ranks. Its config has it.
    """
    by_id = {run.id: run for run in runs}
    points: dict[tuple[str, str], Run] = {}
    for ids in experiments:
        members = [by_id[one] for one in ids if one in by_id]
        for axis in SWEEPS:
            if any(run.axes.get(axis) is not None for run in members):
                lacking = [run for run in members if run.axes.get(axis) is None]
                points |= {
                    (run.id, axis): dataclasses.replace(run, axes=run.axes | {axis: value})
                    for run in lacking
                    if (value := _in_config(run, axis)) is not None
                }
    return [*runs, *points.values()]


def _in_config(run: Run, axis: str) -> Any:
    field = AXES.get(axis, axis)
    if not applies(field, (run.result or {}).get("method", "")):
        return None
    value: Any = run.config
    for name in field.split("."):
        value = (value or {}).get(name)
    return value


def _points(runs: Sequence[Run], axis: str, swept: dict[tuple[str, str], set[str]]) -> list[tuple[float, Cell]]:
    """The runs that are on no other sweep, by system and by value of this axis."""
    others = set(SWEEPS) - {axis}
    on = [run for run in runs if isinstance(run.axes.get(axis), int | float) and not _set_axes(run, swept) & others]
    return [
        (float(value), Cell(line.system, found))
        for line in _cells(on, _apart([on], without=axis))
        for value, found in sorted(_grouped(line.runs, lambda run: run.axes[axis]).items())
    ]


def _apart(tasks: Iterable[Sequence[Run]], without: str = "") -> _Apart:
    """The axes that tell systems of a model and method apart on any of the tasks; `without` tells none apart.

    They are named on every task, so that a system has one name on all.
    """
    apart: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for runs in tasks:
        for who, found in _grouped(runs, _who).items():
            apart[who] += [axis for axis in _varied(found, without) if axis not in apart[who]]
    return apart


def _varied(runs: Sequence[Run], without: str) -> list[str]:
    """The axes on which runs of one model and method differ; the experiment, where its runs would be mixed else."""
    axes = sorted({axis for run in runs for axis in run.axes if axis not in (*_NO_SETTINGS, without)})
    varied = [axis for axis in axes if len({run.axes.get(axis) for run in runs}) > 1]
    # Experiments may differ in fields that are no axis: what they trained is then no seed of one system.
    systems = _grouped(runs, functools.partial(_settings, [*varied, without])).values()
    return [*varied, "experiment"] if any(map(_mixed, systems)) else varied


def _mixed(runs: Sequence[Run]) -> bool:
    """Whether runs of several experiments differ in more than their seeds, or have one twice."""
    if len({run.axes.get("experiment") for run in runs}) < 2:
        return False
    seeds = [run.axes.get("seed") for run in runs]
    return len(set(seeds)) < len(seeds) or any(_told(run) != _told(runs[0]) for run in runs)


def _told(run: Run) -> dict[str, Any]:
    """What a run's config says beside its seed, and where it lies and runs."""
    return {
        name: value
        for name, value in flatten(run.config).items()
        if name not in ("name", "seed", "parallel", *MOVABLE) and not name.startswith("seeds.")
    }


def _cells(runs: Sequence[Run], apart: _Apart) -> list[Cell]:
    """The runs by system, in their order."""
    cells = []
    for (model, method), found in _grouped(runs, _who).items():
        for settings, alike in _grouped(found, functools.partial(_settings, apart[model, method])).items():
            cells.append(Cell(System(model, method, settings, ref_of(alike[0])), alike))
    return cells


def _settings(axes: Sequence[str], run: Run) -> tuple[tuple[str, Axis], ...]:
    return tuple((axis, run.axes.get(axis)) for axis in axes)


def _grouped(runs: Iterable[Run], key: Callable[[Run], Any]) -> dict[Any, list[Run]]:
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups
