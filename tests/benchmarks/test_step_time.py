import numpy as np
import pytest

from benchmarks import step_time


def test_any_few_batches_of_an_epoch_have_short_and_long_ones_in_its_proportions():
    lengths = np.random.default_rng(0).exponential(50, 200)
    batches = list(range(200))
    spread = step_time.spread(batches, lengths)
    assert sorted(spread) == batches
    for start in (0, 37, 120):
        part = lengths[spread[start : start + 25]]
        assert part.mean() == pytest.approx(lengths.mean(), rel=0.1)


def test_rates_are_of_real_tokens_so_that_no_side_gains_by_its_texts():
    short = step_time.summary([(100.0, 1000.0, 2.0)], mean_length=20.0)
    long = step_time.summary([(10.0, 1000.0, 2.0)], mean_length=20.0)
    assert short["examples_per_s"] == long["examples_per_s"] == 25.0
