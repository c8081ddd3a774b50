"""Seeds of one system as one population: a joint run, whose members end where single runs would stand.

The joint run lies in `together/<hash of its ids>`, and goes on there after a kill. When it is finished its members'
workdirs are moved to `runs/<id>`, one by one; what a kill leaves unmoved is moved at the next start.
"""

import copy
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxpeft import population
from jaxpeft.config import Config, PopulationConfig, leaves
from jaxpeft.study.planned import Planned, digest
from jaxpeft.training.workdir import Workdir

Group = tuple[Planned, ...]


def groups(runs: Sequence[Planned]) -> list[Group]:
    """Runs that differ in their seed alone and can share a base, together; every other run by itself."""
    by_system: dict[str, list[Planned]] = {}
    for run in runs:
        by_system.setdefault(_system(run), []).append(run)
    return [group for seeds in by_system.values() for group in _together(tuple(seeds))]


def _system(run: Planned) -> str:
    return repr([(name, value) for name, value in leaves(run.config).items() if name not in ("name", "seed")])


def _together(seeds: Group) -> Iterator[Group]:
    """The group, or each of its runs where they cannot train together."""
    if len(seeds) > 1 and not any(run.missing for run in seeds) and not [*population.problems(joint(seeds))]:
        yield seeds
    else:
        yield from ((run,) for run in seeds)


def joint(group: Group) -> Config:
    """The population that a group is; its members are in the group's order."""
    config = copy.deepcopy(group[0].config)
    config.name = config.name.removesuffix(f"-s{config.seed}")
    return dataclasses.replace(config, population=PopulationConfig(seeds=tuple(run.config.seed for run in group)))


def can_begin(left: Group, group: Group, folder: Path) -> bool:
    """Whether what is left of a group trains together: the group has begun to, or none of it has begun by itself."""
    if len(group) < 2 or any((folder / "runs" / run.id).exists() for run in left):
        return False
    return left == group or workdir_of([run.id for run in group], folder).root.exists()


def workdir_of(ids: Sequence[str], folder: Path) -> Workdir:
    """Where the runs of these ids train together."""
    return Workdir(folder / "together" / digest({"runs": list(ids)}))
