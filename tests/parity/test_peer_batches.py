"""The peer of the benchmarks batches as transformers' trainer does."""

import itertools

import numpy as np
from transformers.trainer_pt_utils import get_length_grouped_indices

from benchmarks.torch_peer import grouped_batches, padded

SIZE = 4


def test_texts_of_like_length_are_grouped_as_by_the_trainer():
    lengths = np.random.default_rng(0).integers(1, 500, 203)
    ours = np.concatenate(list(itertools.islice(grouped_batches(lengths, SIZE, seed=1), 51)))
    theirs = np.array(get_length_grouped_indices(lengths.tolist(), SIZE))
    stretch = 12 * SIZE
    for order in (ours, theirs):
        assert sorted(order) == list(range(203))
        assert lengths[order[0]] == lengths.max()
        for start in range(0, 203, stretch):
            assert (np.diff(lengths[order[start : start + stretch]][1:]) <= 0).all()


def test_a_batch_is_padded_to_its_longest_text():
    assert padded([np.ones(3, np.int64), np.ones(5, np.int64)], 0).shape == (2, 5)
