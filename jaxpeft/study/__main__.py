"""Runs a study: a grid of experiments, each finished once whatever happens, and their report.

python -m jaxpeft.study --config=configs/study/smoke.py --workdir=DIR
python -m jaxpeft.study --config=configs/study/paper.py --workdir=DIR --dry_run   # what it would take; runs nothing
python -m jaxpeft.study --config=FILE.py --workdir=DIR --corpus=mimic3=/data/mimic3 --corpus=i2b2_2010=/data/i2b2
python -m jaxpeft.study --config=FILE.py --workdir=DIR --shard=3/8                 # the third of eight processes
python -m jaxpeft.study --config=FILE.py --workdir=DIR --executor=ray              # as many at once as fit
python -m jaxpeft.study --config=FILE.py --workdir=DIR --serve                     # and show the growing report
"""

import contextlib
import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from absl import flags

from jaxpeft.config import expanded
from jaxpeft.errors import InputError
from jaxpeft.study.entry import corpora, define_common, run
from jaxpeft.study.progress import Progress

if TYPE_CHECKING:  # flags are refused before anything slow is imported
    from jaxpeft.study.design import Study
    from jaxpeft.study.planned import Planned
    from jaxpeft.study.runner import Executor

FLAGS_OF_RAY = ("address", "cpus_per_run", "gpus_per_run", "max_retries")


def main(argv: Sequence[str]) -> None:
    """Runs a study; every user error becomes one message and exit code 2."""
    run(argv, _define_flags(), __doc__, _study)


def _define_flags() -> flags.FlagValues:
    values = flags.FlagValues()
    flags.DEFINE_string("config", None, "The study: a Python file with get_study().", flag_values=values)
    flags.DEFINE_string("workdir", None, "Folder of the study; studies/<name> if left out.", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "List the runs and what they would take; run nothing.", flag_values=values)
    flags.DEFINE_string("shard", "1/1", "i/n: run every n-th run, from the i-th.", flag_values=values)
    flags.DEFINE_bool("serve", False, "Serve the growing report on this machine alone.", flag_values=values)
    flags.DEFINE_integer("port", 8000, "The port that --serve listens on.", 1, 65535, flag_values=values)
    flags.DEFINE_enum("executor", "local", ["local", "ray"], "One run after the other, or Ray.", flag_values=values)
    flags.DEFINE_string("address", None, "Of a Ray cluster; its own Ray if left out.", flag_values=values)
    flags.DEFINE_integer("cpus_per_run", 1, "CPUs that Ray gives a run.", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("gpus_per_run", None, "GPUs; 1 if left out and any are there.", 0, flag_values=values)
    flags.DEFINE_integer("max_retries", 3, "How often Ray tries a run again that died.", 0, flag_values=values)
    define_common(values)
    return values


def _study(chosen: flags.FlagValues) -> int:
    """The exit code: 0 where every run is finished, 2 where what failed is the user's to mend, else 1."""
    from jaxpeft.study.design import load_study
    from jaxpeft.study.grid import resolve
    from jaxpeft.study.live import LiveReport
    from jaxpeft.study.report import build
    from jaxpeft.study.runner import shard_of
    from jaxpeft.study.store import write_study

    if chosen.config is None:
        raise InputError("--config=FILE.py is missing, for example --config=configs/study/smoke.py")
    file = expanded(chosen.config)
    paths = corpora(chosen.corpus)
    study = load_study(file, paths)
    number, of = _shard(chosen.shard)
    plan = resolve(study, file.absolute().parent, paths, for_plan=chosen.dry_run)
    runs = shard_of(plan.runs, number, of, seeds_together=study.seeds_together)
    if chosen.dry_run:
        from jaxpeft.study.estimate import table

        print(table(study, runs))
        return 0
    missing = _missing(runs)
    executor = _executor(chosen, study)
    folder = expanded(chosen.workdir or f"studies/{study.name}")
    write_study(folder, study, plan)
    progress = Progress(runs)
    progress.say(f"{study.name}: {len(runs)} runs in {folder}" + (f", shard {number} of {of}" if of > 1 else ""))
    for problem, ids in missing.items():
        progress.say(f"{len(ids)} runs are left out, {problem}: {', '.join(ids)}")
    live = LiveReport(folder, chosen.port, progress) if chosen.serve else None
    with live or contextlib.nullcontext():
        outcome = executor(runs, folder, progress=progress)
    progress.say(f"{outcome.finished} of {len(runs)} runs are finished, {len(outcome.failed)} failed")
    progress.say(f"report: {build(folder)}")
    if live:
        live.stay()
    return outcome.exit_code


def _missing(runs: Sequence["Planned"]) -> dict[str, list[str]]:
    """The runs that lack a corpus, by what to do about it; raises InputError where that is every run."""
    missing: dict[str, list[str]] = {}
    for one in runs:
        if one.missing:
            missing.setdefault(one.missing, []).append(one.id)
    if runs and sum(map(len, missing.values())) == len(runs):
        raise InputError(*(f"{ids[0]} and all others: {problem}" for problem, ids in missing.items()))
    return missing


def _executor(chosen: flags.FlagValues, study: "Study") -> "Executor":
    from jaxpeft.study.runner import run_all

    if chosen.executor == "ray":
        from jaxpeft.study.ray_executor import Share, executor

        return executor(chosen.address, Share(chosen.cpus_per_run, chosen.gpus_per_run, chosen.max_retries))
    if stray := [f"--{name}" for name in FLAGS_OF_RAY if chosen[name].present]:
        raise InputError(f"{', '.join(stray)}: only with --executor=ray")
    return functools.partial(run_all, fresh_process=study.fresh_process, seeds_together=study.seeds_together)


def _shard(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise InputError(f"--shard={text}: expected i/n with i from 1 to n, as 3/8")
    return int(number), int(of)


if __name__ == "__main__":
    main(sys.argv)
