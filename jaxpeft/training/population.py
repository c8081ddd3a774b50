"""Many runs at once: small adapters on one base, whose steps are one program with a leading axis of runs.

A member is a `Loop` of its own: it plans its batches, keeps its records and its best step, and stops by itself. Only
its steps are taken for it, all members' in one. What it leaves is a workdir like that of the single run it equals.
"""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.batches import Batch
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Examples
from jaxpeft.peft import Tree, ranks
from jaxpeft.tasks.task import Task
from jaxpeft.training.checkpoint import Checkpoints
from jaxpeft.training.loop import SECONDS_BETWEEN_CHECKPOINTS, STEPS_IN_FLIGHT, Loop, on_host, seed_of
from jaxpeft.training.optimizer import optimizer
from jaxpeft.training.parallel import Placement
from jaxpeft.training.position import Clock, DivergenceError, Outcome, Position
from jaxpeft.training.progress import Progress
from jaxpeft.training.step import Arrays, population_step
from jaxpeft.training.system import System
from jaxpeft.training.workdir import Workdir

DIVERGED = "diverged"


class Member(Loop):
    """One run of a population, which takes its steps for it."""

    def __init__(
        self,
        name: str,
        row: int,
        config: Config,
        model: System,
        task: Task,
        examples: Mapping[str, Examples],
        splits: Splits,
        **shared: Any,
    ):
        """`row` is where it stands on the axis of members; `shared` goes to every `Loop`."""
        self.name, self.row, self.examples, self.splits = name, row, examples, splits
        self.logged: Mapping[str, Any] | None = None  # the latest record
        super().__init__(config, model, task, examples["train"], examples["validation"], **shared)

    def _make_step(self) -> None:
        """The population has one for all."""

    @property
    def going(self) -> bool:
        """Whether it has not stopped."""
        return self.position.stopped is None

    def begin(self, position: Position, best: Tree, clock: Clock) -> None:
        """Takes up the run where it was."""
        self.position, self.best, self.clock = position, best, clock
        self.frozen = self.placement.place_frozen(self.system.frozen)
        self.workdir.cut_metrics(position.step)
        self.progress.start(position.step, self.total)
        if self.total == 0:
            position.stopped = self._reason_to_stop()

    def record(self, *, leave: int) -> None:
        """Logs finished steps, all but the last `leave`."""
        with self._stopping_where_it_diverges():
            self._record(leave=leave)

    def evaluation_is_due(self) -> bool:
        """Whether its single run would evaluate after this step."""
        return self.going and self._evaluation_is_due()

    def evaluate(self, trainable: Tree) -> None:
        """Scores its leaves, keeps them if they are the best, and may stop."""
        self.trainable = trainable
        with self._stopping_where_it_diverges():
            self._evaluate()

    def _log(self, record: dict[str, Any]) -> None:
        super()._log(record)
        self.logged = record

    @contextlib.contextmanager
    def _stopping_where_it_diverges(self) -> Iterator[None]:
        try:
            yield
        except DivergenceError:
            self._in_flight.clear()
            self.position.stopped = DIVERGED
            self.progress.say("the loss is no number any more: it stops, the others go on")


