"""Seeds of one system as one population: a joint run, whose members end where single runs would stand.

The joint run lies in `together/<hash of its ids>`, and stays there; `runs/<id>` are links to its members, made when it
is finished. What fails in company is tried alone at the next start.
"""

import copy
import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxpeft import population
from jaxpeft.config import Config, PopulationConfig, leaves
from jaxpeft.study import store
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
    """Whether what is left of a group trains together, or has: nothing of it has begun, failed or ended otherwise."""
    if len(group) < 2:
        return False
    if any((folder / "runs" / run.id).exists() or store.failure_file(folder, run.id).exists() for run in left):
        return False
    return left == group or workdir_of([run.id for run in group], folder).result.exists()


def workdir_of(ids: Sequence[str], folder: Path) -> Workdir:
    """Where the runs of these ids train together."""
    return Workdir(folder / "together" / digest({"runs": list(ids)}))


def link_members(config: Config, ids: Sequence[str], folder: Path) -> None:
    """Makes `runs/<id>` of the members of a finished group; one that diverged has no result, and gets none."""
    workdir = workdir_of(ids, folder)
    for member, id in zip(population.runs(config), ids, strict=True):
        own, place = Workdir(workdir.members / member.name), folder / "runs" / id
        if own.result.exists() and not place.exists():
            place.parent.mkdir(exist_ok=True)
            place.unlink(missing_ok=True)  # a link to what somebody has deleted
            place.symlink_to(os.path.relpath(own.root, place.parent))
