"""Fewer negative examples to train on: most pairs of concepts stand in no relation, and most of those are easy."""

import dataclasses

import numpy as np

from jaxpeft.data.naming import listed
from jaxpeft.data.splits import Splits
from jaxpeft.errors import InputError


def sample_negatives(splits: Splits, label: str, share: float, seed: int) -> Splits:
    """The splits with `share` of the training rows of `label`, at least one, drawn by the seed; all else stays.

    A row that a small share keeps, a larger one with the same seed keeps as well. `report` gets
    `negative_train_rows_left_out`. Raises InputError where no training row has the label.
    """
    labels = np.array(splits.train.label or (), dtype=object)
    negative = np.flatnonzero(labels == label)
    if not len(negative):
        raise InputError(
            f"data.negative_share is set, and no training row has data.negative_label {label!r}: "
            f"labels are {listed(splits.labels)}"
        )
    left_out = np.random.default_rng(seed).permutation(negative)[max(1, round(share * len(negative))) :]
    kept = np.setdiff1d(np.arange(len(labels)), left_out).tolist()
    report = splits.report | {"negative_train_rows_left_out": len(left_out)}
    return dataclasses.replace(splits, train=splits.train.take(kept), report=report)