class Population:
    """Members that train together. Stacked trees have a leading axis of members, and the largest of their ranks."""

    def __init__(
        self,
        config: Config,
        members: Sequence[Member],
        common: System,
        *,
        placement: Placement,
        workdir: Workdir,
        progress: Progress,
    ):
        """`common` is the system whose structure all share, see `peft.ranks`."""
        self.config, self.members, self.placement = config, members, placement
        self.workdir, self.progress, self.common = workdir, progress, common
        settings = [member.config.peft for member in members]
        self._rank = max(one.lora.rank for one in settings) if ranks.differ(settings) else None
        self._constants: dict[str, np.ndarray] = {
            "dropout_seed": np.array([seed_of(member.config, "dropout") for member in members], np.uint32)
        }
        if self._rank is not None:
            self._constants["scales"] = np.stack([ranks.column_scales(one.lora, self._rank) for one in settings])
        ratio = config.peft.lora.plus_ratio
        self._update = optimizer(config.train, common.trainable_labels(), plus_ratio=ratio)
        step = population_step(common.graphdef, self._update, members[0].task.loss_sum, _seen)
        self.step_function = placement.compiled(step, donate=(0, 1), batch_argument=3)
        self.first_step_at: float | None = None

    def run(self) -> None:
        """Trains every member from the newest checkpoint, or from the start, to its end."""
        self.checkpoints = Checkpoints(self.workdir.checkpoints)
        self._resume()
        total = max(member.total for member in self.members)
        self.progress.start(self.position.step, total)
        self.clock.start()
        while going := [member for member in self.members if member.going]:
            self._take_step(going)
            for member in going:
                member.record(leave=STEPS_IN_FLIGHT)
            if due := [member for member in going if member.evaluation_is_due()]:
                for member in due:
                    member.evaluate(self._own(self.trainable, member))
                self._save()
            elif self._checkpoint_is_due():
                self._save()
            self._show(total)
        self.checkpoints.close()
        self.progress.close()
        for member in self.members:
            member.progress.close()

    def outcome(self, member: Member) -> Outcome:
        """What a member that has stopped leaves."""
        member.trainable = self._own(self.trainable, member)
        return member.outcome()

    def _resume(self) -> None:
        trainable = self._stacked([member.system.trainable for member in self.members])
        initial_state = jax.vmap(self._update.init)
        state_shapes = jax.eval_shape(initial_state, trainable)
        found = self.checkpoints.restore(trainable, state_shapes, self._check, self.progress.say)
        if found is None:
            state = initial_state(trainable)
            self.position = Position(self.common.base_sha256)
            starts = {member.name: member.beginning() for member in self.members}
            best = trainable
        else:
            trainable, state, best, saved = found
            starts = {name: Position(**position) for name, position in saved.pop("members").items()}
            self.position = Position(**saved)
            self.progress.say(f"continues at step {self.position.step}")
        self.clock = Clock(self.placement, self.position)
        for member in self.members:
            member.begin(starts[member.name], on_host(self._own(best, member)), self.clock)
        self.trainable, self.state = self.placement.replicate(trainable), self.placement.replicate(state)
        self.frozen = self.placement.place_frozen(self.common.frozen)
        self._saved_at = time.monotonic()

    def _check(self, saved: dict[str, Any]) -> None:
        """Raises InputError where a member's data or base is another than when it began."""
        for member in self.members:
            member.check(saved["members"][member.name])

    def _take_step(self, going: Sequence[Member]) -> None:
        number = self.position.step
        plans = {member.row: member.plan(number) for member in going}
        longest = max(plan.length for plan in plans.values())
        own = {row: self.members[row].arrays(dataclasses.replace(plan, length=longest)) for row, plan in plans.items()}
        batch = self.placement.shard(self._batch(own), axis=2)
        arguments = self.trainable, self.state, self.frozen, batch, np.uint32(number), self._of_members(number)
        self.trainable, self.state, losses = self.step_function(*arguments)
        self.position.step += 1
        for member in going:
            before = member.position.tokens
            member.took(plans[member.row], own[member.row], losses)
            self.position.examples += len(plans[member.row].examples)
            self.position.tokens += member.position.tokens - before
        if self.first_step_at is None:
            jax.block_until_ready(losses)
            self.first_step_at = time.time()

    def _batch(self, own: Mapping[int, Batch]) -> Batch:
        """The batches of members that go on, by their row, as one; for the others stands that of any."""
        any_one = next(iter(own.values()))
        rows = [own.get(member.row, any_one) for member in self.members]
        return {name: np.stack([row[name] for row in rows]) for name in any_one}

    def _of_members(self, number: int) -> dict[str, np.ndarray]:
        """What the step wants to know of each member."""
        rates = [member.learning_rates[number] if member.going else np.zeros(2) for member in self.members]
        going = np.array([member.going for member in self.members])
        return {**self._constants, "rates": np.array(rates, np.float32), "going": going}

    def _stacked(self, trees: Sequence[Tree]) -> Tree:
        if self._rank is not None:
            trees = [ranks.widened(tree, self._rank) for tree in trees]
        return {path: jnp.stack([jnp.asarray(tree[path]) for tree in trees]) for path in trees[0]}

    def _own(self, stacked: Tree, member: Member) -> Tree:
        """A member's leaves as its single run has them."""
        tree = {path: leaf[member.row] for path, leaf in stacked.items()}
        return tree if self._rank is None else ranks.narrowed(tree, member.config.peft.lora.rank)

    def _checkpoint_is_due(self) -> bool:
        every = self.config.train.checkpoint_every
        if every is not None:
            return self.position.step % every == 0
        return time.monotonic() - self._saved_at > SECONDS_BETWEEN_CHECKPOINTS

    def _save(self) -> None:
        for member in self.members:
            member.record(leave=0)
        self.clock.stop()
        best = self._stacked([member.best for member in self.members])
        members = {member.name: dataclasses.asdict(member.position) for member in self.members}
        position = {**dataclasses.asdict(self.position), "members": members}
        self.checkpoints.save(self.trainable, self.state, best, position)
        self._saved_at = time.monotonic()
        self.clock.start()

    def _show(self, total: int) -> None:
        """The mean loss of the members' latest records."""
        records = [member.logged for member in self.members if member.logged]
        if not records:
            return
        step, seconds = max(record["step"] for record in records), self.position.train_seconds
        means = {name: float(np.mean([record[name] for record in records])) for name in ("loss", "learning_rate")}
        speed = self.position.examples / max(seconds, 1e-9)
        self.progress.step({"step": step, **means}, total, speed, (total - step) * seconds / step)


def _seen(trainable: Tree, member: Arrays) -> Tree:
    return ranks.scaled(trainable, member["scales"]) if "scales" in member else trainable
