"""Batch plans: every example once, the same for the same seed and epoch, in buckets that waste the least."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.batches import (
    BatchPlan,
    Targets,
    assemble,
    bucket_lengths,
    evaluation_rows,
    plan_epoch,
    plan_evaluation,
)
from jaxpeft.data.tokenise import Encoded

LENGTHS = st.lists(st.integers(2, 60), min_size=1, max_size=40).map(np.array)


def padded_tokens(lengths, buckets):
    return sum(min(bucket for bucket in buckets if bucket >= length) for length in lengths)


@given(LENGTHS, st.integers(1, 4))
def test_buckets_waste_no_more_tokens_than_any_others(lengths, count):
    sizes = sorted({-(-int(length) // 8) * 8 for length in lengths})
    longest = sizes[-1]
    choices = itertools.chain.from_iterable(itertools.combinations(sizes[:-1], k) for k in range(count))
    best = min(padded_tokens(lengths, (*choice, longest)) for choice in choices)
    found = bucket_lengths(lengths, count, longest)
    assert len(found) <= count
    assert list(found) == sorted(set(found))
    assert padded_tokens(lengths, found) == best


def test_a_bucket_for_the_longest_that_can_come_is_appended():
    assert bucket_lengths(np.array([5, 9]), 4, 128) == (8, 16, 128)
    assert bucket_lengths(np.array([5, 9]), 1, 16) == (16,)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_has_every_example_once_in_the_fewest_batches(lengths, count, size, epoch):
    buckets = bucket_lengths(lengths, count, 60)
    plans = plan_epoch(lengths, buckets, size, seed=1, epoch=epoch)
    assert sorted(np.concatenate([plan.examples for plan in plans])) == list(range(len(lengths)))
    assert len(plans) == -(-len(lengths) // size)
    assert sum(len(plan.examples) < size for plan in plans) <= 1
    for plan in plans:
        assert plan.length in buckets
        assert lengths[plan.examples].max() <= plan.length


def test_a_plan_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(2, 60, 100)
    buckets = bucket_lengths(lengths, 3, 60)

    def order(seed, epoch):
        plans = plan_epoch(lengths, buckets, 8, seed=seed, epoch=epoch)
        return [(plan.length, *plan.examples) for plan in plans]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1, 2)}) == 6


@given(LENGTHS, st.integers(1, 9), st.integers(1, 3))
def test_evaluation_has_every_example_once_sorted_by_length(lengths, size, parts):
    buckets = bucket_lengths(lengths, 3, 60)
    plans = plan_evaluation(lengths, buckets, size * parts, parts)
    order = np.concatenate([plan.examples for plan in plans])
    assert sorted(order) == list(range(len(lengths)))
    assert (np.diff(lengths[order]) >= 0).all()
    for plan in plans:
        assert plan.length in buckets
        assert lengths[plan.examples].max() <= plan.length
        assert len(plan.examples) <= evaluation_rows(plan.length, size * parts, parts) == size * parts


def test_evaluation_takes_fewer_rows_of_long_texts_and_fills_up_with_what_is_left_of_shorter_ones():
    assert [evaluation_rows(length, 64, 2) for length in (24, 128, 136, 480, 10_000)] == [64, 64, 60, 16, 2]
    lengths = np.array([24] * 70 + [40] * 20 + [480] * 4)
    plans = plan_evaluation(lengths, (24, 40, 480), 64, 1)
    # six of 24 pad less beside 20 of 40 than alone; those 26 are not put beside the four of 480
    assert [(plan.length, len(plan.examples)) for plan in plans] == [(24, 64), (40, 26), (480, 4)]
    assert [plan.length for plan in plan_evaluation(np.array([24] * 3), (24, 480), 64, 1)] == [24]


def encoded_examples(segments=None):
    """Three examples of 2, 3 and 4 tokens."""
    return Encoded(
        ids=np.arange(10, 19, dtype=np.int32), starts=np.array([0, 2, 5, 9]), row_of=np.arange(3), segments=segments
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_a_batch_pads_and_weighs(pairs):
    encoded = encoded_examples(np.array([0, 0, 0, 1, 0, 1, 1, 0, 1], np.uint8) if pairs else None)
    targets = Targets(np.array([7, 8, 9], np.int32), np.array([1, 1, 0.5], np.float32))
    batch = assemble(BatchPlan(np.array([2, 0]), 5), encoded, targets, 3)
    np.testing.assert_array_equal(batch["ids"], [[15, 16, 17, 18, 0], [10, 11, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(batch["mask"], [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(batch["label"], [9, 7, 0])
    np.testing.assert_array_equal(batch["weight"], [0.5, 1, 0])
    np.testing.assert_array_equal(batch["example"], [2, 0, 0])
    assert ("segments" in batch) == pairs
    if pairs:
        np.testing.assert_array_equal(batch["segments"], [[1, 1, 0, 1, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    assert {name: batch[name].dtype.name for name in ("ids", "mask", "weight", "example", "label")} == {
        "ids": "int32",
        "mask": "bool",
        "weight": "float32",
        "example": "uint32",
        "label": "int32",
    }


def test_labels_and_weights_of_tokens_stand_where_their_tokens_do():
    targets = Targets(np.arange(20, 29), np.arange(9) / 8, of_tokens=True)
    batch = assemble(BatchPlan(np.array([2, 0]), 5), encoded_examples(), targets, 3)
    np.testing.assert_array_equal(batch["label"], [[25, 26, 27, 28, 0], [20, 21, 0, 0, 0], [0] * 5])
    np.testing.assert_array_equal(batch["weight"] * 8, [[5, 6, 7, 8, 0], [0, 1, 0, 0, 0], [0] * 5])
    assert (batch["label"].dtype, batch["weight"].dtype) == (np.int32, np.float32)


@given(
    st.lists(st.integers(0, 7), min_size=1, max_size=12),
    st.integers(0, 12),
    st.lists(st.integers(0, 11), min_size=1, unique=True).map(sorted),
)
def test_a_part_of_a_batch_is_what_stands_in_its_rows(lengths, present, rows):
    starts = np.cumsum([0, *lengths])
    encoded = Encoded(ids=np.arange(10, 10 + starts[-1], dtype=np.int32), starts=starts, row_of=np.arange(len(lengths)))
    targets = Targets(np.arange(len(lengths)), np.ones(len(lengths)))
    plan = BatchPlan(np.arange(len(lengths))[::-1][:present], 8)
    whole = assemble(plan, encoded, targets, 12)
    part = assemble(plan.part(np.array(rows)), encoded, targets, len(rows))
    for name, leaf in whole.items():
        np.testing.assert_array_equal(part[name], leaf[rows], err_msg=name)


def test_a_batch_to_predict_on_has_no_labels_and_an_example_without_tokens_attends_to_something():
    encoded = Encoded(ids=np.array([5, 6]), starts=np.array([0, 0, 2]), row_of=np.arange(2))
    batch = assemble(BatchPlan(np.array([0, 1]), 8), encoded, None, 2)
    assert batch.keys() == {"ids", "mask", "example"}
    assert batch["mask"].sum(axis=1).tolist() == [1, 2]
    assert bucket_lengths(encoded.lengths, 2, 8) == (8,)
