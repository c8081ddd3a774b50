"""Texts end to end: every one once and whole, in few shapes, with little padding."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.batches import BatchPlan, Targets, assemble, bucket_lengths, plan_epoch
from jaxpeft.data.packing import (
    Packing,
    Shape,
    assemble_packed,
    deal,
    evaluation_shape,
    fill,
    place,
    plan_evaluation_packed,
)
from jaxpeft.data.tokenise import Encoded

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60).map(np.array)


def encoded_of(lengths, pairs=True):
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ids = np.arange(1, starts[-1] + 1, dtype=np.int32)
    segments = (ids % 2).astype(np.uint8) if pairs else None
    return Encoded(ids, starts, np.arange(len(lengths), dtype=np.int32), segments)


def targets_of(encoded, of_tokens):
    size = len(encoded.ids) if of_tokens else len(encoded)
    return Targets(np.arange(size) % 7, np.arange(1.0, size + 1), of_tokens)


@given(LENGTHS, st.integers(0, 3), st.booleans())
def test_a_row_is_its_texts_end_to_end(lengths, virtual, of_tokens):
    encoded = encoded_of(lengths)
    targets = targets_of(encoded, of_tokens)
    examples = np.random.default_rng(0).permutation(len(lengths))
    shape = Shape(0, 64, 9, 60 + virtual)
    row = fill(lengths[examples] + virtual, shape)
    shape = Shape(int(row.max()) + 2, *(64, 9, 60 + virtual))  # one is empty
    placed = place(examples, lengths[examples] + virtual, row)
    packed = assemble_packed(placed, encoded, targets, shape, virtual)
    alone = assemble(BatchPlan(np.arange(len(lengths)), 64), encoded, targets, len(lengths))
    assert sorted(placed.examples) == list(range(len(lengths)))
    there = packed["grid"] < 64
    assert there.sum() == lengths.sum() + virtual * len(lengths)
    for example, row, slot, start in zip(placed.examples, placed.row, placed.slot, placed.start, strict=True):
        whole = start + np.arange(virtual + lengths[example])
        np.testing.assert_array_equal(packed["grid"][row, slot][there[row, slot]], whole)
        assert there[row, slot, : len(whole)].all()
        assert start == there[row, :slot].sum()
        assert packed["example"][row, slot] == example
        for name in ("ids", "segments", *(("label", "weight") if of_tokens else ())):
            np.testing.assert_array_equal(packed[name][row, whole[virtual:]], alone[name][example, : lengths[example]])
            assert packed[name].dtype == alone[name].dtype
        if not of_tokens:
            assert packed["label"][row, slot] == targets.label[example]
            assert packed["weight"][row, slot] == targets.weight[example]
    assert packed["weight"].sum() == targets.weight.sum()
    assert np.count_nonzero(packed["ids"]) == lengths.sum()


@given(LENGTHS, st.integers(1, 5))
def test_rows_are_dealt_as_many_texts_and_much_the_same_tokens(lengths, rows):
    row = deal(lengths, rows)
    counts = np.bincount(row, minlength=rows)
    assert counts.max() - counts.min() <= 1
    tokens = np.bincount(row, weights=lengths, minlength=rows)
    whole = len(lengths) // rows * rows  # where each has as many
    if whole == len(lengths):
        assert tokens.max() - tokens.min() <= lengths.max() - lengths.min()


@given(LENGTHS, st.integers(1, 9), st.integers(1, 2), st.integers(1, 3), st.integers(0, 2))
def test_a_packed_step_has_its_own_examples(lengths, size, passes, parts, virtual):
    encoded, batch_size = encoded_of(lengths), size * parts
    targets = targets_of(encoded, of_tokens=False)
    buckets = bucket_lengths(lengths, 3, 60)
    packing = Packing.of(lengths, buckets, batch_size, parts=parts, virtual=virtual)
    for plan in plan_epoch(lengths, buckets, batch_size * passes, seed=1, epoch=2):
        if (shape := packing.shape(plan, lengths, batch_size)) is None:
            continue
        assert shape == packing.shapes[plan.length]
        assert shape.tokens <= 0.95 * size * (plan.length + virtual)
        whole = packing.batch(plan, encoded, targets, shape, passes, np.arange(parts))
        assert whole["ids"].shape == (passes, parts, shape.tokens)
        assert whole["grid"].shape == (passes, parts, size, plan.length + virtual)
        texts = (whole["grid"] < shape.tokens).any(axis=-1)
        for number in range(passes):
            own = np.sort(plan.examples[number * batch_size : (number + 1) * batch_size])
            np.testing.assert_array_equal(np.sort(whole["example"][number][texts[number]]), own)
        assert np.count_nonzero(whole["ids"]) == lengths[plan.examples].sum()
        cut = [packing.batch(plan, encoded, targets, shape, passes, np.array([part])) for part in range(parts)]
        for name, array in whole.items():
            np.testing.assert_array_equal(np.concatenate([one[name] for one in cut], axis=1), array)


@pytest.mark.parametrize(("parts", "real"), [(1, 0.91), (4, 0.9)])
def test_nearly_all_batches_are_packed_and_pad_little(parts, real):
    lengths = np.random.default_rng(0).integers(8, 60, 4000)
    buckets = bucket_lengths(lengths, 3, 60)
    packing = Packing.of(lengths, buckets, 32, parts=parts)
    assert packing.shapes == Packing.of(lengths[::-1], buckets, 32, parts=parts).shapes  # whatever the order
    plans = plan_epoch(lengths, buckets, 32, seed=1, epoch=0)
    shapes = [packing.shape(plan, lengths, 32) for plan in plans]
    worth = [shape is not None for plan, shape in zip(plans, shapes, strict=True) if plan.length in packing.shapes]
    assert len(worth) > 60
    assert np.mean(worth) > 0.98
    pairs = list(zip(plans, shapes, strict=True))
    assert lengths.sum() / sum(parts * one.tokens if one else 32 * plan.length for plan, one in pairs) > real
    assert lengths.sum() / sum(32 * plan.length for plan in plans) < 0.85


def test_a_batch_that_holds_more_than_foreseen_is_padded():
    lengths = np.array([1] * 96 + [24] * 4)
    packing = Packing.of(lengths, (24,), 8)
    assert packing.shape(BatchPlan(np.arange(4, 12), 24), lengths, 8) is not None
    assert packing.shape(BatchPlan(np.arange(92, 100), 24), lengths, 8) is None
    assert packing.shape(BatchPlan(np.arange(84, 100), 24), lengths, 8) is None  # one pass of two is enough


def test_where_texts_are_of_one_length_each_has_its_own_row():
    assert Packing.of(np.full(100, 24), (24, 32), 8, virtual=2).shapes == {}


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80).map(np.array), st.integers(1, 9), st.integers(1, 3))
def test_evaluation_has_every_example_once_in_one_shape_a_bucket(lengths, size, parts):
    buckets = bucket_lengths(lengths, 4, 300)
    plans = plan_evaluation_packed(lengths, buckets, size * parts, virtual=2, parts=parts)
    assert sorted(np.concatenate([placed.examples for placed, _ in plans])) == list(range(len(lengths)))
    shapes = {shape for _, shape in plans}
    assert len({shape.length for shape in shapes}) == len(shapes)
    for placed, shape in plans:
        assert shape.length - 2 in buckets
        assert shape.rows == parts
        assert lengths[placed.examples].max() + 2 <= shape.length
        assert placed.row.max() < shape.rows
        assert placed.slot.max() < shape.texts
        assert (placed.start + lengths[placed.examples] + 2 <= shape.tokens).all()


def test_a_few_texts_are_evaluated_with_the_next_longer_ones():
    lengths = np.array([5] * 100 + [20] * 100)
    few, many = (
        [len(placed.examples) for placed, shape in plan_evaluation_packed(lengths[chosen], (8, 24), 8)]
        for chosen in ([0, 1, 2, 199], slice(None))
    )
    assert few == [4]
    assert many == [43, 43, 14, *[12] * 8, 4]  # 256 tokens, or so many texts of 6


def test_a_bucket_is_not_compiled_for_texts_of_shorter_ones_alone():
    ((_, shape),) = plan_evaluation_packed(np.array([5, 6]), (8, 24, 480), 64)
    assert shape.length == 8


def test_where_one_batch_is_enough_it_is_no_larger_than_its_texts_want():
    sizes = {}
    for count in (1, 2, 5, 20):
        ((placed, shape),) = plan_evaluation_packed(np.full(count, 20), (8, 24), 64)
        assert (shape.rows, shape.length) == (1, 24)
        assert (placed.start + 20).max() <= shape.tokens
        assert count <= shape.texts
        sizes[count] = shape.tokens
    assert sizes == {1: 32, 2: 64, 5: 128, 20: 512}


@pytest.mark.parametrize(("count", "tokens"), [(40, 512), (500, 512), (1000, 1024), (1700, 2048), (9000, 2048)])
def test_of_a_small_split_batches_are_smaller(count, tokens):
    plans = plan_evaluation_packed(np.full(count, 20), (8, 24), 64)
    assert {shape.tokens for _, shape in plans} == {tokens}


@pytest.mark.parametrize("parts", [1, 3])
def test_however_small_a_split_is_batches_have_room_for_some_texts(parts):
    plans = plan_evaluation_packed(np.full(100, 20), (24,), 64 * parts, parts=parts)
    assert {(shape.rows, shape.tokens) for _, shape in plans} == {(parts, 512)}


def test_a_text_without_a_token_has_a_place_of_its_own():
    lengths = np.array([3, 0, 2])
    encoded = encoded_of(lengths)
    ((placed, shape),) = plan_evaluation_packed(lengths, (8,), 8)
    batch = assemble_packed(placed, encoded, None, shape)
    places = batch["grid"][0, np.argsort(placed.examples)]
    assert [int((own < shape.tokens).sum()) for own in places] == [3, 1, 2]
    assert len(set(places[places < shape.tokens].tolist())) == 6
    packing = Packing.of(lengths, (8,), 3)
    plan = BatchPlan(np.arange(3), 8)
    trained = packing.batch(plan, encoded, targets_of(encoded, False), packing.shape(plan, lengths, 3), 1, np.arange(1))
    assert (trained["grid"] < packing.shapes[8].tokens).sum() == 6


def test_there_is_no_room_for_more_texts_than_can_have_so_many_tokens():
    assert evaluation_shape(480, 400, 8).texts == 1  # of 480 tokens


def test_batches_of_all_lengths_have_much_the_same_tokens():
    assert evaluation_shape(24, 0, 64) == Shape(1, 2048, 114, 24)
    assert evaluation_shape(480, 300, 64, parts=2, virtual=10) == Shape(2, 1024, 3, 490)
    assert evaluation_shape(4096, 480, 64) == Shape(1, 4096, 2, 4096)
