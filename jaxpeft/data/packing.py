"""Texts end to end: the tokens of a batch in one row a device, with little padding behind them, in few shapes.

Which examples make up a batch is the plan of `batches`: texts of like length. A model sees of each text what it would
in a row of its own. Attention is computed that way (`models.layout`), over as many places as the bucket's longest text
has; all else has one row to go through, which is as long as the texts are together.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from jaxpeft.data.batches import MULTIPLE, Batch, BatchPlan, Targets, assemble
from jaxpeft.data.tokenise import Encoded

DRAWN = 1000  # steps, of which a row's length has room for all
WORTH = 0.05  # of a bucket's batches: padding that costs as much as taking texts apart for attention, and together
TOKENS = 32  # a text, where a batch for evaluation holds as many texts as it is said to
BATCHES, FEWEST = 16, 16  # of a split for evaluation, at least, and texts that each is said to hold


@dataclasses.dataclass(frozen=True)
class Shape:
    """R rows of T tokens, each for K texts of up to L tokens; virtual tokens are among both."""

    rows: int
    tokens: int
    texts: int
    length: int


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where E examples stand: the row of each, which text of the row it is, and its first place there, all [E]."""

    examples: np.ndarray
    row: np.ndarray
    slot: np.ndarray
    start: np.ndarray

    def part(self, rows: np.ndarray) -> "Placed":
        """What stands in these rows, ascending, which are then numbered from 0."""
        chosen = np.isin(self.row, rows)
        return Placed(
            self.examples[chosen], np.searchsorted(rows, self.row[chosen]), self.slot[chosen], self.start[chosen]
        )


def place(examples: np.ndarray, lengths: np.ndarray, row: np.ndarray) -> Placed:
    """Where examples of these lengths stand of which each goes into a row: end to end, in their order. All [E]."""
    order = np.argsort(row, kind="stable")
    row, before = row[order], np.cumsum(lengths[order]) - lengths[order]
    first = np.searchsorted(row, row)  # the first text of each one's row
    return Placed(examples[order], row, np.arange(len(row)) - first, before - before[first])


def at_least_one(lengths: np.ndarray) -> np.ndarray:
    """A text without a token has the place of one, as in a row of its own: else it would share another's."""
    return np.maximum(lengths, 1)


def deal(lengths: np.ndarray, rows: int) -> np.ndarray:
    """The row of each text [E], so that all have as many texts and much the same number of tokens.

    The longest are dealt first, from the left and then from the right, and so on.
    """
    row = np.empty(len(lengths), np.int64)
    lap, place = np.divmod(np.arange(len(lengths)), rows)
    row[np.argsort(-lengths, kind="stable")] = np.where(lap % 2, rows - 1 - place, place)
    return row


