"""Dropout masks: the right share, independent where they must be, the same however a batch is cut."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft.models.attention import _dropped
from jaxpeft.models.dropout import dropout, example_seeds, fold
from jaxpeft.models.layout import Layout

SIZE = 20_000


def kept(seeds, rate=0.1, size=SIZE):
    return np.asarray(dropout(jnp.ones((len(seeds), size)), rate, seeds)) > 0


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_of_zeros_is_the_rate_and_the_mean_is_kept(rate):
    seeds = example_seeds(0, 0, np.arange(50))
    x = np.asarray(dropout(jnp.ones((50, SIZE)), rate, seeds))
    deviation = (rate * (1 - rate) / x.size) ** 0.5
    assert abs((x == 0).mean() - rate) < 5 * deviation
    assert abs(x.mean() - 1) < 5 * deviation / (1 - rate)
    np.testing.assert_allclose(np.unique(x), [0, 1 / (1 - rate)], rtol=1e-6)
    rows = (x == 0).mean(axis=1)
    assert abs(rows - rate).max() < 5 * (rate * (1 - rate) / SIZE) ** 0.5


def test_masks_of_places_layers_examples_and_steps_are_independent():
    rate, examples = 0.5, np.arange(2)
    masks = []
    for step, layer, place in itertools.product(range(2), range(2), range(3)):
        seeds = fold(fold(example_seeds(7, step, examples), layer), place)
        masks += list(kept(seeds, rate))
    masks += list(kept(example_seeds(8, 0, examples), rate))
    signs = np.where(masks, 1.0, -1.0)
    correlations = signs @ signs.T / SIZE - np.eye(len(signs))
    assert abs(correlations).max() < 5.5 * SIZE**-0.5


def test_neighbours_in_a_mask_are_independent():
    signs = np.where(kept(example_seeds(0, 0, np.arange(20)), 0.5), 1.0, -1.0)
    for lag in (1, 2, 8, 24, 64, 128):
        assert abs((signs[:, lag:] * signs[:, :-lag]).mean()) < 5 * signs.size**-0.5


def test_a_mask_depends_on_the_example_not_on_its_place_in_a_batch():
    examples = np.array([5, 900, 3, 77])
    whole = kept(example_seeds(1, 4, examples))
    cut = [kept(example_seeds(1, 4, part)) for part in np.split(examples[::-1], 2)]
    np.testing.assert_array_equal(whole[::-1], np.concatenate(cut))
    jitted = jax.jit(lambda step, part: dropout(jnp.ones((4, SIZE)), 0.1, example_seeds(1, step, part)) > 0)
    np.testing.assert_array_equal(jitted(4, examples), whole)


def test_the_gradient_passes_where_values_did():
    seeds, x = example_seeds(0, 0, np.arange(3)), jnp.ones((3, 100))
    gradient = jax.grad(lambda x: dropout(x, 0.3, seeds).sum())(x)
    np.testing.assert_array_equal(gradient, dropout(x, 0.3, seeds))


def test_without_seeds_or_rate_nothing_is_dropped():
    x = jnp.arange(6.0).reshape(2, 3)
    assert dropout(x, 0.5, None) is x
    assert dropout(x, 0.0, example_seeds(0, 0, np.arange(2))) is x


def test_masks_of_tokens_heads_and_keys_are_independent_and_go_by_places_in_a_text():
    rate, none = 0.5, [8] * 5
    grid = jnp.array([[[0, 1, 2, 3, 4], none, none], [[0, 1, 2, 8, 8], [3, 4, 5, 6, 7], none]])
    layout, alone = Layout.packed(grid, 8), Layout.one_a_row(jnp.ones((1, 5)))
    seeds = example_seeds(3, 1, np.array([[7, 0, 0], [4, 7, 0]]))
    states = dropout(jnp.ones((2, 8, SIZE)), rate, layout.seeds_of_tokens(seeds)) > 0
    signs = np.where(np.concatenate([states[0, :5], states[1, :3]]), 1.0, -1.0)
    assert abs(signs @ signs.T / SIZE - np.eye(8)).max() < 5.5 * SIZE**-0.5
    np.testing.assert_array_equal(states[1, 3:], states[0, :5])
    of_one = example_seeds(3, 1, np.array([7]))
    np.testing.assert_array_equal(
        dropout(jnp.ones((1, 5, SIZE)), rate, alone.seeds_of_tokens(of_one)) > 0, states[:1, :5]
    )
    weights = jnp.ones((6, 400, 5, 5 + 2))  # a prefix of 2
    weights = _dropped(weights, rate, layout.apart(layout.seeds_of_tokens(seeds))) > 0
    np.testing.assert_array_equal(weights[4], weights[0])  # the same text in another row, behind another
    assert (weights[3, :, :3] != weights[0, :, :3]).any()
    of_alone = _dropped(jnp.ones((1, 400, 5, 5 + 2)), rate, alone.seeds_of_tokens(of_one)) > 0
    np.testing.assert_array_equal(of_alone, weights[:1])
    signs = np.where(weights[0].reshape(400, -1), 1.0, -1.0)
    assert abs(signs.mean()) < 5 * signs.size**-0.5
    assert abs(signs.T @ signs / 400 - np.eye(35)).max() < 5.5 * 400**-0.5
