"""Logits of a split, by one road for training, evaluate and predict: so that they agree to the bit."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.data.batches import Batch, BatchPlan, assemble, plan_evaluation
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples, TextEncoder
from jaxpeft.peft import Tree
from jaxpeft.tasks.task import Task
from jaxpeft.training.parallel import Placement
from jaxpeft.training.step import forward_pass

BATCHES_IN_FLIGHT = 4  # the host prepares this far ahead before it asks for logits


def prepare(rows: Rows, encoder: TextEncoder, task: Task, cache: Path | None) -> Examples:
    """Tokenises a split, or takes its tokens from the cache folder. Raises InputError for another task's rows."""
    task.check(rows)
    return Examples(rows, encoder.encode(rows, cache))


class Evaluator:
    """The forward pass of one model on a placement: compiled once a length."""

    def __init__(self, graphdef: object, placement: Placement, buckets: Sequence[int], batch_size: int):
        self._placement, self._buckets, self._batch_size = placement, buckets, batch_size
        self._forward = placement.compiled(forward_pass(graphdef), batch_argument=2)

    def logits(self, trainable: Tree, frozen: Tree, examples: Examples) -> np.ndarray:
        """Logits float32 [E, C] of the examples in their order; the trees are placed already.

        Of a head that does not pool [words, C]: those of the tokens that answer for a word, in their order.
        """
        encoded = examples.encoded
        found: list[np.ndarray] = [np.empty(0)] * len(encoded)
        in_flight: collections.deque[tuple[BatchPlan, Any]] = collections.deque()

        def gather(plan: BatchPlan, output: Any) -> None:
            for example, logits in zip(plan.examples, self._placement.gather(output), strict=False):
                found[example] = logits if encoded.leads is None else logits[np.flatnonzero(encoded.leads_of(example))]

        rows = self._placement.own_rows(self._batch_size)
        for plan in plan_evaluation(encoded.lengths, self._buckets, self._batch_size):
            batch = assemble(plan.part(rows), encoded, None, len(rows))
            inputs: Batch = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
            in_flight.append((plan, self._forward(trainable, frozen, self._placement.shard(inputs, axis=0))))
            if len(in_flight) > BATCHES_IN_FLIGHT:
                gather(*in_flight.popleft())
        for plan, output in in_flight:
            gather(plan, output)
        return np.stack(found) if encoded.leads is None else np.concatenate(found)
