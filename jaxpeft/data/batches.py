"""Which examples make up which batch: a plan from (seed, epoch) alone, in a few fixed shapes.

Examples are shuffled, sorted into buckets of padded length, and each batch holds examples of one bucket; what
a bucket has left over joins the next longer one. So a batch pads little, a step compiles once a bucket, and an
epoch has ceil(N / batch) batches of which the last alone may be short.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxpeft.data.tokenise import Encoded

FULL_LENGTH = 128  # tokens: batches for evaluation have fewer rows where texts are longer
MULTIPLE = 8  # padded lengths are multiples of this, as vector units and tensor cores like them
Batch = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class BatchPlan:
    """The examples of one batch (their numbers, at most the batch size) and its padded length."""

    examples: np.ndarray
    length: int

    def part(self, rows: np.ndarray) -> "BatchPlan":
        """What stands in these rows of the batch, ascending; a batch that is short fills up from its first row."""
        return BatchPlan(self.examples[rows[rows < len(self.examples)]], self.length)


@dataclasses.dataclass(frozen=True)
class Targets:
    """What the loss wants of E examples of P tokens: a label int32 and a weight float32 for each example, or token.

    Both arrays are [P] where they are `of_tokens`, else [E].
    """

    label: np.ndarray
    weight: np.ndarray
    of_tokens: bool = False


def bucket_lengths(lengths: np.ndarray, count: int, longest: int) -> tuple[int, ...]:
    """Padded lengths, at most `count` of them up to the longest example, that waste the fewest tokens.

    Solved exactly by dynamic programming over the histogram of lengths. `longest` (the longest that any later
    example can be) is appended when no example came near it: a shape that compiles only if it is needed.
    """
    rounded = -(-np.maximum(lengths, 1) // MULTIPLE) * MULTIPLE
    sizes, examples = np.unique(rounded, return_counts=True)
    total = np.concatenate([[0], np.cumsum(examples)])
    cost = sizes * total[1:]  # padded tokens of the first i + 1 sizes in one bucket
    ends = [[i] for i in range(len(sizes))]
    for _ in range(min(count, len(sizes)) - 1):
        grown, new_cost = [], cost.copy()
        for i in range(len(sizes)):
            splits = [cost[j] + sizes[i] * (total[i + 1] - total[j + 1]) for j in range(i)]
            best = int(np.argmin(splits)) if splits else -1
            better = best >= 0 and splits[best] < cost[i]
            new_cost[i] = splits[best] if better else cost[i]
            grown.append([*ends[best], i] if better else ends[i])
        cost, ends = new_cost, grown
    buckets = tuple(int(sizes[i]) for i in ends[-1])
    ceiling = -(-longest // MULTIPLE) * MULTIPLE
    return buckets if buckets[-1] >= ceiling else (*buckets, ceiling)


def plan_epoch(
    lengths: np.ndarray, buckets: Sequence[int], batch_size: int, *, seed: int, epoch: int
) -> list[BatchPlan]:
    """One epoch's batches in their order: every example once."""
    generator = np.random.default_rng([seed, epoch])
    shuffled = generator.permutation(len(lengths))
    bucket_of = np.searchsorted(buckets, lengths[shuffled])
    plans, left_over = [], shuffled[:0]
    for number, length in enumerate(buckets):
        members = np.concatenate([left_over, shuffled[bucket_of == number]])
        whole = len(members) // batch_size * batch_size
        plans += [BatchPlan(chunk, length) for chunk in members[:whole].reshape(-1, batch_size)]
        left_over = members[whole:]
    if len(left_over):
        longest = buckets[int(np.searchsorted(buckets, lengths[left_over].max()))]
        plans.append(BatchPlan(left_over, longest))
    return [plans[i] for i in generator.permutation(len(plans))]


def evaluation_rows(length: int, batch_size: int, parts: int) -> int:
    """Rows of a batch for evaluation: `batch_size`; of long texts fewer, so that it has no more tokens for them."""
    return max(batch_size * min(FULL_LENGTH, length) // length // parts, 1) * parts


def plan_evaluation(lengths: np.ndarray, buckets: Sequence[int], batch_size: int, parts: int) -> list[BatchPlan]:
    """Batches for evaluation: sorted by length, every example once, of `evaluation_rows` at most.

    What does not fill a batch of its bucket goes into the next longer one, where that pads less.
    """
    order = np.argsort(lengths, kind="stable")
    ends = np.searchsorted(lengths[order], buckets, side="right")
    plans, start = [], 0
    for length, longer, end in zip(buckets, (*buckets[1:], np.inf), ends.tolist(), strict=True):
        rows = evaluation_rows(length, batch_size, parts)
        while start < end:
            members = order[start : min(start + rows, end)]
            empty = (rows - len(members)) * length
            if 0 < empty > len(members) * (longer - length) and end < len(order):
                break
            plans.append(BatchPlan(members, length))
            start += len(members)
    return plans


def assemble(plan: BatchPlan, encoded: Encoded, targets: Targets | None, batch_size: int) -> Batch:
    """The arrays of a batch of B examples padded to T tokens; what is missing or padding weighs zero.

    ids int32 [B, T], mask bool [B, T], segments int32 [B, T] (pairs only), example uint32 [B] (the number that picks
    the dropout mask), and with targets label int32 and weight float32, [B] or [B, T].
    """
    rows = len(plan.examples)
    shape = (batch_size, plan.length)
    starts, ends = encoded.starts[plan.examples], encoded.starts[plan.examples + 1]
    mask = np.zeros(shape, bool)
    mask[:rows] = np.arange(plan.length) < (ends - starts)[:, None]
    none = np.empty(0, np.int64)  # of a part of a short batch
    positions = np.concatenate([none, *(np.arange(start, end) for start, end in zip(starts, ends, strict=True))])

    def of_tokens(column: np.ndarray, dtype: type) -> np.ndarray:
        spread: np.ndarray = np.zeros(shape, dtype)
        spread[mask] = column[positions]
        return spread

    def of_examples(column: np.ndarray, dtype: type) -> np.ndarray:
        spread: np.ndarray = np.zeros(batch_size, dtype)
        spread[:rows] = column[plan.examples]
        return spread

    batch: Batch = {"ids": of_tokens(encoded.ids, np.int32), "example": np.zeros(batch_size, np.uint32)}
    batch["example"][:rows] = plan.examples
    if encoded.segments is not None:
        batch["segments"] = of_tokens(encoded.segments, np.int32)
    if targets is not None:
        spread = of_tokens if targets.of_tokens else of_examples
        batch["label"], batch["weight"] = spread(targets.label, np.int32), spread(targets.weight, np.float32)
    mask[:, 0] = True  # a row of padding alone would have nothing to attend to
    return batch | {"mask": mask}
