"""What benchmarks share: sides in processes of their own that take turns, medians and ranges, one JSON as it goes."""

import dataclasses
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "tokenizers", "datasets", "torch", "transformers", "peft")
WARM = 0.3  # seconds at least of the turn that finds out how fast a side is
TURNS_TAKE = 1.25  # times the seconds that they are meant to take, at most
FAILURES = ("error", "left_out")  # what a row has in place of rates: left out is what cannot be done by its nature


@dataclasses.dataclass
class Work:
    """What a side does: `run(n)` takes n steps and waits for the last one's end.

    `examples` and `operations` are those of a step; `report()` says what is known at the end, such as peak memory.
    """

    run: Callable[[int], None]
    examples: float
    operations: float = 0.0
    report: Callable[[], dict[str, Any]] = dict


class LeftOutError(Exception):
    """A side cannot do this by its nature; the message says why."""


class SideError(Exception):
    """A side failed, or left its work out; the message says why."""

    def __init__(self, message: str, *, kind: str = "error"):
        super().__init__(message)
        self.kind = kind


class Side:
    """A process that makes some work, and then does of it what it is told."""

    def __init__(self, make: Callable[..., Work], *arguments: Any, environment: Mapping[str, str] | None = None):
        """`make(*arguments)` is called in the process, with `environment` over that of this one."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, arguments, theirs), daemon=True)
        before = dict(os.environ)
        os.environ.update(environment or {})
        try:
            self._process.start()
        finally:
            os.environ.clear()
            os.environ.update(before)
        theirs.close()  # so that a process which dies is an end of file here

    def wait(self, until: float) -> Any:
        """The next answer; raises SideError where there is none at the time `until`, or an error."""
        if not self._pipe.poll(max(until - time.monotonic(), 0.0)):
            raise SideError("no answer in the time that the benchmark had")
        try:
            kind, answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise SideError(f"its process died with exit code {self._process.exitcode}") from None
        if kind in FAILURES:
            raise SideError(answer, kind=kind)
        return answer

    def turn(self, seconds: float, until: float) -> Any:
        """Works for about so many seconds; returns the seconds of a step."""
        self._pipe.send(seconds)
        return self.wait(until)

    def close(self, until: float) -> dict[str, Any]:
        """Ends the process; returns its report."""
        self._pipe.send(None)
        return self.wait(until)

    def end(self) -> None:
        """Ends the process whatever it does."""
        self._pipe.close()
        self._process.kill()
        self._process.join()


def _serve(make: Callable[..., Work], arguments: tuple[Any, ...], pipe: Connection) -> None:
    try:
        started = time.perf_counter()
        work = make(*arguments)
        work.run(1)  # compiles
        made = time.perf_counter() - started
        steps = 1
        while (spent := _timed(work, steps)) < WARM:
            steps *= 2
        a_step = spent / steps
        pipe.send(("ready", {"examples": work.examples, "operations": work.operations, "ready_s": made}))
        while (seconds := pipe.recv()) is not None:
            steps = max(round(seconds / a_step), 1)
            spent = _timed(work, steps)
            a_step = spent / steps
            pipe.send(("turn", a_step))
        pipe.send(("report", work.report()))
    except LeftOutError as reason:
        pipe.send(("left_out", str(reason)))
    except Exception as error:  # one side's failure is a row of the table
        last = traceback.extract_tb(error.__traceback__)[-1]
        pipe.send(("error", f"{type(error).__name__}: {str(error)[:500]} ({Path(last.filename).name}:{last.lineno})"))


def _timed(work: Work, steps: int) -> float:
    started = time.perf_counter()
    work.run(steps)
    return time.perf_counter() - started


def alternate(sides: Mapping[str, Side], *, rounds: int, seconds: float, until: float) -> dict[str, dict[str, Any]]:
    """Rates of each side over rounds of turns, or the `error` that ended it. The processes are ended.

    A rate is a step's examples over the median turn's seconds a step; `range` is that of the turns. `until` is a time
    of the monotonic clock: a side that has not answered then has failed, and so has one that is not ready in time for
    all turns to be taken by then.
    """
    ready_until = until - TURNS_TAKE * (rounds + 1) * seconds * len(sides)
    found: dict[str, dict[str, Any]] = {}
    turns: dict[str, list[float]] = {name: [] for name in sides}

    def asked(name: str, question: Callable[[], Any]) -> Any:
        """The answer of a side that has not failed, else None."""
        if failed(found.get(name, {})):
            return None
        try:
            return question()
        except SideError as error:
            found[name] = {error.kind: str(error)}
        except OSError as error:
            found[name] = {"error": f"its process is gone: {error}"}
        sides[name].end()  # one that is late would work on during the others' turns
        return None

    try:
        for name, side in sides.items():
            if answer := asked(name, lambda side=side: side.wait(ready_until)):
                found[name] = answer
        for number in range(rounds + 1):
            for name, side in sides.items():
                answer = asked(name, lambda side=side: side.turn(seconds, until))
                if answer and number:  # the first says how fast a side is while the others wait
                    turns[name].append(answer)
        for name, side in sides.items():
            if report := asked(name, lambda side=side: side.close(until)):
                found[name] |= report
    finally:
        for side in sides.values():
            side.end()
    return {name: row if failed(row) else row | rates(row["examples"], turns[name]) for name, row in found.items()}


def failed(row: Mapping[str, Any]) -> bool:
    """Whether a row has no rates."""
    return any(kind in row for kind in FAILURES)


def rates(examples: float, seconds: list[float]) -> dict[str, Any]:
    """Examples a second, of the median of several times a step, and of its extremes."""
    step = statistics.median(seconds)
    return {
        "step_s": step,
        "examples_per_s": examples / step,
        "range": [examples / max(seconds), examples / min(seconds)],
        "turns": len(seconds),
    }


class Report:
    """A JSON file that is written row by row, and gone on with when it is there already."""

    def __init__(self, path: Path | None, **settings: Any):
        """`settings` go into the file; one whose rows were measured under others is refused, and left as it is."""
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if path is not None and path.exists():
            before = json.loads(path.read_text())
            if before["settings"] != settings:
                raise SystemExit(f"{path} was measured with {before['settings']}: name another file, or remove it")
            self.rows = before["rows"]
        self._head = {"date": time.strftime("%Y-%m-%d"), "versions": versions(), "processor": processor()}
        self._head["settings"] = settings

    def has(self, **keys: Any) -> bool:
        """Whether rows with these values were measured, none of them with an error."""
        rows = [row for row in self.rows if keys.items() <= row.items()]
        return bool(rows) and not any("error" in row for row in rows)

    def add(self, rows: Iterable[dict[str, Any]], **keys: Any) -> None:
        """Rows with `keys` in place of those that had them, written at once."""
        self.rows = [row for row in self.rows if not keys.items() <= row.items()] + [keys | row for row in rows]
        self.write()

    def write(self, **more: Any) -> None:
        """Writes the file; `more` goes beside the rows from now on."""
        self._head |= more
        write_report(self._path, self._head | {"rows": self.rows})


def write_report(path: Path | None, report: Mapping[str, Any]) -> None:
    """Writes the JSON file of a benchmark, where one is wanted."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")


def versions() -> dict[str, str]:
    """Of Python, and of the packages here that speed depends on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def processor() -> str:
    """The processor and how many of its cores this process may use."""
    return f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} cores"
