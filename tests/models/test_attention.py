"""Attention equals jax's own, and cuDNN is chosen where it can compute what is asked for, with the same arguments."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft.models import attention as module
from jaxpeft.models.attention import attention, flash_problems
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layout import Layout

B, T, N, K, H, PREFIX = 2, 12, 4, 2, 8, 2
GPU = (9, 0)
LAYOUTS = {
    "one a row": Layout.one_a_row(np.arange(T) < np.array([[7], [12]])),
    "padding on the left": Layout.one_a_row(np.arange(T) >= np.array([[3], [0]])),
    "packed": Layout.packed(
        jnp.array(
            [
                [[0, 1, 2, T, T, T], [3, 4, 5, 6, 7, T], [8, 9, T, T, T, T]],
                [[0, 1, 2, 3, T, T], [T] * 6, [T] * 6],
            ]
        ),
        T,
    ),
}


def arrays(dtype="float32"):
    generator = np.random.default_rng(0)
    shapes = (B, T, N, H), (B, T, K, H), (B, T, K, H), (2, PREFIX, K * H)
    return [jnp.asarray(generator.normal(size=shape), dtype) for shape in shapes]


@pytest.fixture
def flash(monkeypatch):
    """A GPU that computes what cuDNN is asked for by XLA; returns the calls."""
    calls, real = [], jax.nn.dot_product_attention

    def stand_in(query, key, value, *, mask, implementation):
        calls.append((implementation, mask))
        return real(query, key, value, mask=mask, implementation="xla")

    monkeypatch.setattr(jax.nn, "dot_product_attention", stand_in)
    monkeypatch.setattr(module, "_compute_capability", lambda: GPU)
    return calls


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("with_prefix", [False, True])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_both_programs_are_asked_for_the_same(flash, monkeypatch, kind, with_prefix, causal):
    monkeypatch.setattr(module, "FLASH_TYPES", ("float32",))  # so that nothing is rounded
    query, key, value, prefix = arrays()
    layout = LAYOUTS[kind]
    settings = {"causal": causal, "prefix": prefix if with_prefix else None}
    found, ours = (attention(query, key, value, layout, implementation=how, **settings) for how in ("cudnn", "xla"))
    ((implementation, mask),) = flash
    assert implementation == "cudnn"
    texts, length = (B * 3, 6) if kind == "packed" else (B, T)  # cuDNN sees each text in a row of its own
    assert mask.shape == (texts, 1, length, length + PREFIX * with_prefix)
    assert mask[:, 0, -1].any(axis=-1).all()  # a softmax over nothing is not a number
    np.testing.assert_allclose(found[layout.mask], ours[layout.mask], atol=1e-5)


@pytest.mark.parametrize("rate", [0.0, 0.3])
@pytest.mark.parametrize("causal", [False, True])
def test_values_and_gradients_are_those_of_the_plain_formula(causal, rate):
    query, key, value, prefix = arrays()
    layout, seeds = LAYOUTS["one a row"], jnp.arange(2 * B * T, dtype=jnp.uint32).reshape(B, T, 2)

    def plain(query, key, value, prefix):
        prefix = prefix.reshape(2, 1, PREFIX, K, H)
        key, value = (
            jnp.repeat(jnp.concatenate([jnp.broadcast_to(own, (B, PREFIX, K, H)), x], axis=1), N // K, axis=2)
            for own, x in zip(prefix, (key, value), strict=True)
        )
        seen = jnp.pad(layout.visible(causal=causal), ((0, 0), (0, 0), (0, 0), (PREFIX, 0)), constant_values=True)
        scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) / H**0.5
        weights = jax.nn.softmax(jnp.where(seen, scores, -1e30), axis=-1)
        heads = fold(seeds[:, None], jnp.arange(N)[:, None])
        weights = dropout(weights, rate, heads, jnp.arange(T + PREFIX))
        return jnp.einsum("BNTS,BSNH->BTNH", weights, value)

    def ours(query, key, value, prefix):
        settings = {"causal": causal, "prefix": prefix, "dropout_rate": rate, "seeds": seeds}
        return attention(query, key, value, layout, **settings)

    wanted = jnp.cos(jnp.arange(B * T * N * H).reshape(B, T, N, H))
    found, expected = (
        jax.value_and_grad(lambda *x, of=of: (of(*x) * wanted).sum(), argnums=(0, 1, 2, 3))(query, key, value, prefix)
        for of in (ours, plain)
    )
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


def test_no_weights_are_kept_for_the_backward_pass():
    query, key, value, _ = arrays()
    seeds = jnp.ones((B, T, 2), jnp.uint32)

    def attend(query, key, value):
        return attention(query, key, value, LAYOUTS["one a row"], dropout_rate=0.1, seeds=seeds)

    kept = jax.tree.leaves(jax.vjp(attend, query, key, value)[1])
    assert max(leaf.size for leaf in kept) == query.size < B * N * T * T
    assert sum(leaf.size == query.size for leaf in kept) == 2  # itself and what came out: no copies of shared keys


@pytest.mark.parametrize(
    ("implementation", "dtype", "rate", "dropping", "chosen"),
    [
        ("auto", "bfloat16", 0.0, True, True),
        ("auto", "float16", 0.1, False, True),  # evaluation
        ("cudnn", "bfloat16", 0.0, True, True),
        ("xla", "bfloat16", 0.0, True, False),
        ("auto", "float32", 0.0, True, False),
        ("auto", "bfloat16", 0.1, True, False),
    ],
)
def test_cudnn_is_chosen_where_it_can(flash, implementation, dtype, rate, dropping, chosen):
    layout, (query, key, value, _) = LAYOUTS["one a row"], arrays(dtype)
    seeds = jnp.ones((B, T, 2), jnp.uint32) if dropping else None
    attention(query, key, value, layout, dropout_rate=rate, seeds=seeds, implementation=implementation)
    assert bool(flash) == chosen


@pytest.mark.parametrize(
    ("capability", "changes", "fragment"),
    [
        (None, {}, "NVIDIA GPU"),
        ((7, 5), {}, "capability 8.0"),
        ((8, 0), {"head_size": 136}, "up to 128"),
        ((9, 0), {"head_size": 26}, "8, 16, ... up to 256 features, and the model's have 26"),
        ((9, 0), {"dtype": "float32"}, "not in float32"),
        ((9, 0), {"dropout_rate": 0.1}, "rate is 0.1"),
        ((9, 0), {"lengths": (8, 11)}, "even number"),
    ],
)
def test_why_cudnn_cannot(monkeypatch, capability, changes, fragment):
    monkeypatch.setattr(module, "_compute_capability", lambda: capability)
    (problem,) = flash_problems(**{"dtype": "bfloat16", "head_size": 64, **changes})
    assert fragment in problem
    monkeypatch.setattr(module, "_compute_capability", lambda: GPU)
    assert not flash_problems("bfloat16", 136, 0.0, (8, 10))


def test_a_cpu_has_no_compute_capability():
    assert module._compute_capability() is None


@pytest.mark.parametrize(("said", "found"), [("8.6", (8, 6)), ("12.0", (12, 0)), ("gfx90a", None)])
def test_the_capability_is_read_from_the_device(monkeypatch, said, found):
    class Device:
        compute_capability = said

    monkeypatch.setattr(jax, "local_devices", lambda: [Device()])
    assert module._compute_capability() == found
