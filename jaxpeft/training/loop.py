"""The training loop: plan, step, record, evaluate, keep, stop. All that it needs to go on after a kill is on disk."""

import collections
import dataclasses
import functools
import math
import time
from typing import Any

import jax
import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.batches import Batch, BatchPlan, plan_epoch
from jaxpeft.data.packing import Packing, step_batch
from jaxpeft.data.tokenise import Examples
from jaxpeft.peft import Tree
from jaxpeft.runtime import PeakMemory
from jaxpeft.tasks.task import Task
from jaxpeft.training import processes
from jaxpeft.training.checkpoint import Checkpoints
from jaxpeft.training.evaluation import Evaluator
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.parallel import Placement
from jaxpeft.training.position import Clock, DivergenceError, OnEvaluation, Outcome, Position, check_same
from jaxpeft.training.progress import Progress
from jaxpeft.training.step import draw_of, train_step
from jaxpeft.training.system import System
from jaxpeft.training.workdir import Workdir

STEPS_IN_FLIGHT = 4  # the host prepares this far ahead before it asks for a loss
SECONDS_BETWEEN_CHECKPOINTS = 60.0
STEPS_BETWEEN_CLOCKS = 16  # at which several processes agree on the time: they wait for one another and the devices


class Loop:
    """One run over a system and its splits."""

    row = 0  # of the run's loss among those that a step returns: one a device, or one a member of a population

    def __init__(
        self,
        config: Config,
        system: System,
        task: Task,
        train: Examples,
        validation: Examples,
        *,
        buckets: tuple[int, ...],
        placement: Placement,
        evaluator: Evaluator,
        workdir: Workdir,
        progress: Progress,
        memory: PeakMemory,
        packing: Packing | None = None,
        on_evaluation: OnEvaluation | None = None,
    ):
        self.config, self.system, self.task = config, system, task
        self.train, self.targets, self.validation = train, task.targets(train), validation
        self.checksums = [train.checksum(), validation.checksum()]
        self.buckets, self.packing, self.placement, self.evaluator = buckets, packing, placement, evaluator
        self.workdir, self.progress, self.memory, self.on_evaluation = workdir, progress, memory, on_evaluation
        settings = config.train
        self.steps_per_epoch = math.ceil(len(train.encoded) / (settings.batch_size * settings.accumulate))
        self.total = self.steps_per_epoch * settings.epochs
        if settings.steps is not None:
            self.total = min(self.total, settings.steps)
        self.eval_every = settings.eval_every or self.steps_per_epoch
        self.learning_rates = learning_rates(settings, self.total)
        self._step_flops = functools.cache(system.step_flops)
        self._epoch_plans: tuple[int, list[BatchPlan]] = (-1, [])
        self._in_flight: collections.deque[tuple[int, jax.Array]] = collections.deque()
        self.first_step_at: float | None = None
        self._make_step()

    def _make_step(self) -> None:
        config, system, placement = self.config, self.system, self.placement
        ratio = config.peft.lora.plus_ratio
        self.update = optimizer(config.train, system.trainable_labels(), plus_ratio=ratio)
        step = train_step(system.graphdef, self.update, self.task.loss_sum, axis=placement.axis)
        self.step_function = placement.compiled(step, donate=(0, 1), batch_argument=3)

    def run(self) -> Outcome:
        """Trains from the newest checkpoint, or from the start, to the end."""
        self.checkpoints = Checkpoints(self.workdir.checkpoints)
        self._resume()
        self.progress.start(self.position.step, self.total)
        if self.total == 0:
            self.position.stopped = self._reason_to_stop()
        self.clock = Clock(self.placement, self.position)
        try:
            while self.position.stopped is None:
                self._take_step()
                if self._evaluation_is_due():
                    self._evaluate()
                    self._save()
                elif self._checkpoint_is_due():
                    self._record(leave=0)
                    self._save()
        except DivergenceError:
            self.checkpoints.close()
            raise
        self.checkpoints.close()
        self.progress.close()
        return self.outcome()

    def outcome(self) -> Outcome:
        """What a finished run leaves."""
        if self.config.train.test_on == "best":
            return Outcome(self.position, self.best, self.position.best_step)
        return Outcome(self.position, self.placement.unreplicate(self.trainable), self.position.step)

    def _resume(self) -> None:
        trainable, first = self.system.trainable, processes.is_first()
        shapes, state_shapes = shapes_of(trainable), jax.eval_shape(self.update.init, trainable)
        found = self.checkpoints.restore(shapes, state_shapes, self.check, self.progress.say) if first else None
        position = processes.shared(found and found[3])
        if position is None:
            trainable = processes.shared_tree(trainable)  # each has filled its own, from a folder of its own
            state = self.update.init(trainable)
            self.best, self.position = on_host(trainable), self.beginning()
        else:
            loaded = found[:3] if found else zeros((shapes, state_shapes, shapes))
            trainable, state, self.best = processes.shared_tree(loaded)
            self.position = Position(**position)
            self.progress.say(f"continues at step {self.position.step} of {self.total}")
        if first:
            self.workdir.cut_metrics(self.position.step)
        self.system.trainable = shapes  # what it began with goes: it is trained from here on, or was before
        self.trainable, self.state = self.placement.replicate(trainable), self.placement.replicate(state)
        self.frozen = self.placement.place_frozen(self.system.frozen)
        self._saved_at = time.monotonic()

    def beginning(self) -> Position:
        """Where a run begins."""
        return Position(self.system.base_sha256, self.checksums)

    def check(self, position: dict[str, Any]) -> None:
        """Raises InputError where a checkpoint's position is one on another base or other data."""
        check_same(self.config, self.system, self.checksums, Position(**position))

    # One step

    def _take_step(self) -> None:
        number = self.position.step
        plan, batch = self._batch(number)
        draw = draw_of(seed_of(self.config, "dropout"), number)
        arguments = self.trainable, self.state, self.frozen, self.placement.shard(batch, axis=1)
        self.trainable, self.state, loss = self.step_function(*arguments, draw, self.learning_rates[number])
        self.took(plan, batch, loss)
        if self.first_step_at is None:
            jax.block_until_ready(loss)
            self.first_step_at = time.time()
        self._record(leave=STEPS_IN_FLIGHT)

    def took(self, plan: BatchPlan, batch: Batch, losses: jax.Array) -> None:
        """Counts a step that was handed to the devices; `batch` is this process's part of it."""
        self.position.step += 1
        self.position.examples += len(plan.examples)
        self.position.tokens += int(self.train.encoded.lengths[plan.examples].sum())
        self.position.flops += self._flops(batch)
        self._in_flight.append((self.position.step, losses))

    def _flops(self, batch: Batch) -> int:
        """Operations of the whole step, all processes' parts together."""
        passes, own, length = batch["ids"].shape
        size = self.config.train.batch_size
        if self.packing is None or "grid" not in batch:
            return self._step_flops(passes * own * size // len(self.placement.own_rows(size)), length)
        rows, (texts, longest) = passes * self.placement.parts, batch["grid"].shape[-2:]
        return self._step_flops(rows * texts, longest - self.packing.virtual, rows * length)

    def _batch(self, number: int) -> tuple[BatchPlan, Batch]:
        plan = self.plan(number)
        return plan, self.arrays(plan)

    def plan(self, number: int) -> BatchPlan:
        """The plan of a step."""
        settings = self.config.train
        epoch, index = divmod(number, self.steps_per_epoch)
        if self._epoch_plans[0] != epoch:
            size, seed = settings.batch_size * settings.accumulate, seed_of(self.config, "data")
            plans = plan_epoch(self.train.encoded.lengths, self.buckets, size, seed=seed, epoch=epoch)
            self._epoch_plans = epoch, plans
        return self._epoch_plans[1][index]

    def arrays(self, plan: BatchPlan) -> Batch:
        """This process's rows of a batch: [A, B, ...] for A forward passes."""
        settings = self.config.train
        return step_batch(
            plan,
            self.train.encoded,
            self.targets,
            settings.batch_size,
            passes=settings.accumulate,
            packing=self.packing,
            own_rows=self.placement.own_rows,
        )

    # Records

    def _record(self, *, leave: int) -> None:
        """Logs finished steps, all but the last `leave`: the device never waits for the host to read a loss."""
        while len(self._in_flight) > leave:
            self._log(self._next_record())

    def _next_record(self) -> dict[str, Any]:
        step, array = self._in_flight.popleft()
        loss = float(np.asarray(array).reshape(-1)[self.row])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss} at step {step}")
        return {"step": step, "loss": loss, "learning_rate": float(self.learning_rates[step - 1, 0])}

    def _diverged(self, what: str) -> DivergenceError:
        return DivergenceError(
            f"{what}: lower train.learning_rate, set train.clip, or use model.dtype=float32; "
            f"checkpoints of earlier steps are in {self.workdir.checkpoints}"
        )

    def _log(self, record: dict[str, Any]) -> None:
        self.clock.stop()
        self.memory.sample()
        if processes.is_first():
            self.workdir.append_metrics(record)
        seconds = self.clock.position.train_seconds
        speed = self.position.examples / max(seconds, 1e-9)
        self.progress.step(record, self.total, speed, (self.total - record["step"]) * seconds / record["step"])

    # Evaluation, keeping, stopping

    def _evaluate(self) -> None:
        self._record(leave=1)
        record = self._next_record()
        with self.clock.evaluating():
            logits = self.evaluator.logits(self.trainable, self.frozen, self.validation)
            if not np.isfinite(logits).all():  # the loss of a step is told before its update
                raise self._diverged(f"logits of validation are not finite at step {self.position.step}")
            scores = self.task.scores(self.task.answers(logits, self.validation), self.validation, resamples=0)
            values = {name: interval["value"] for name, interval in scores.metrics.items()}
            self._keep_best(values)
        self._log({**record, "validation": values})
        name = self.task.select_metric
        shown = "undefined" if values[name] is None else f"{values[name]:.4f}"
        best = "  best so far" if self.position.stale == 0 else ""
        self.progress.say(f"step {self.position.step}/{self.total}  validation {name} {shown}{best}")
        self.position.stopped = self._reason_to_stop()
        self._show(values)

    def _show(self, values: dict[str, float | None]) -> None:
        """Shows an evaluation to who watches, and ends the run where they say so."""
        if self.on_evaluation is None:
            return
        reason = processes.shared(self.on_evaluation(self.position, values) if processes.is_first() else None)
        if reason is not None:
            self.position.stopped, self.position.called_off = reason, True

    def _keep_best(self, values: dict[str, float | None]) -> None:
        value, best = values[self.task.select_metric], self.position.best_value
        if self.position.best_step == 0 or (value is not None and (best is None or value > best)):
            self.best = on_host(self.placement.unreplicate(self.trainable))
            self.position.best_value, self.position.best_step, self.position.stale = value, self.position.step, 0
        else:
            self.position.stale += 1

    def _evaluation_is_due(self) -> bool:
        return self._reason_to_stop() is not None or self.position.step % self.eval_every == 0

    def _reason_to_stop(self) -> str | None:
        settings = self.config.train
        if self.position.step >= self.total:
            return "steps" if self.total == settings.steps else "epochs"
        if settings.seconds is not None and self._agreed(self.position.train_seconds >= settings.seconds):
            return "seconds"
        return "patience" if settings.patience is not None and self.position.stale >= settings.patience else None

    def _agreed(self, clock_says: bool) -> bool:
        """What the clock says; of several processes all go by the first one's, or they would part."""
        if not processes.several():
            return clock_says
        return self.position.step % STEPS_BETWEEN_CLOCKS == 0 and processes.shared(clock_says)

    def _checkpoint_is_due(self) -> bool:
        every = self.config.train.checkpoint_every
        if every is not None:
            return self.position.step % every == 0
        return self._agreed(time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS)

    def _save(self) -> None:
        self.clock.stop()
        trainable, state = self.placement.unreplicate((self.trainable, self.state))
        self.checkpoints.save(trainable, state, self.best, dataclasses.asdict(self.position))
        self._saved_at = time.monotonic()
        self.clock.start()


def shapes_of(tree: Tree) -> Tree:
    """What says of each leaf its shape and type, and holds no memory."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def zeros(shapes: Any) -> Any:
    """Arrays of these shapes and types in the host's memory."""
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)


def on_host(tree: Tree) -> Tree:
    """A copy that no later step overwrites."""
    return jax.tree.map(np.array, tree)


def seed_of(config: Config, source: str) -> int:
    """The seed of `data`, `init` or `dropout`."""
    own = getattr(config.seeds, source)
    return config.seed if own is None else own
