"""Packed rows: every text once and whole, in few shapes, the same for the same seed and epoch."""

import collections

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.batches import BatchPlan, Targets, assemble
from jaxpeft.data.packing import (
    Packing,
    assemble_packed,
    fewer,
    fill,
    place,
    plan_evaluation_packed,
    row_lengths,
    slots,
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


@given(LENGTHS, st.sampled_from([60, 64, 128]))
def test_rows_hold_every_text_once_and_are_no_more_than_needed(lengths, length):
    rows = fill(lengths, length)
    assert sorted(text for row in rows for text in row) == list(range(len(lengths)))
    totals = [int(lengths[row].sum()) for row in rows]
    assert max(totals) <= length
    assert max(map(len, rows)) <= slots(length)
    # Two rows that would fit into one are only left where one of them has as many texts as a row may have.
    for one, first in enumerate(totals):
        for other, second in enumerate(totals[:one]):
            assert first + second > length or len(rows[one]) + len(rows[other]) > slots(length)


@given(LENGTHS, st.integers(0, 3), st.booleans())
def test_a_row_is_its_texts_end_to_end(lengths, virtual, of_tokens):
    encoded = encoded_of(lengths)
    targets = targets_of(encoded, of_tokens)
    examples = np.random.default_rng(0).permutation(len(lengths))
    placed = place(examples, lengths + virtual, fill((lengths + virtual)[examples], 64))
    rows = int(placed.row.max()) + 2  # one is empty
    packed = assemble_packed(placed, encoded, targets, (rows, 64), virtual)
    alone = assemble(BatchPlan(np.arange(len(lengths)), 64), encoded, targets, len(lengths))
    assert sorted(placed.examples) == list(range(len(lengths)))
    for example, row, slot, start in zip(placed.examples, placed.row, placed.slot, placed.start, strict=True):
        assert packed["lengths"][row, slot] == lengths[example] + virtual
        assert start == packed["lengths"][row, :slot].sum()
        assert packed["example"][row, slot] == example
        tokens = slice(start + virtual, start + virtual + lengths[example])
        for name in ("ids", "segments", *(("label", "weight") if of_tokens else ())):
            np.testing.assert_array_equal(packed[name][row, tokens], alone[name][example, : lengths[example]])
            assert packed[name].dtype == alone[name].dtype
        if not of_tokens:
            assert packed["label"][row, slot] == targets.label[example]
            assert packed["weight"][row, slot] == targets.weight[example]
    assert packed["weight"].sum() == targets.weight.sum()
    assert np.count_nonzero(packed["ids"]) == lengths.sum()


@given(LENGTHS, st.integers(1, 9), st.integers(1, 2), st.integers(1, 3), st.integers(0, 2))
def test_a_step_has_its_own_examples_in_one_of_few_shapes(lengths, size, passes, parts, virtual):
    encoded, batch_size = encoded_of(lengths), size * parts
    targets = targets_of(encoded, of_tokens=False)
    packing = Packing.of(lengths, batch_size, count=3, longest=64, virtual=virtual, parts=parts, seed=1)
    assert len(packing.shapes) <= 3 + 2
    assert all(rows % parts == 0 for rows, _ in packing.shapes)
    plans = packing.plan_epoch(len(lengths), batch_size * passes, seed=1, epoch=2)
    assert sorted(np.concatenate([plan.examples for plan in plans])) == list(range(len(lengths)))
    assert all(len(plan.examples) == batch_size * passes for plan in plans[:-1])
    for plan in plans:

        def batch(own_rows, plan=plan):
            arguments = plan.examples, encoded, targets
            return packing.batch(*arguments, passes=passes, batch_size=batch_size, own_rows=own_rows)

        whole = batch(np.arange)
        assert whole["ids"].shape[1:] in packing.shapes
        for number in range(passes):
            own = np.sort(plan.examples[number * batch_size : (number + 1) * batch_size])
            np.testing.assert_array_equal(np.sort(whole["example"][number][whole["lengths"][number] > 0]), own)
        cut = [batch(lambda rows, part=part: np.arange(rows).reshape(parts, -1)[part]) for part in range(parts)]
        for name, array in whole.items():
            np.testing.assert_array_equal(np.concatenate([one[name] for one in cut], axis=1), array)


def test_a_plan_depends_on_seed_and_epoch_alone():
    lengths = np.random.default_rng(0).integers(2, 60, 100)

    def order(seed, epoch):
        packing = Packing.of(lengths, 8, count=3, longest=60, virtual=0, parts=1, seed=seed)
        return packing.shapes, *(tuple(plan.examples) for plan in packing.plan_epoch(100, 8, seed=seed, epoch=epoch))

    assert order(1, 2) == order(1, 2)
    assert len({order(seed, epoch)[1:] for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_few_shapes_pad_little_and_packing_pads_less_than_one_text_a_row():
    lengths = np.random.default_rng(0).integers(8, 60, 2000)
    encoded = encoded_of(lengths, pairs=False)
    packing = Packing.of(lengths, 32, count=3, longest=60, virtual=0, parts=1, seed=1)
    real = padded = 0
    for plan in packing.plan_epoch(2000, 32, seed=1, epoch=0):
        batch = packing.batch(
            plan.examples, encoded, targets_of(encoded, False), passes=1, batch_size=32, own_rows=np.arange
        )
        real, padded = real + lengths[plan.examples].sum(), padded + batch["ids"].size
    assert real / padded > 0.85


def test_the_shapes_left_out_are_those_without_which_least_is_padded():
    needs = collections.Counter({(4, 128): 10, (5, 128): 100, (6, 128): 90, (3, 256): 1, (9, 128): 5})
    rare = (32, 256)
    assert fewer(needs, 6, rare) == ((4, 128), (5, 128), (6, 128), (3, 256), (9, 128))
    assert fewer(needs, 3, rare) == ((5, 128), (3, 256), (9, 128))
    # Five batches in the rare shape are fewer tokens than nine rows for all.
    assert fewer(needs, 1, rare) == ((3, 256),)


@pytest.mark.parametrize(
    ("longest", "expected"), [(24, (128,)), (129, (128, 136)), (480, (128, 256, 480)), (512, (128, 256, 512))]
)
def test_rows_are_doubled_up_to_the_longest_text(longest, expected):
    assert row_lengths(longest) == expected


@given(st.lists(st.integers(1, 300), min_size=1, max_size=80).map(np.array), st.integers(1, 9), st.integers(1, 3))
def test_evaluation_has_every_example_once_in_rows_of_one_shape_a_length(lengths, rows, parts):
    plans = plan_evaluation_packed(lengths, 300, rows, virtual=2, parts=parts)
    assert sorted(np.concatenate([placed.examples for placed, _ in plans])) == list(range(len(lengths)))
    shapes = {shape for _, shape in plans}
    assert len({length for _, length in shapes}) == len(shapes)
    for placed, (count, length) in plans:
        assert count % parts == 0
        assert placed.row.max(initial=0) < count
        assert (placed.start + lengths[placed.examples] + 2 <= length).all()
