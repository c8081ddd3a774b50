"""Reading a profile: which operations ran, and how much of training a device spends waiting for its next step."""

import contextlib
import dataclasses
import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax

STEP = "jit_step"  # the module of `training.step`, as XLA names it
HOST_THREADS = "tf_XLA"  # of a CPU device's programs
Interval = tuple[float, float]  # nanoseconds


@dataclasses.dataclass
class Execution:
    """One run of a compiled program on a CPU device."""

    module: str
    program: int
    start: float
    end: float


@contextlib.contextmanager
def traced(read: Callable[[Any], Any]) -> Iterator[list[Any]]:
    """Profiles what runs within it; afterwards the list holds what `read` found in the profile."""
    options = jax.profiler.ProfileOptions()
    options.python_tracer_level = 0  # it would slow the host, which is what is looked at
    found: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        jax.profiler.start_trace(folder, profiler_options=options)
        try:
            yield found
        finally:
            jax.profiler.stop_trace()
        (path,) = Path(folder).rglob("*.xplane.pb")
        found.append(read(jax.profiler.ProfileData.from_file(str(path))))


def waiting(profile: Any) -> dict[str, Any]:
    """`waiting_s`, `busy_s`, `share` (waiting of both), `gaps`, the number of them, and `longest_s`.

    On a CPU the profile tells executions apart: a gap is the time from one step's end to the next one's start, where
    no other program (of an evaluation) ran between, and the next one's program had run before, so that nothing was
    compiled. Of a GPU every moment without a kernel counts, those between two kernels of a step included: that is the
    most that the device can have waited.
    """
    kernels = sorted(
        (event.start_ns, event.start_ns + event.duration_ns)
        for plane in profile.planes
        if plane.name.startswith("/device:GPU")
        for line in plane.lines
        if line.name.startswith("Stream") and "Memcpy" not in line.name
        for event in line.events
    )
    if kernels:
        busy = list(merged(kernels))
        gaps = [after[0] - before[1] for before, after in itertools.pairwise(busy)]
        return shares(gaps, sum(end - start for start, end in busy))
    runs = executions(profile)
    return shares(gaps_between_steps(runs), sum(run.end - run.start for run in runs if run.module == STEP))


def shares(gaps: list[float], busy: float) -> dict[str, Any]:
    """Of gaps and busy time in nanoseconds; raises ValueError where the profile shows no step."""
    if not busy:
        raise ValueError("the profile shows no training step")
    spent = sum(gaps)
    return {
        "waiting_s": spent / 1e9,
        "busy_s": busy / 1e9,
        "share": spent / (spent + busy),
        "gaps": len(gaps),
        "longest_s": max(gaps, default=0.0) / 1e9,
    }


def merged(intervals: Iterable[Interval]) -> Iterator[Interval]:
    """Sorted intervals, those that overlap as one."""
    current: Interval | None = None
    for start, end in intervals:
        if current is None or start > current[1]:
            if current is not None:
                yield current
            current = start, end
        else:
            current = current[0], max(current[1], end)
    if current is not None:
        yield current


def executions(profile: Any) -> list[Execution]:
    """Programs that ran on CPU devices, in the order of their starts: an operation says which run it is of."""
    runs: dict[tuple[str, int, int], Execution] = {}
    for event, said in operations(profile):
        key = said["hlo_module"], said["program_id"], said["run_id"]
        end = event.start_ns + event.duration_ns
        run = runs.setdefault(key, Execution(key[0], key[1], event.start_ns, end))
        run.start, run.end = min(run.start, event.start_ns), max(run.end, end)
    return sorted(runs.values(), key=lambda run: run.start)


def operations(profile: Any) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Operations of programs on CPU devices, each with what the profile says of it."""
    for plane in profile.planes:
        for line in plane.lines:
            if line.name.startswith(HOST_THREADS):
                for event in line.events:
                    said = dict(event.stats)
                    if "hlo_op" in said:
                        yield event, said


def gaps_between_steps(runs: list[Execution]) -> list[float]:
    """From each step's end to the next one's start; see `waiting` for which count."""
    gaps, seen = [], set()
    for before, after in itertools.pairwise(runs):
        seen.add(before.program)
        if before.module == after.module == STEP and after.program in seen:
            gaps.append(max(after.start - before.end, 0.0))
    return gaps
