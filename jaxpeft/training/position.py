"""How far a run is, what its time went into, and what it leaves."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping

from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.peft import Tree
from jaxpeft.training.parallel import Placement
from jaxpeft.training.system import System


@dataclasses.dataclass
class Position:
    """How far a run is: what a checkpoint holds besides arrays. Seconds and counts sum over restarts."""

    base_sha256: str
    checksums: list[int] | None = None  # of what trains and of what validates; None: of an earlier version
    step: int = 0
    best_step: int = 0
    best_value: float | None = None
    stale: int = 0  # evaluations since the best
    stopped: str | None = None  # why, once training is over
    called_off: bool = False  # by whoever watches its evaluations: the run is not tested
    train_seconds: float = 0.0  # without compilation and evaluation
    eval_seconds: float = 0.0
    compile_seconds: float = 0.0
    examples: int = 0
    tokens: int = 0
    flops: int = 0  # of training, by the formula, at the padded lengths


# Called after every evaluation with the position, `stopped` included, and the validation scores by name (None where
# undefined). What it returns, if anything, is why the run ends here, untested.
OnEvaluation = Callable[[Position, Mapping[str, float | None]], str | None]


class Clock:
    """Adds the time that passes to the seconds of a position: of training, of evaluation and of compilation apart."""

    def __init__(self, placement: Placement, position: Position):
        self.position, self._placement = position, placement
        self.start()

    def start(self) -> None:
        """What passed since the last stop counts for nothing."""
        self._since, self._compiled = time.perf_counter(), self._placement.compile_seconds

    def stop(self) -> None:
        """Adds the time since the start to training's, and starts again."""
        self.position.train_seconds += self._passed()

    @contextlib.contextmanager
    def evaluating(self) -> Iterator[None]:
        """Time within it is evaluation's."""
        self.stop()
        yield
        self.position.eval_seconds += self._passed()

    def _passed(self) -> float:
        """Seconds since the start, compilation apart."""
        compiling = self._placement.compile_seconds - self._compiled
        seconds = time.perf_counter() - self._since - compiling
        self.position.compile_seconds += compiling
        self.start()
        return seconds


class DivergenceError(InputError):
    """The loss is no number any more."""


@dataclasses.dataclass
class Outcome:
    """What training leaves: where it stopped, and the tree to test."""

    position: Position
    trainable: Tree
    tested_step: int


def check_same(config: Config, system: System, checksums: list[int], position: Position) -> None:
    """Raises InputError where the base or the data, by its checksums, is another than what a run began with."""
    if position.checksums not in (None, checksums):
        raise InputError(
            f"data.path {config.data.path!r} holds other examples for training or validation than when this run began, "
            "or they are other tokens now: give the first data, or start in another --workdir"
        )
    if position.base_sha256 != system.base_sha256:
        raise InputError(
            f"model.ref {config.model.ref!r} holds other tensors than when this run began "
            f"(sha256 {system.base_sha256[:12]}, then {position.base_sha256[:12]}): "
            "give the first base, or start in another --workdir"
        )
