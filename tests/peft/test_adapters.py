"""LoRA and IA3 on a tiny BERT: which leaves there are, what they compute, which modules they take."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft.config import LoraConfig, PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models.dropout import example_seeds
from jaxpeft.models.layers import Linear
from jaxpeft.peft import flatten, label, lora, split, targets, unflatten
from jaxpeft.peft.ia3 import Ia3Linear
from jaxpeft.training import system
from tests import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(labels=3))


def built(base, method, **settings):
    return system.build(tiny.experiment(base, base, peft__method=method, **settings), tiny.LABELS, seed=3)


def abstract(base):
    return system.abstract(tiny.experiment(base, base), tiny.SIZES, 3)


def test_the_whole_tree_under_lora(base):
    built_lora = built(base, "lora", peft__lora__rank=2)
    leaves = {**built_lora.trainable, **built_lora.frozen}
    assert {path: (leaf.shape, built_lora.labels[path]) for path, leaf in leaves.items()} == {
        "embeddings.word.embedding": ((61, 24), "frozen"),
        "embeddings.position.embedding": ((36, 24), "frozen"),
        "embeddings.segment.embedding": ((2, 24), "frozen"),
        "embeddings.norm.scale": ((24,), "frozen"),
        "embeddings.norm.bias": ((24,), "frozen"),
        "layers.attention.query.base.kernel": ((3, 24, 24), "frozen"),
        "layers.attention.query.base.bias": ((3, 24), "frozen"),
        "layers.attention.query.lora_a": ((3, 24, 2), "adapter"),
        "layers.attention.query.lora_b": ((3, 2, 24), "adapter"),
        "layers.attention.key.kernel": ((3, 24, 24), "frozen"),
        "layers.attention.key.bias": ((3, 24), "frozen"),
        "layers.attention.value.base.kernel": ((3, 24, 24), "frozen"),
        "layers.attention.value.base.bias": ((3, 24), "frozen"),
        "layers.attention.value.lora_a": ((3, 24, 2), "adapter"),
        "layers.attention.value.lora_b": ((3, 2, 24), "adapter"),
        "layers.attention.output.kernel": ((3, 24, 24), "frozen"),
        "layers.attention.output.bias": ((3, 24), "frozen"),
        "layers.attention_norm.scale": ((3, 24), "frozen"),
        "layers.attention_norm.bias": ((3, 24), "frozen"),
        "layers.intermediate.kernel": ((3, 24, 40), "frozen"),
        "layers.intermediate.bias": ((3, 40), "frozen"),
        "layers.output.kernel": ((3, 40, 24), "frozen"),
        "layers.output.bias": ((3, 24), "frozen"),
        "layers.output_norm.scale": ((3, 24), "frozen"),
        "layers.output_norm.bias": ((3, 24), "frozen"),
        "pooler.kernel": ((24, 24), "frozen"),
        "pooler.bias": ((24,), "frozen"),
        "classifier.kernel": ((24, 3), "head"),
        "classifier.bias": ((3,), "head"),
    }


def test_ia3_adds_one_vector_a_target_as_wide_as_what_it_scales(base):
    found = built(base, "ia3")
    adapters = {path: leaf.shape for path, leaf in found.trainable.items() if found.labels[path] == "adapter"}
    assert adapters == {
        "layers.attention.key.ia3": (3, 24),
        "layers.attention.value.ia3": (3, 24),
        "layers.attention.output.ia3": (3, 24),
        "layers.output.ia3": (3, 40),
    }


def test_full_and_head_add_nothing(base):
    full, head = built(base, "full"), built(base, "head")
    assert not full.frozen
    assert set(head.trainable) == {"classifier.kernel", "classifier.bias"}
    assert {**head.trainable, **head.frozen}.keys() == full.trainable.keys()


@pytest.mark.parametrize("method", ["lora", "ia3"])
def test_an_adapted_model_equals_its_base_to_the_bit_at_the_first_step(base, method):
    generator = np.random.default_rng(0)
    ids = generator.integers(5, 61, (4, 11)).astype(np.int32)

    def logits(name):
        found = built(base, name)
        return unflatten(found.graphdef, {**found.trainable, **found.frozen})(ids, np.ones_like(ids))

    np.testing.assert_array_equal(logits(method), logits("head"))


def test_split_and_flatten_have_inverses(base):
    found = built(base, "lora")
    graphdef, leaves = flatten(unflatten(found.graphdef, {**found.trainable, **found.frozen}))
    assert graphdef == found.graphdef
    trainable, frozen = split(leaves, found.labels)
    for ours, theirs in ((trainable, found.trainable), (frozen, found.frozen)):
        assert ours.keys() == theirs.keys()
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert {**trainable, **frozen}.keys() == leaves.keys()


def test_what_no_checkpoint_filled_is_head_even_below_an_adapter():
    paths = ["pooler.base.kernel", "pooler.lora_a", "layers.query.kernel", "classifier.bias"]
    assert label(paths, PeftConfig(method="lora"), ("classifier",), ("pooler.kernel",)) == {
        "pooler.base.kernel": "head",
        "pooler.lora_a": "adapter",
        "layers.query.kernel": "frozen",
        "classifier.bias": "head",
    }


# What the layers compute


def small_linear():
    base = Linear(5, 4)
    base.kernel[...] = jnp.asarray(np.random.default_rng(0).normal(size=(5, 4)), jnp.float32)
    base.bias[...] = jnp.arange(4.0)
    return base


X = np.random.default_rng(1).normal(size=(2, 3, 5)).astype(np.float32)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 6 / 9), (True, 6 / 3)])
def test_lora_adds_the_scaled_product(rslora, scale):
    base = small_linear()
    adapted = lora.wrap(base, "query", LoraConfig(rank=9, alpha=6.0, rslora=rslora), jax.random.key(0))
    adapted.lora_b[...] = jnp.asarray(np.random.default_rng(2).normal(size=(9, 4)), jnp.float32)
    update = np.asarray(adapted.lora_a[...]) @ np.asarray(adapted.lora_b[...])
    np.testing.assert_allclose(adapted(X), base(X) + scale * (X @ update), atol=1e-5)


def test_lora_drops_the_input_of_the_update_alone():
    base = small_linear()
    adapted = lora.wrap(base, "query", LoraConfig(dropout=0.5), jax.random.key(0))
    seeds = example_seeds(0, 0, np.arange(2))
    np.testing.assert_array_equal(adapted(X, seeds=seeds), base(X))  # B is zero
    adapted.lora_b[...] += 1.0
    assert not np.allclose(adapted(X, seeds=seeds), adapted(X))


def test_lora_draws_each_layer_within_its_own_bound(base):
    a = built(base, "lora").trainable["layers.attention.query.lora_a"]
    bound = 24**-0.5
    assert float(abs(a).max()) <= bound
    assert float(abs(a).max()) > 0.95 * bound
    assert len({leaf.tobytes() for leaf in np.asarray(a)}) == 3


def test_an_adapter_starts_the_same_whatever_else_is_adapted(base):
    name = "layers.attention.value.lora_a"
    alone, beside = (built(base, "lora", peft__target_modules=them) for them in (("value",), ("value", "key")))
    np.testing.assert_array_equal(alone.trainable[name], beside.trainable[name])


def test_ia3_scales_the_output_and_for_feed_forward_the_input():
    base, scale_out, scale_in = small_linear(), np.arange(1.0, 5.0), np.arange(1.0, 6.0)
    attention, feed_forward = Ia3Linear(base, scales_input=False), Ia3Linear(base, scales_input=True)
    attention.ia3[...], feed_forward.ia3[...] = jnp.asarray(scale_out), jnp.asarray(scale_in)
    np.testing.assert_allclose(attention(X), base(X) * scale_out, atol=1e-5)
    np.testing.assert_allclose(feed_forward(X), base(X * scale_in.astype(np.float32)), atol=1e-5)


def test_ia3_scales_inputs_of_the_feed_forward_modules_that_are_named(base):
    named = {"peft__target_modules": ("intermediate.dense",), "peft__ia3__feedforward_modules": ("intermediate.dense",)}
    shapes = {}
    for settings in (named, {**named, "peft__ia3__feedforward_modules": ()}):
        shapes[len(settings["peft__ia3__feedforward_modules"])] = (
            built(base, "ia3", **settings).trainable["layers.intermediate.ia3"].shape
        )
    assert shapes == {1: (3, 24), 0: (3, 40)}


def test_a_feed_forward_module_of_ia3_that_gets_no_adapter_is_refused(base):
    for names in (("outputt.dense",), ("output.dense", "intermediate.dense")):
        with pytest.raises(InputError, match=r"peft\.ia3\.feedforward_modules: .* is none of the modules that get"):
            built(base, "ia3", peft__target_modules=("key", "output.dense"), peft__ia3__feedforward_modules=names)


# Which modules they take


def taken(base, **settings):
    return set(targets(abstract(base), tiny.experiment(base, base, **settings).peft))


@pytest.mark.parametrize(
    ("entries", "paths"),
    [
        (("key",), {"layers.attention.key"}),
        (("self.key", "self.query"), {"layers.attention.key", "layers.attention.query"}),
        (("dense",), {"layers.attention.output", "layers.intermediate", "layers.output", "pooler"}),
        (("output.dense",), {"layers.attention.output", "layers.output"}),
        (("attention.output.dense",), {"layers.attention.output"}),
        (("bert.pooler.dense",), {"pooler"}),
    ],
)
def test_an_entry_matches_a_whole_name_or_its_end_after_a_dot(base, entries, paths):
    assert taken(base, peft__target_modules=entries) == paths


@pytest.mark.parametrize("entry", ["uery", "ense", "attention", "classifier", "layers.attention.key", ".key"])
def test_an_entry_that_matches_nothing_lists_the_candidates(base, entry):
    with pytest.raises(InputError) as raised:
        taken(base, peft__target_modules=("value", entry))
    assert repr(entry) in str(raised.value)
    assert "'value'" not in str(raised.value)
    for candidate in ("attention.self.query", "attention.output.dense", "output.dense", "bert.pooler.dense"):
        assert candidate in str(raised.value)


def test_a_regular_expression_matches_whole_names(base):
    assert taken(base, peft__target_regex=r".*attention\.self\.(query|key)") == {
        "layers.attention.key",
        "layers.attention.query",
    }
    with pytest.raises(InputError, match="matches no linear layer"):
        taken(base, peft__target_regex="query")


def test_a_regular_expression_takes_every_layer_or_none(base):
    with pytest.raises(InputError, match=r"attention\.self\.key in 2 of 3 layers"):
        taken(base, peft__target_regex=r".*layer\.[01]\.attention\.self\.key")