@dataclasses.dataclass(frozen=True)
class Packing:
    """How training's batches are packed.

    shapes: by the bucket, for those whose batches would else be padding by `WORTH` or more.
    virtual: tokens that a prompt puts before each text, in its row.
    """

    shapes: dict[int, Shape]
    virtual: int = 0

    @classmethod
    def of(
        cls,
        lengths: np.ndarray,
        buckets: Sequence[int],
        batch_size: int,
        *,
        passes: int = 1,
        parts: int = 1,
        virtual: int = 0,
    ) -> "Packing":
        """For steps of some passes over examples of these lengths [E], in a row for each of `parts` devices.

        A row's length is told from batches drawn from its bucket, whatever the order of the examples.
        """
        texts, shapes, lengths = batch_size // parts, {}, np.sort(at_least_one(lengths))
        for shorter, length in zip((0, *buckets), buckets, strict=False):
            own = lengths[(lengths > shorter) & (lengths <= length)]
            if not len(own):
                continue
            drawn = np.random.default_rng(0).choice(own, (DRAWN * passes, batch_size)).sum(axis=1)
            tokens = -(-(int(drawn.max()) // parts + texts * virtual) // MULTIPLE) * MULTIPLE
            if tokens <= (1 - WORTH) * texts * (length + virtual):
                shapes[length] = Shape(parts, tokens, texts, length + virtual)
        return cls(shapes, virtual)

    def shape(self, plan: BatchPlan, lengths: np.ndarray, batch_size: int) -> Shape | None:
        """The shape of a step in passes over `batch_size` texts; None where it is padded, as `assemble` does.

        That is so in buckets which are not worth it, and of the few batches with more tokens than a shape foresees.
        """
        shape, lengths = self.shapes.get(plan.length), at_least_one(lengths)
        if shape is None:
            return None
        for start in range(0, len(plan.examples), batch_size):
            own = lengths[plan.examples[start : start + batch_size]]
            if np.bincount(deal(own, shape.rows), weights=own + self.virtual).max() > shape.tokens:
                return None
        return shape

    def batch(
        self, plan: BatchPlan, encoded: Encoded, targets: Targets, shape: Shape, passes: int, own_rows: np.ndarray
    ) -> Batch:
        """The arrays [A, R, ...] of a step in A passes, as `assemble_packed` has them: those rows that are `own`."""
        lengths, size = at_least_one(encoded.lengths), shape.rows * shape.texts
        batches = []
        for start in range(0, passes * size, size):
            examples = plan.examples[start : start + size]
            row = deal(lengths[examples], shape.rows)
            placed = place(examples, lengths[examples] + self.virtual, row).part(own_rows)
            own_shape = dataclasses.replace(shape, rows=len(own_rows))
            batches.append(assemble_packed(placed, encoded, targets, own_shape, self.virtual))
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def step_batch(
    plan: BatchPlan,
    encoded: Encoded,
    targets: Targets,
    batch_size: int,
    *,
    passes: int = 1,
    packing: Packing | None = None,
    own_rows: Callable[[int], np.ndarray] = np.arange,
) -> Batch:
    """The arrays [A, R, ...] of a step in A passes over `batch_size` examples each, packed where that is worth it.

    `own_rows` says which of a number of rows this process wants. See `assemble_packed` and `batches.assemble`.
    """
    if packing and (shape := packing.shape(plan, encoded.lengths, batch_size)):
        return packing.batch(plan, encoded, targets, shape, passes, own_rows(shape.rows))
    own = own_rows(batch_size)
    rows = (np.arange(0, batch_size * passes, batch_size)[:, None] + own).ravel()
    batch = assemble(plan.part(rows), encoded, targets, len(rows))
    return {name: leaf.reshape(passes, len(own), *leaf.shape[1:]) for name, leaf in batch.items()}


def assemble_packed(placed: Placed, encoded: Encoded, targets: Targets | None, shape: Shape, virtual: int = 0) -> Batch:
    """The arrays of R rows of T tokens with up to K texts of L tokens each; what is missing or padding weighs zero.

    ids int32 [R, T], grid int32 [R, K, L] (the token of its row at each place of each text, T where there is none; a
    text has `virtual` tokens more than its own, which come first), segments int32 [R, T] (pairs only), example uint32
    [R, K] (the number that picks the dropout mask), and with targets label int32 and weight float32, [R, K] or [R, T].
    """
    of_tokens = (*_tokens_of(placed, encoded, virtual), (shape.rows, shape.tokens))
    of_texts = ((placed.row, placed.slot), placed.examples, (shape.rows, shape.texts))

    def spread(where: tuple, column: np.ndarray, dtype: type) -> np.ndarray:
        target, source, size = where
        array: np.ndarray = np.zeros(size, dtype)
        array[target] = column[source]
        return array

    place = np.arange(shape.length)
    there = place < at_least_one(encoded.lengths)[placed.examples, None] + virtual
    grid = np.full((shape.rows, shape.texts, shape.length), shape.tokens, np.int32)
    grid[placed.row, placed.slot] = np.where(there, placed.start[:, None] + place, shape.tokens)
    batch: Batch = {"ids": spread(of_tokens, encoded.ids, np.int32), "grid": grid}
    batch["example"] = spread(of_texts, np.arange(len(encoded)), np.uint32)
    if encoded.segments is not None:
        batch["segments"] = spread(of_tokens, encoded.segments, np.int32)
    if targets is not None:
        where = of_tokens if targets.of_tokens else of_texts
        batch["label"] = spread(where, targets.label, np.int32)
        batch["weight"] = spread(where, targets.weight, np.float32)
    return batch


def _tokens_of(placed: Placed, encoded: Encoded, virtual: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Of every token of the texts: its row and its place there, and its number among all tokens of the split."""
    lengths = encoded.lengths[placed.examples]
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    row, start, source = (
        np.repeat(column, lengths) for column in (placed.row, placed.start, encoded.starts[placed.examples])
    )
    return (row, start + virtual + within), source + within


def evaluation_shape(length: int, shorter: int, batch_size: int, *, parts: int = 1, virtual: int = 0) -> Shape:
    """The shape in which texts of more than `shorter` tokens, up to `length`, are evaluated.

    Batches of all lengths have about the same number of tokens, those of `batch_size` texts of `TOKENS` each. They have
    room for as many texts as that is of the mean length, which is taken to be in the middle, or the longer half's.
    """
    tokens = max(batch_size // parts * TOKENS, length + virtual)
    texts = math.ceil(tokens / ((max(shorter, length / 2) + length) / 2 + virtual))
    most = max(tokens // (shorter + 1 + virtual), 1)
    return Shape(parts, tokens, min(texts, most), length + virtual)


def plan_evaluation_packed(
    lengths: np.ndarray, buckets: Sequence[int], batch_size: int, *, parts: int = 1, virtual: int = 0
) -> list[tuple[Placed, Shape]]:
    """Batches for evaluation, every example once, each with its shape: one shape a bucket.

    Of a small split batches are a half, a quarter, ... as large: the last one of each bucket, which has room left,
    would be much of all. Within a bucket texts are shuffled, so that its rows are alike. A last batch whose texts take
    less than half of one of the next bucket goes there. If all are one batch it is halved as long as they fit: a single
    text waits for no other.
    """
    while batch_size > FEWEST * parts and (lengths + virtual).sum() < BATCHES * TOKENS * batch_size:
        batch_size //= 2
    shapes = [
        evaluation_shape(length, shorter, batch_size, parts=parts, virtual=virtual)
        for shorter, length in zip((0, *buckets), buckets, strict=False)
    ]
    lengths, shuffled = at_least_one(lengths), np.random.default_rng(0).permutation(len(lengths))
    bucket_of = np.searchsorted(buckets, lengths[shuffled])
    plans: list[tuple[Placed, Shape]] = []
    left_over = shuffled[:0]
    for number, shape in enumerate(shapes):
        members = np.concatenate([left_over, shuffled[bucket_of == number]])
        left_over = shuffled[:0]
        row = fill(lengths[members] + virtual, shape)
        for first in range(0, int(row.max(initial=-1)) + 1, shape.rows):
            own = (row >= first) & (row < first + shape.rows)
            examples, more = members[own], (bucket_of > number).any()
            if own[-1] and more and _is_little(lengths[examples] + virtual, shapes[number + 1]):
                left_over = examples
            else:
                plans.append((place(examples, lengths[examples] + virtual, row[own] - first), shape))
    return [_halved(*plans[0], lengths + virtual)] if len(plans) == 1 else plans


def _halved(placed: Placed, shape: Shape, lengths: np.ndarray) -> tuple[Placed, Shape]:
    """The batch in the smallest half, quarter, ... of its shape that has room for it."""
    examples = placed.examples
    while True:
        half = dataclasses.replace(shape, tokens=shape.tokens // 2, texts=max(shape.texts // 2, 1))
        if half.tokens < half.length or (row := fill(lengths[examples], half)).max() >= half.rows:
            return placed, shape
        placed, shape = place(examples, lengths[examples], row), half


def fill(lengths: np.ndarray, shape: Shape) -> np.ndarray:
    """The row of each text [E], from 0 on: the next one where tokens or texts of the last have no room for it."""
    row = np.empty(len(lengths), np.int64)
    current, tokens, texts = 0, 0, 0
    for number, length in enumerate(lengths.tolist()):
        if tokens + length > shape.tokens or texts == shape.texts:
            current, tokens, texts = current + 1, 0, 0
        row[number], tokens, texts = current, tokens + length, texts + 1
    return row


def _is_little(lengths: np.ndarray, shape: Shape) -> bool:
    """Whether texts take less than half of the tokens and of the texts of a batch."""
    return 2 * lengths.sum() < shape.rows * shape.tokens and 2 * len(lengths) < shape.rows * shape.texts
