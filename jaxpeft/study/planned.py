"""One run of a study: its axes, its config, and the id that tells it from all others wherever files lie."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from jaxpeft.config import MOVABLE, Config, leaves
from jaxpeft.errors import InputError
from jaxpeft.study.design import Axes

PLACES = ("data.path", "data.cache_dir", "model.ref")  # of which an id does not even say that they are set


@dataclasses.dataclass(frozen=True)
class Planned:
    """One run of a study: its axes, and the config that says everything.

    `missing` says which corpus is not here, where the run needs one: it cannot begin, and the others can.
    """

    id: str
    axes: dict[str, Any]
    config: Config
    missing: str | None = None


def named(axes: dict[str, Any], config: Config) -> Planned:
    """The run of a config, which gets a readable name; the id has a hash of its settings as well."""
    config.name = _readable(axes)
    return Planned(f"{config.name}-{digest(settings(config))}", axes, config)


def settings(config: Config) -> dict[str, Any]:
    """What tells a config from others by its dotted names: all settings but the name and where files lie.

    Those at their defaults are left out, so that a field which a later version adds makes no new run of an old one. Of
    an adapter to start from, and of lists that make the split, it counts that there are any.
    """
    defaults = leaves(Config())
    values = {name: value for name, value in leaves(config).items() if value != defaults[name]}
    values |= {name: True for name in ("peft.init_from", "data.split_lists") if name in values}
    values = {name: value for name, value in values.items() if name not in (*PLACES, "name")}
    if not is_place(config.model.ref):
        values["model.ref"] = config.model.ref
    return values


def digest(values: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits."""
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def is_place(ref: str) -> bool:
    """Whether a model reference says where a model lies, and not which one it is."""
    return ref.startswith(("/", "~", "."))


def distinct(runs: list[Planned], experiment: str) -> list[Planned]:
    """The runs; raises InputError where two of one experiment are the same."""
    by_id: dict[str, Planned] = {}
    for run in runs:
        if other := by_id.get(run.id):
            different = [axis for axis in run.axes if run.axes[axis] != other.axes[axis]]
            told = ", ".join(f"{axis} {other.axes[axis]!r} and {run.axes[axis]!r}" for axis in different)
            raise InputError(
                f"experiment {experiment!r} has two runs with the id {run.id}: {told or 'the same axes'} make no "
                "difference that a config has, or differ only in where files lie; name them as Choices of the axis "
                "'model' or 'task'"
            )
        by_id[run.id] = run
    return runs


def check_places(earlier: Mapping[str, Planned], runs: list[Planned]) -> None:
    """Raises InputError where a run of an earlier experiment would stand for one that reads other files."""
    for run in runs:
        if (other := earlier.get(run.id)) is None:
            continue
        ours, theirs = leaves(run.config), leaves(other.config)
        if different := [name for name in MOVABLE if name != "data.cache_dir" and ours[name] != theirs[name]]:
            raise InputError(
                f"experiments {other.axes['experiment']!r} and {run.axes['experiment']!r} have one run, {run.id}, with "
                f"another {' and '.join(different)} in each, where an id does not say where files lie: name them as "
                "Choices of the axis 'model' or 'task'"
            )


def _readable(axes: Axes) -> str:
    """`BioBERT-lora-mimic_triage-s12`."""
    words = [str(axes["model"]).rstrip("/").rsplit("/", 1)[-1], axes["method"], axes["task"], f"s{axes['seed']}"]
    return "-".join(re.sub(r"[^\w.-]+", "_", str(word))[:50].strip("._") for word in words)
