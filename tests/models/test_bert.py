"""The encoder's own promises: types, rematerialisation, the scan over layers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpeft.models.dropout import example_seeds, fold
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import scan_layers
from jaxpeft.peft import flatten, unflatten
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from tests import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("base"))


def built(base, **settings):
    return system.build(tiny.experiment(base, base, **settings), tiny.LABELS, seed=3)


def random_batch(rows=4, length=13):
    generator = np.random.default_rng(5)
    mask = np.arange(length) < generator.integers(3, length + 1, rows)[:, None]
    return {
        "ids": generator.integers(5, 61, (rows, length)).astype(np.int32) * mask,
        "mask": mask,
        "label": np.arange(rows, dtype=np.int32) % 3,
        "weight": np.ones(rows, np.float32),
    }


@functools.partial(jax.jit, static_argnums=0)
def forward(graphdef, leaves, ids, mask, segments, seeds):
    return unflatten(graphdef, leaves)(ids, mask, segments, seeds=seeds)


def logits_of(model, batch, seeds=None):
    segments = batch.get("segments", np.zeros_like(batch["ids"]))
    return forward(model.graphdef, {**model.trainable, **model.frozen}, batch["ids"], batch["mask"], segments, seeds)


SEEDS = example_seeds(1, 2, np.arange(4))


def test_bfloat16_holds_frozen_leaves_in_half_and_trained_ones_in_full(base):
    half, full = built(base, model__dtype="bfloat16"), built(base)
    assert {leaf.dtype for leaf in half.frozen.values()} == {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in half.trainable.values()} == {jnp.dtype("float32")}
    close, exact = logits_of(half, random_batch()), logits_of(full, random_batch())
    assert close.dtype == jnp.float32
    assert not np.array_equal(close, exact)
    np.testing.assert_allclose(close, exact, atol=0.05 * np.abs(exact).max())


def test_rematerialisation_changes_no_gradient(base):
    def gradients(**settings):
        model, batch = built(base, peft__method="ia3", **settings), random_batch()

        def loss(trainable):
            whole = unflatten(model.graphdef, {**trainable, **model.frozen})
            return loss_sum(whole(batch["ids"], batch["mask"], seeds=SEEDS), batch)

        lowered = jax.jit(jax.grad(loss)).lower(model.trainable)
        return lowered.compile()(model.trainable), lowered.as_text().count("optimization_barrier")

    plain, without = gradients()
    again, with_layers = gradients(model__remat=True)
    assert with_layers > without  # what keeps a second forward pass apart from the first
    for path, leaf in plain.items():
        np.testing.assert_allclose(again[path], leaf, atol=1e-5 * float(abs(leaf).max()) + 1e-7, err_msg=path)


def test_the_scan_equals_a_loop_over_layers(base):
    model, batch = built(base), random_batch()
    model.trainable["layers.attention.query.lora_b"] += 0.3
    whole = unflatten(model.graphdef, {**model.trainable, **model.frozen})
    graphdef, params = nnx.split(whole.layers)
    layout = Layout.one_a_row(batch["mask"])
    seeds = layout.seeds_of_tokens(SEEDS)

    @jax.jit
    def run_one(params, x, number):
        layer = jax.tree.map(lambda leaf: leaf[number], params)
        return nnx.merge(graphdef, layer, copy=True)(x, layout, prefix=None, seeds=fold(seeds, number))

    @jax.jit
    def run_all(params, x):
        layers = nnx.merge(graphdef, params, copy=True)
        return scan_layers(layers, x, layout, seeds=seeds, keep_all=True)

    x = np.random.default_rng(0).normal(size=(*batch["ids"].shape, tiny.SIZES["hidden_size"])).astype(np.float32)
    scanned, every = run_all(params, x)
    for number in range(tiny.SIZES["num_hidden_layers"]):
        x = run_one(params, x, number)
        np.testing.assert_allclose(every[number], x, atol=1e-5)
    np.testing.assert_allclose(scanned, x, atol=1e-5)


def test_padding_changes_nothing(base):
    model, short = built(base), random_batch()
    long = {**short, **{name: np.pad(short[name], ((0, 0), (0, 7))) for name in ("ids", "mask")}}
    np.testing.assert_allclose(logits_of(model, long), logits_of(model, short), atol=1e-5)


def test_second_texts_are_told_by_their_segment(base):
    model, batch = built(base), random_batch()
    other = {**batch, "segments": np.ones_like(batch["ids"])}
    assert float(abs(logits_of(model, other) - logits_of(model, batch)).max()) > 1e-3


def test_seeds_turn_dropout_on(base):
    model, batch = built(base), random_batch()
    assert float(abs(logits_of(model, batch, SEEDS) - logits_of(model, batch)).max()) > 1e-3
    np.testing.assert_array_equal(logits_of(model, batch, SEEDS), logits_of(model, batch, SEEDS))


def test_an_abstract_model_takes_no_memory(base):
    config = tiny.experiment(base, base)
    model = system.abstract(config, {**tiny.SIZES, "hidden_size": 40_000, "num_attention_heads": 8}, 3)
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in flatten(model)[1].values())
