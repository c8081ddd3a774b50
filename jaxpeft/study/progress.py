"""What a study tells in the terminal: what is done, runs, has failed, and how long the rest will take."""

import collections
import statistics
import sys
import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.study.planned import Planned


class Progress:
    """Counts runs and tells of each; on a terminal the last line shows what the run at hand does."""

    def __init__(self, runs: Collection[Planned]):
        self._left = {run.id: _kind(run) for run in runs}
        self._total = len(runs)
        self.at_once = 1  # as many runs as go on at a time
        self._done = self._failed = 0
        self._seconds: dict[tuple[str, ...], list[float]] = collections.defaultdict(list)  # by kind of run
        self._began = 0.0
        self._log: Path | None = None
        self._live = sys.stdout.isatty()
        self._told_of_waiting = False

    def say(self, text: str) -> None:
        """One line."""
        print(f"\r\x1b[K{text}" if self._live else text, flush=True)

    def skip(self, run: Planned, *, failed: bool = False) -> None:
        """The run is over already, by an earlier start or another process."""
        self._done += not failed
        self._failed += failed
        del self._left[run.id]

    def begin(self, run: Planned, log: Path, *, beside: int = 0) -> None:
        """The run begins, and so many beside it that train together with it."""
        self._began, self._log = time.monotonic(), log
        with_it = f", with {beside} more of its seeds" if beside else ""
        self.say(f"[{self._done + self._failed + 1}/{self._total}] {run.id}{with_it}")

    def tick(self) -> None:
        """The run goes on: on a terminal its log's last line is shown."""
        if self._live and self._log is not None:
            text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
            last = (text.splitlines() or [""])[-1]
            print(f"\r\x1b[K    {_clock(time.monotonic() - self._began)}  {last[:90]}", end="", flush=True)

    def end(self, run: Planned, answer: Mapping[str, Any]) -> None:
        """The run is over, well or not; an answer that does not say `seconds` is of the run that began last."""
        seconds = answer.get("seconds", time.monotonic() - self._began)
        del self._left[run.id]
        if answer["status"] == "failed":
            self._failed += 1
            self.say(f"    FAILED ({answer['kind']}): {answer['error']}")
        else:
            self._done += 1
            self._seconds[_kind(run)].append(seconds)
        left = self._seconds_left()
        eta = "" if left is None or not self._left else f", about {_clock(left)} left"
        self.say(f"    {_clock(seconds)}; done {self._done}, failed {self._failed}, to do {len(self._left)}{eta}")

    def wait(self, runs: Collection[Planned]) -> None:
        """All that is left is run by other processes; told once."""
        if not self._told_of_waiting:
            self.say(f"waiting for {len(runs)} runs that other processes have; this one can be stopped")
        self._told_of_waiting = True

    def _seconds_left(self) -> float | None:
        """By the runs of the same model, method and task, else by all; None before the first."""
        every = [seconds for found in self._seconds.values() for seconds in found]
        if not every:
            return None
        left = sum(statistics.fmean(self._seconds.get(kind) or every) for kind in self._left.values())
        return left / max(1, min(self.at_once, len(self._left)))


def _kind(run: Planned) -> tuple[str, ...]:
    return tuple(str(run.axes[axis]) for axis in ("model", "method", "task"))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"
