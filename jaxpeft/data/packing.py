"""Several short texts in one row, so that a batch of mixed lengths pads little: which share a row, in few shapes.

A batch is a plain shuffle's next examples: nothing is sorted by length. Its texts go into as few rows as they fit in,
longest first, each into the row that it fills best; the rows' number is rounded up to one of a few shapes, each of
which compiles once. What a model sees of a text does not depend on the row that it stands in.
"""

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from jaxpeft.data.batches import FULL_LENGTH, MULTIPLE, Batch, BatchPlan, Targets, evaluation_rows
from jaxpeft.data.tokenise import Encoded

SHORTEST = FULL_LENGTH  # tokens of a row, unless a text is longer: more fit better, but attention then costs more
SAMPLE = 256  # batches, from which the shapes of all are told
MARGIN = 1.5  # tokens of a batch that none of those foretold, over those of the largest

Shape = tuple[int, int]  # rows, and tokens of each


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


def fill(lengths: np.ndarray, length: int) -> list[list[int]]:
    """Rows of `length` tokens, each a list of texts by number: longest first, each into the row that it fills best."""
    rows: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(length + 1)]  # rows that are open, by the tokens left in them
    for text in np.argsort(-lengths, kind="stable").tolist():
        size = int(lengths[text])
        room = next((room for room in range(size, length + 1) if by_room[room]), None)
        if room is None:
            rows.append([])
        row = len(rows) - 1 if room is None else by_room[room].pop()
        rows[row].append(text)
        if len(rows[row]) < slots(length):
            by_room[(length if room is None else room) - size].append(row)
    return rows


def slots(length: int) -> int:
    """The most texts in a row: as many as if each were padded as usual."""
    return length // MULTIPLE


