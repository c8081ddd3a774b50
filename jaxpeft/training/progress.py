"""What a run tells: a bar on a terminal, plain lines in a log, scalars for TensorBoard. Never text of a note."""

import sys
import time
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Shows how far training is."""

    def __init__(self, tensorboard: Path | None = None, *, silent: bool = False):
        """`silent`: nothing is told, since another process of the run tells it."""
        self._tensorboard = None if silent else tensorboard
        self._silent = silent
        self._writer: Any = None
        self._bar: Any = None
        self._last_line = 0.0

    def say(self, text: str) -> None:
        """One line, above the bar if there is one."""
        if self._silent:
            return
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
        else:
            print(text, flush=True)

    def start(self, step: int, total: int) -> None:
        """Training goes on from `step` of `total`."""
        self._open(step)
        if sys.stderr.isatty() and not self._silent:
            import tqdm

            self._bar = tqdm.tqdm(total=total, initial=step, unit="step", dynamic_ncols=True)

    def step(self, record: dict[str, Any], total: int, examples_per_second: float, seconds_left: float) -> None:
        """A finished step: `record` has step, loss, learning_rate and maybe validation scores."""
        self._write_scalars(record)
        speed = f"{examples_per_second:.1f} examples/s"
        if self._bar is not None:
            numbers = f"loss {record['loss']:.4f}, lr {record['learning_rate']:.2e}"
            self._bar.set_postfix_str(f"{numbers}, {speed}", refresh=False)
            self._bar.update(record["step"] - self._bar.n)
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES or record["step"] in (1, total):
            self._last_line = time.monotonic()
            self.say(
                f"step {record['step']}/{total}  loss {record['loss']:.4f}  lr {record['learning_rate']:.2e}  {speed}  "
                f"ETA {_clock(seconds_left)}"
            )

    def close(self) -> None:
        """Ends the bar and the event file."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._writer is not None:
            self._writer.close()

    def _open(self, step: int) -> None:
        if self._tensorboard is not None:
            from tensorboardX import SummaryWriter  # slow to import: here, before the clock of training starts

            self._writer = SummaryWriter(str(self._tensorboard), purge_step=step + 1)

    def _write_scalars(self, record: dict[str, Any]) -> None:
        if self._writer is None:
            return
        scalars = {"train/loss": record["loss"], "train/learning_rate": record["learning_rate"]}
        scalars |= {f"validation/{name}": value for name, value in record.get("validation", {}).items()}
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, record["step"])


class MemberProgress(Progress):
    """Of one run among several that train together: scalars of its own, and lines that begin with its name."""

    def __init__(self, name: str, together: Progress, tensorboard: Path):
        super().__init__(tensorboard)
        self._name, self._together = name, together

    def say(self, text: str) -> None:
        """One line among those of all."""
        self._together.say(f"{self._name}: {text}")

    def start(self, step: int, total: int) -> None:
        """Training goes on from `step`; the bar is that of all."""
        self._open(step)

    def step(self, record: dict[str, Any], total: int, examples_per_second: float, seconds_left: float) -> None:
        """A finished step."""
        self._write_scalars(record)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes}:{seconds:02}"
