"""LoRA where layers differ, DoRA, and biases that train: leaves, values, gradients, counts, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxpeft
from jaxpeft import peft
from jaxpeft.config import Config, LoraConfig, PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models.dropout import dropout, example_seeds
from jaxpeft.models.layers import Linear
from jaxpeft.peft import flatten, label, lora, unflatten
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.run import train
from jaxpeft.training.step import draw_of, train_step
from jaxpeft.training.workdir import Workdir
from tests import tiny

QUERY = "layers.attention.query"
# query: ranks 5, 0, 2; value: 3, 0, 3 with another s in layer 2
MIXED = {
    "rank": 3,
    "alpha": 6.0,
    "layers_to_transform": (0, 2),
    "rank_pattern": (r".*\.0\..*query=5", "query=2"),
    "alpha_pattern": ("layer.2.attention.self.value=12",),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(labels=3))


def built(base, method="lora", *, target_modules=(), dtype="float32", **settings):
    config = tiny.experiment(base, base, peft__method=method, peft__target_modules=target_modules, model__dtype=dtype)
    config.peft.lora = LoraConfig(**settings)
    return system.build(config, tiny.LABELS, seed=3)


def batch():
    generator = np.random.default_rng(0)
    mask = np.arange(11) < generator.integers(4, 12, 6)[:, None]
    return {
        "ids": generator.integers(5, 61, (6, 11)).astype(np.int32) * mask,
        "mask": mask,
        "label": generator.integers(0, 3, 6).astype(np.int32),
        "weight": np.ones(6, np.float32),
        "example": np.arange(6, dtype=np.uint32),
    }


def whole(found, **trained):
    return unflatten(found.graphdef, {**found.frozen, **found.trainable, **trained})


def logits(found):
    return whole(found)(batch()["ids"], batch()["mask"])


def adapters(found):
    return {path for path, label in found.labels.items() if label == "adapter"}


# Layers that differ


def test_a_stack_has_the_largest_rank_and_zeros_beyond_a_layers_own(base):
    found = built(base, **MIXED)
    query, value = whole(found).layers.attention.query, whole(found).layers.attention.value
    assert (query.ranks, query.scales) == ((5, 0, 2), (6 / 5, 0.0, 6 / 2))
    assert (value.ranks, value.scales) == ((3, 0, 3), (6 / 3, 0.0, 12 / 3))
    scale = [[6 / 5] * 5, [0.0] * 5, [3.0, 3.0, 0.0, 0.0, 0.0]]
    np.testing.assert_array_equal(found.frozen[f"{QUERY}.lora_scale"], np.float32(scale))
    a = found.trainable[f"{QUERY}.lora_a"]
    assert a.shape == (3, 24, 5)
    np.testing.assert_array_equal((a != 0).any(1), np.array(scale) > 0)
    assert float(abs(a[2, :, :2]).max()) > 0.9 * 24**-0.5  # each layer within its own bound, to the end of it


def test_rslora_goes_by_each_rank(base):
    query = whole(built(base, rslora=True, **MIXED)).layers.attention.query
    assert query.scales == (6 / 5**0.5, 0.0, 6 / 2**0.5)


def test_layers_that_agree_carry_no_scale(base):
    found = built(base, rank_pattern=("query=4",), layers_to_transform=(2, 1, 0))
    assert not any("lora_scale" in path for path in found.labels)
    assert found.trainable[f"{QUERY}.lora_a"].shape == (3, 24, 4)
    assert found.trainable["layers.attention.value.lora_a"].shape == (3, 24, 8)


def test_chosen_layers_leave_out_what_stands_in_none(base):
    found = built(base, target_modules=("dense",), layers_to_transform=(1,))
    assert not any(path.startswith("pooler") for path in adapters(found))
    assert whole(found).layers.output.ranks == (0, 8, 0)


@pytest.mark.parametrize("settings", [MIXED, {"layers_to_transform": (1,)}, {"bias": "lora_only", **MIXED}], ids=str)
def test_an_adapted_model_equals_its_base_to_the_bit_at_the_first_step(base, settings):
    np.testing.assert_array_equal(logits(built(base, **settings)), logits(built(base, "head")))


def test_only_what_a_layer_has_is_counted(base):
    bare = sum(leaf.size for leaf in built(base, "full").trainable.values())
    ranks = (5 + 2) + (3 + 3)
    for settings, added, biases in (
        ({}, 48 * ranks, 0),
        ({"dora": True}, 48 * ranks + 4 * 24, 0),
        ({"bias": "lora_only"}, 48 * ranks, 4 * 24),
    ):
        found = built(base, **MIXED, **settings)
        counts = found.count()
        assert counts["peft_params"] == added + biases, settings
        assert counts["total_params"] == bare + added
        assert counts["head_params"] == 75


def test_an_abstract_model_counts_the_same(base):
    config = tiny.experiment(base, base)
    config.peft.lora = LoraConfig(dora=True, bias="lora_only", **MIXED)
    model = system.abstract(config, tiny.SIZES, 3)
    adapted = nnx.eval_shape(lambda bare: peft.attach(bare, config.peft, jax.random.key(0)), model)
    counts = peft.count(adapted, system.partition(config, model, ()))
    found = built(base, dora=True, bias="lora_only", **MIXED).count()
    assert counts["adapter"] == found["peft_params"]
    assert sum(counts.values()) == found["total_params"]


def test_training_leaves_the_filling_at_zero_and_the_rest_of_the_base_still(base):
    found = built(base, dora=True, bias="lora_only", **MIXED)
    config = tiny.experiment(base, base, train__weight_decay=0.5, train__warmup_ratio=0.0).train
    labels = {path: found.labels[path] for path in found.trainable}
    rule, rates = optimizer(config, labels, plus_ratio=4.0), learning_rates(config, 4)
    step = jax.jit(train_step(found.graphdef, rule, loss_sum))
    trained, state, frozen = dict(found.trainable), rule.init(found.trainable), dict(found.frozen)
    stacked = {name: leaf[None] for name, leaf in batch().items()}
    for number in range(4):
        trained, state, _ = step(trained, state, frozen, stacked, draw_of(5, number), rates[number])
    a, b = trained[f"{QUERY}.lora_a"], trained[f"{QUERY}.lora_b"]
    own = np.array([[1] * 5, [0] * 5, [1, 1, 0, 0, 0]], bool)
    np.testing.assert_array_equal((a != 0).any(1), own)
    np.testing.assert_array_equal((b != 0).any(2), own)
    before, after = (tree[f"{QUERY}.lora_magnitude"] for tree in (found.trainable, trained))
    np.testing.assert_array_equal((after != before).any(1), [True, False, True])
    np.testing.assert_array_equal(after[1], np.zeros(24))
    before, after = (tree[f"{QUERY}.base.bias"] for tree in (found.trainable, trained))
    np.testing.assert_array_equal((after != before).any(1), [True, False, True])


# DoRA


def small(**settings):
    """A small adapted layer with B and magnitudes off their start, and its arrays in float64."""
    generator = np.random.default_rng(0)
    base = Linear(5, 4)
    base.kernel[...] = jnp.asarray(generator.normal(size=(5, 4)), jnp.float32)
    base.bias[...] = jnp.arange(4.0)
    layer = lora.wrap(base, "query", LoraConfig(rank=3, alpha=6.0, dora=True, **settings), jax.random.key(0))
    layer.lora_b[...] = jnp.asarray(generator.normal(size=(3, 4)), jnp.float32)
    layer.lora_magnitude[...] += 0.3
    arrays = (base.kernel, base.bias, layer.lora_a, layer.lora_b, layer.lora_magnitude)
    return layer, [np.asarray(leaf[...], np.float64) for leaf in arrays]


X = np.random.default_rng(1).normal(size=(2, 3, 5)).astype(np.float32)


def test_dora_gives_each_output_its_magnitude():
    layer, (w, bias, a, b, magnitude) = small()
    v = w + 2 * a @ b
    np.testing.assert_allclose(layer(X), X @ (magnitude * v / np.linalg.norm(v, axis=0)) + bias, atol=1e-5)


def test_dora_drops_the_input_of_all_but_the_base():
    layer, (w, bias, a, b, magnitude) = small(dropout=0.4)
    seeds = example_seeds(0, 0, np.arange(2))
    kept = np.asarray(dropout(jnp.ones_like(X), 0.4, seeds))
    assert 0 < (kept == 0).mean() < 1
    ratio = magnitude / np.linalg.norm(w + 2 * a @ b, axis=0)
    expected = X @ w + bias + (ratio - 1) * ((kept * X) @ w) + ratio * 2 * ((kept * X) @ a @ b)
    np.testing.assert_allclose(layer(X, seeds=seeds), expected, atol=1e-5)


def test_doras_norm_is_constant_in_the_gradient():
    layer, (w, *_) = small()
    graphdef, leaves = flatten(layer)
    norm = jnp.linalg.norm(w + 2 * leaves["lora_a"] @ leaves["lora_b"], axis=0)

    def with_constant_norm(leaves):
        v = leaves["base.kernel"] + 2 * leaves["lora_a"] @ leaves["lora_b"]
        return jnp.sin(X @ v * leaves["lora_magnitude"] / norm + leaves["base.bias"]).sum()

    ours = jax.grad(lambda leaves: jnp.sin(unflatten(graphdef, leaves)(X)).sum())(leaves)
    expected = jax.grad(with_constant_norm)(leaves)
    for path in ("lora_a", "lora_b", "lora_magnitude"):
        np.testing.assert_allclose(ours[path], expected[path], atol=1e-5, err_msg=path)


def test_dora_starts_at_the_norms_and_equals_its_base(base):
    found = built(base, dora=True)
    kernel = np.asarray(found.frozen[f"{QUERY}.base.kernel"], np.float64)
    np.testing.assert_allclose(found.trainable[f"{QUERY}.lora_magnitude"], np.linalg.norm(kernel, axis=1), rtol=1e-6)
    for settings in ({}, MIXED):
        np.testing.assert_allclose(logits(built(base, dora=True, **settings)), logits(built(base, "head")), atol=1e-6)


def test_an_output_without_any_weight_stays_finite():
    layer, _ = small()
    layer.base.kernel[...] = layer.base.kernel[...].at[:, 1].set(0.0)
    layer = lora.wrap(layer.base, "query", LoraConfig(dora=True), jax.random.key(0))
    graphdef, leaves = flatten(layer)
    value, gradients = jax.value_and_grad(lambda leaves: unflatten(graphdef, leaves)(X).sum())(leaves)
    assert all(np.isfinite(leaf).all() for leaf in (value, *gradients.values()))


def test_a_bfloat16_base_has_norms_and_trained_biases_in_float32(base):
    found = built(base, dtype="bfloat16", dora=True, bias="all", **MIXED)
    assert {leaf.dtype.name for leaf in found.trainable.values()} == {"float32"}
    kernel = found.frozen[f"{QUERY}.base.kernel"]
    assert kernel.dtype == jnp.bfloat16
    expected = np.linalg.norm(np.asarray(kernel, np.float32), axis=1)
    np.testing.assert_allclose(found.trainable[f"{QUERY}.lora_magnitude"][0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(logits(found), logits(built(base, "head")), atol=0.1)
    assert built(base, "bitfit", dtype="bfloat16").trainable[f"{QUERY}.bias"].dtype == jnp.float32


# Which biases train


def test_biases_train_as_the_config_says(base):
    every = {path for path in built(base, "full").labels if path.endswith(".bias") and "classifier" not in path}
    assert adapters(built(base, "bitfit")) == every
    assert len(every) == 10  # four of attention, two of feed-forward, three norms, the pooler
    trained = adapters(built(base, bias="none"))
    own = {f"{QUERY}.base.bias", "layers.attention.value.base.bias"}
    assert adapters(built(base, bias="lora_only")) == trained | own
    adapted = {
        path.replace(".bias", ".base.bias") if path.split(".")[-2] in ("query", "value") else path for path in every
    }
    assert adapters(built(base, bias="all")) == trained | adapted


def test_a_bias_of_the_head_is_head_as_ever():
    paths = ("pooler.bias", "classifier.bias", "layers.norm.bias")
    for config in (PeftConfig(method="bitfit"), PeftConfig(lora=LoraConfig(bias="all"))):
        labels = label(paths, config, ("classifier",), ("pooler.bias",))
        assert labels == {"pooler.bias": "head", "classifier.bias": "head", "layers.norm.bias": "adapter"}


def test_bitfit_on_a_model_without_biases_says_so():
    config = Config(peft=PeftConfig(method="bitfit"))
    sizes = {"model_type": "llama", "hidden_size": 24, "num_attention_heads": 4, "num_hidden_layers": 2}
    with pytest.raises(InputError, match="'bitfit' finds nothing to train in this model: it has no biases"):
        system.partition(config, system.abstract(config, sizes, 3), ())
    biased = system.abstract(config, {**sizes, "mlp_bias": True}, 3)
    assert list(system.partition(config, biased, ()).values()).count("adapter") == 3


# Settings that do not fit the model


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers_to_transform": (1, 3, 7)}, r"layers_to_transform holds \[3, 7\]; the model's layers are 0 to 2"),
        ({"rank_pattern": ("query=2", "key=4")}, "rank_pattern: 'key' matches no adapted module; those are bert.enc"),
        ({"alpha_pattern": ("uery=2",)}, "alpha_pattern: 'uery' matches no adapted module"),
        (
            {"layers_to_transform": (0,), "rank_pattern": (r".*\.1\..*=4",)},
            r"those are \S*0\S*query, \S*0\S*value(\n|$)",
        ),
        ({"layers_to_transform": (0,), "target_modules": ("pooler.dense",)}, "no target stands in a layer"),
    ],
)
def test_settings_that_do_not_fit_the_model_list_what_there_is(base, settings, message):
    with pytest.raises(InputError, match=message):
        built(base, **settings)


def test_a_run_is_restored_to_the_bit(base, data, tmp_path):
    config = tiny.experiment(base, data, train__steps=2, train__test_on="last", data__buckets=1)
    config.peft.lora = LoraConfig(dora=True, bias="lora_only", plus_ratio=4.0, **MIXED)
    train(config, Workdir(tmp_path / "run"), started=0.0)
    found = jaxpeft.load(str(tmp_path / "run")).evaluate("test")
    assert found["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}