def row_lengths(longest: int) -> tuple[int, ...]:
    """128, 256, ... and at last what the longest text takes."""
    ceiling, found = -(-longest // MULTIPLE) * MULTIPLE, [SHORTEST]
    while found[-1] < ceiling:
        found.append(min(2 * found[-1], ceiling))
    return tuple(found)


def shortest_row(lengths: np.ndarray, choice: Sequence[int]) -> int:
    """The first of the lengths of rows, ascending, that has room for each of the texts."""
    return choice[int(np.searchsorted(choice, lengths.max(initial=0)))]


@dataclasses.dataclass(frozen=True)
class Packing:
    """How training's batches are packed.

    shapes: those that there are, the fewest tokens first; the last has room for any batch.
    virtual: tokens that a prompt puts before each text, in its row.
    """

    shapes: tuple[Shape, ...]
    virtual: int = 0

    @classmethod
    def of(
        cls, lengths: np.ndarray, batch_size: int, *, count: int, longest: int, virtual: int, parts: int, seed: int
    ) -> "Packing":
        """For examples of these lengths [E], at most `longest`.

        At most `count` shapes, and two that compile only if they are needed: one half as large again as any batch of
        the sample, and one for the worst case. Rows are a multiple of `parts`.
        """
        choice, generator = row_lengths(longest + virtual), np.random.default_rng(seed)
        needs: collections.Counter[Shape] = collections.Counter()
        for _ in range(min(SAMPLE, 4 * -(-len(lengths) // batch_size))):
            drawn = generator.choice(lengths, batch_size) + virtual
            length = shortest_row(drawn, choice)
            needs[-(-len(fill(drawn, length)) // parts) * parts, length] += 1
        most = MARGIN * max(map(_tokens, needs))
        rare = min(math.ceil(most / choice[-1] / parts) * parts, batch_size), choice[-1]
        return cls((*fewer(needs, count, rare), rare, (batch_size, choice[-1])), virtual)

    def plan_epoch(self, examples: int, batch_size: int, *, seed: int, epoch: int) -> list[BatchPlan]:
        """One epoch's batches in their order: every example once. Their shapes are told when they are packed."""
        shuffled = np.random.default_rng([seed, epoch]).permutation(examples)
        cuts = range(batch_size, examples, batch_size)
        return [BatchPlan(part, 0) for part in np.split(shuffled, cuts)]

    def batch(
        self,
        examples: np.ndarray,
        encoded: Encoded,
        targets: Targets,
        *,
        passes: int,
        batch_size: int,
        own_rows: Callable[[int], np.ndarray],
    ) -> Batch:
        """The arrays [A, R, ...] of a step in A passes over `batch_size` examples each, in one of the shapes.

        `own_rows` says which of a number of rows this process wants. See `assemble_packed`.
        """
        parts = [examples[start : start + batch_size] for start in range(0, passes * batch_size, batch_size)]
        lengths = encoded.lengths + self.virtual
        rows, length = next(shape for shape in self.shapes if all(_fits(lengths[part], shape) for part in parts))
        own = own_rows(rows)
        batches = []
        for part in parts:
            placed = place(part, lengths, fill(lengths[part], length)).part(own)
            batches.append(assemble_packed(placed, encoded, targets, (len(own), length), self.virtual))
        return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def _fits(lengths: np.ndarray, shape: Shape) -> bool:
    rows, length = shape
    if lengths.max(initial=0) > length or lengths.sum() > rows * length:
        return False
    return len(fill(lengths, length)) <= rows


def fewer(needs: collections.Counter[Shape], count: int, rare: Shape) -> tuple[Shape, ...]:
    """At most `count` of the shapes, fewest tokens first: those are left out without which the least is padded.

    A batch goes into the smallest shape that has rows as long as its own, and as many tokens, or into the `rare` one.
    """
    shapes = sorted(needs, key=_tokens)

    def padded(shapes: Sequence[Shape]) -> int:
        total = 0
        for need, batches in needs.items():
            sizes = [_tokens(one) for one in shapes if one[1] >= need[1] and _tokens(one) >= _tokens(need)]
            total += batches * min(sizes, default=_tokens(rare))
        return total

    while len(shapes) > count:
        shapes = min(([*shapes[:i], *shapes[i + 1 :]] for i in range(len(shapes))), key=padded)
    return tuple(shapes)


def _tokens(shape: Shape) -> int:
    return shape[0] * shape[1]


def place(examples: np.ndarray, lengths: np.ndarray, rows: Sequence[Sequence[int]]) -> Placed:
    """Where the examples stand that `rows` lists, by their number among `examples`, from the left of each row."""
    found = []
    for row, texts in enumerate(rows):
        start = 0
        for slot, text in enumerate(texts):
            found.append((examples[text], row, slot, start))
            start += int(lengths[examples[text]])
    return Placed(*np.array(found, np.int64).reshape(-1, 4).T)


def assemble_packed(placed: Placed, encoded: Encoded, targets: Targets | None, shape: Shape, virtual: int = 0) -> Batch:
    """The arrays of R rows of T tokens with up to K texts each; what is missing or padding weighs zero.

    ids int32 [R, T], lengths int32 [R, K] (those of the row's texts, each `virtual` tokens more than it has, which
    come first), segments int32 [R, T] (pairs only), example uint32 [R, K] (the number that picks the dropout mask),
    and with targets label int32 and weight float32, [R, K] or [R, T].
    """
    texts = (shape[0], slots(shape[1]))
    of_tokens = (*_tokens_of(placed, encoded, virtual), shape)
    of_texts = ((placed.row, placed.slot), placed.examples, texts)

    def spread(where: tuple, column: np.ndarray, dtype: type) -> np.ndarray:
        target, source, size = where
        array: np.ndarray = np.zeros(size, dtype)
        array[target] = column[source]
        return array

    batch: Batch = {"ids": spread(of_tokens, encoded.ids, np.int32)}
    batch["lengths"] = spread(of_texts, encoded.lengths + virtual, np.int32)
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


def plan_evaluation_packed(
    lengths: np.ndarray, longest: int, rows: int, *, virtual: int, parts: int
) -> list[tuple[Placed, Shape]]:
    """Batches for evaluation, every example once, each with its shape: one shape for each length of rows.

    All have about as many tokens, those of `rows` of the shortest rows: the longer, the fewer.
    """
    lengths, choice = lengths + virtual, row_lengths(longest + virtual)
    classes = np.searchsorted(choice, lengths)
    plans = []
    for number, length in enumerate(choice):
        members = np.flatnonzero(classes == number)
        count = evaluation_rows(length, rows, parts)
        filled = fill(lengths[members], length)
        for start in range(0, len(filled), count):
            plans.append((place(members, lengths, filled[start : start + count]), (count, length)))
    return plans
