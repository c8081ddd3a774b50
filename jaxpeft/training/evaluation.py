"""Logits of a split, by one road for training, evaluate and predict: so that they agree to the bit."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.data.batches import Batch, assemble, evaluation_rows, plan_evaluation
from jaxpeft.data.packing import Placed, assemble_packed, plan_evaluation_packed
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded, Examples, TextEncoder
from jaxpeft.peft import Tree
from jaxpeft.tasks.task import Task
from jaxpeft.training.parallel import Placement
from jaxpeft.training.step import INPUTS, forward_pass

Answers = Callable[[np.ndarray], Iterable[tuple[int, np.ndarray]]]  # a batch's output -> examples and their logits
BATCHES_IN_FLIGHT = 4  # the host prepares this far ahead before it asks for logits


def prepare(rows: Rows, encoder: TextEncoder, task: Task, cache: Path | None) -> Examples:
    """Tokenises a split, or takes its tokens from the cache folder. Raises InputError for another task's rows."""
    task.check(rows)
    return Examples(rows, encoder.encode(rows, cache))


class Evaluator:
    """The forward pass of one model on a placement: compiled once a length.

    `packs`: texts stand end to end, each behind the model's prompt of so many tokens. None = a text a row.
    """

    def __init__(
        self,
        graphdef: object,
        placement: Placement,
        buckets: Sequence[int],
        batch_size: int,
        packs: int | None = None,
    ):
        self._placement, self._buckets, self._batch_size, self._packs = placement, buckets, batch_size, packs
        self._forward = placement.compiled(forward_pass(graphdef), batch_argument=2, deterministic=True)

    def logits(self, trainable: Tree, frozen: Tree, examples: Examples) -> np.ndarray:
        """Logits float32 [E, C] of the examples in their order; the trees are placed already.

        Of a head that does not pool [words, C]: those of the tokens that answer for a word, in their order.
        """
        encoded = examples.encoded
        found: list[np.ndarray] = [np.empty(0)] * len(encoded)
        in_flight: collections.deque[tuple[Answers, Any]] = collections.deque()

        def gather(answers: Answers, output: Any) -> None:
            for example, logits in answers(self._placement.gather(output)):
                found[example] = logits if encoded.leads is None else logits[np.flatnonzero(encoded.leads_of(example))]

        for batch, answers in self._padded(encoded) if self._packs is None else self._packed(encoded, self._packs):
            inputs = self._placement.shard({name: batch[name] for name in INPUTS if name in batch}, axis=0)
            in_flight.append((answers, self._forward(trainable, frozen, inputs)))
            if len(in_flight) > BATCHES_IN_FLIGHT:
                gather(*in_flight.popleft())
        for answers, output in in_flight:
            gather(answers, output)
        return np.stack(found) if encoded.leads is None else np.concatenate(found)

    def _padded(self, encoded: Encoded) -> Iterator[tuple[Batch, Answers]]:
        """Batches of a text a row."""
        size, parts = self._batch_size, self._placement.parts
        for plan in plan_evaluation(encoded.lengths, self._buckets, size, parts):
            rows = self._placement.own_rows(evaluation_rows(plan.length, size, parts))
            batch = assemble(plan.part(rows), encoded, None, len(rows))
            yield batch, functools.partial(zip, plan.examples, strict=False)

    def _packed(self, encoded: Encoded, prompt: int) -> Iterator[tuple[Batch, Answers]]:
        """Batches of texts end to end, each behind a prompt."""
        settings = {"parts": self._placement.parts, "virtual": prompt}
        for placed, shape in plan_evaluation_packed(encoded.lengths, self._buckets, self._batch_size, **settings):
            own = self._placement.own_rows(shape.rows)
            own_shape = dataclasses.replace(shape, rows=len(own))
            yield (
                assemble_packed(placed.part(own), encoded, None, own_shape, prompt),
                functools.partial(_unpacked, placed, prompt, of_tokens=encoded.leads is not None),
            )


def _unpacked(placed: Placed, prompt: int, output: np.ndarray, *, of_tokens: bool) -> Iterator[tuple[int, np.ndarray]]:
    """Each example with its logits among those of rows: [R, K, C], or of every token [R, T, C]."""
    for example, row, slot, start in zip(placed.examples, placed.row, placed.slot, placed.start, strict=True):
        yield example, output[row, start + prompt :] if of_tokens else output[row, slot]
