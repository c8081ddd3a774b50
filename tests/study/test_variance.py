"""Shares of variance: exact where nothing is drawn, right on average, and within their intervals."""

import numpy as np
import pytest

from jaxpeft.study.variance import decompose

EFFECTS = (0.02 * np.array([-1.0, 0.0, 1.0]), 0.01 * np.array([-1.0, 1.0]), np.zeros(3))
TOGETHER = 0.008 * np.multiply.outer(np.multiply.outer([-1.0, 0.0, 1.0], [1.0, -1.0]), np.ones(3))
MEANS = 0.7 + EFFECTS[0][:, None, None] + EFFECTS[1][:, None] + EFFECTS[2] + TOGETHER
NOISE = 0.012
PARTS = [*(np.square(one).mean() for one in EFFECTS), np.square(TOGETHER).mean(), NOISE**2]
TRUTH = np.array(PARTS) / sum(PARTS)


def drawn(seeds, number):
    return MEANS[..., None] + np.random.default_rng(number).normal(0, NOISE, (*MEANS.shape, seeds))


def parts_of(found):
    return [*found.factors, *([found.interactions] if found.interactions else []), found.rest]


def test_without_chance_shares_are_the_squares():
    scores = np.repeat(MEANS[..., None], 2, axis=-1)
    found = parts_of(decompose(scores, None))
    expected = np.array([*PARTS[:4], 0]) / sum(PARTS[:4])
    np.testing.assert_allclose([part.share for part in found], expected, atol=1e-9)
    np.testing.assert_allclose([part.eta_squared for part in found], expected, atol=1e-9)
    assert [part.freedom for part in found] == [2, 1, 2, 12, 18]


@pytest.mark.parametrize("seeds", [2, 3])
def test_shares_are_right_on_average_and_intervals_hold_them(seeds):
    found = [parts_of(decompose(drawn(seeds, number), None, seed=number)) for number in range(60)]
    shares = np.array([[part.share for part in parts] for parts in found])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares.mean(axis=0), TRUTH, atol=0.03)
    held = [[part.low <= truth <= part.high for part, truth in zip(parts, TRUTH, strict=True)] for parts in found]
    assert np.mean(held, axis=0).min() >= 0.75
    assert np.mean(held) >= 0.88


def test_eta_squared_gives_a_factor_without_effect_something_and_the_share_nothing():
    third = [decompose(drawn(2, number), None).factors[2] for number in range(60)]
    assert np.mean([part.eta_squared for part in third]) > 0.008
    assert abs(np.mean([part.share for part in third])) < 0.004


def test_resampled_patients_widen_an_interval():
    scores, generator = drawn(3, 0), np.random.default_rng(1)
    patients = scores[..., None] + generator.normal(0, 0.01, (*scores.shape, 1000))
    alone, both = (decompose(scores, one).factors[0] for one in (None, patients))
    assert both.share == alone.share
    assert both.high - both.low > 1.1 * (alone.high - alone.low)


def test_one_seed_leaves_interactions_and_seeds_together():
    found = decompose(drawn(1, 0), None)
    assert found.interactions is None
    assert (found.rest.freedom, found.rest.low) == (12, None)
    assert sum(part.share for part in parts_of(found)) == pytest.approx(1)


def test_a_grouping_of_combinations_has_what_is_between_its_groups():
    group = np.broadcast_to(np.arange(2)[:, None], MEANS.shape)
    found = decompose(drawn(3, 0), None, [group])
    assert found.groups == [found.factors[1]]


def test_equal_scores_have_no_parts():
    assert decompose(np.full((2, 2, 3), 0.7), None) is None
