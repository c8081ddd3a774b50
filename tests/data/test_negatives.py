"""Negative examples left out of training."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.negatives import sample_negatives
from jaxpeft.data.rows import Rows
from jaxpeft.data.splits import Splits
from jaxpeft.errors import InputError


def splits_of(labels):
    train = Rows(text=[str(row) for row in range(len(labels))], label=list(labels))
    other = Rows(text=["x", "y"], label=["none", "none"])
    return Splits(train, other, other, ("none", "yes"), {"kept": 1}, train)


def kept(splits, share, seed=0):
    train = sample_negatives(splits, "none", share, seed).train
    return list(zip(train.text, train.label, strict=True))


@given(st.lists(st.sampled_from(["none", "yes"]), min_size=1, max_size=40).filter(lambda labels: "none" in labels),
       st.floats(0.01, 1), st.integers(0, 3))  # fmt: skip
def test_a_share_of_the_negative_rows_is_kept_and_every_other(labels, share, seed):
    splits = splits_of(labels)
    found = sample_negatives(splits, "none", share, seed)
    rows = list(zip(found.train.text, found.train.label, strict=True))
    assert [row for row in rows if row[1] == "yes"] == [
        (str(row), label) for row, label in enumerate(labels) if label == "yes"
    ]
    assert [int(text) for text, _ in rows] == sorted({int(text) for text, _ in rows})
    assert sum(label == "none" for _, label in rows) == max(1, round(share * labels.count("none")))
    assert found.report == {"kept": 1, "negative_train_rows_left_out": len(labels) - len(rows)}
    assert (found.validation, found.test, found.labels) == (splits.validation, splits.test, splits.labels)


def test_the_draw_depends_on_the_seed_and_a_larger_share_keeps_what_a_smaller_one_does():
    splits = splits_of(["none", "yes"] * 30)
    assert kept(splits, 0.5) == kept(splits, 0.5)
    assert kept(splits, 0.5, seed=1) != kept(splits, 0.5, seed=2)
    assert set(kept(splits, 0.2)) < set(kept(splits, 0.6))
    assert kept(splits, 1.0) == [(str(row), ("none", "yes")[row % 2]) for row in range(60)]


def test_no_negative_row_is_an_error_with_the_labels():
    with pytest.raises(InputError, match=r"no training row has data\.negative_label 'none': labels are none, yes"):
        sample_negatives(splits_of(["yes"]), "none", 0.5, 0)
