"""Merged equals adapted, unmerged equals the base, for every method and architecture; no torch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Ia3Config, LoraConfig, PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.models import MODELS
from tests.models.test_architectures import filled, logits, random_batch, shell

TASK = {"bert": "sequence_classification", "roberta": "token_classification"}
METHODS = {
    "lora": PeftConfig("lora"),
    "rslora": PeftConfig("lora", lora=LoraConfig(rslora=True, rank=3)),
    "dora": PeftConfig("lora", lora=LoraConfig(dora=True, rank=3)),
    "layers": PeftConfig("lora", lora=LoraConfig(dora=True, layers_to_transform=(1,), rank_pattern=(".*=5",))),
    "ia3": PeftConfig("ia3"),
}


@functools.cache
def base_of(model_type, dtype):
    return filled(shell(model_type, TASK.get(model_type, "sequence_classification"), dtype=dtype), dtype)


def adapted(model_type, method, dtype="float32"):
    """An adapted model whose adapters do something, and the same base bare."""
    bare = base_of(model_type, dtype)
    model = peft.attach(nnx.clone(bare), METHODS[method], jax.random.key(0))
    graphdef, leaves = peft.flatten(model)
    generator = np.random.default_rng(4)
    for path, leaf in leaves.items():
        if path.rpartition(".")[2] in ("lora_b", "ia3", "lora_magnitude"):
            leaves[path] = leaf + jnp.asarray(generator.normal(0, 0.3, leaf.shape), leaf.dtype)
    return peft.unflatten(graphdef, leaves), bare


def largest_difference(one, other):
    one, other = (peft.flatten(model)[1] for model in (one, other))
    other = {peft.base_path(path): leaf for path, leaf in other.items()}
    shared = [path for path in one if peft.base_path(path) in other]
    assert len(shared) == len(other)
    return max(float(abs(one[path] - other[peft.base_path(path)]).max()) for path in shared)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", MODELS)
def test_merged_equals_adapted_and_unmerged_the_base(model_type, method):
    model, bare = adapted(model_type, method)
    ids, mask = random_batch()
    before = logits(model, ids, mask)
    assert peft.merge(model) is model
    np.testing.assert_allclose(logits(model, ids, mask), before, atol=1e-5, rtol=0)
    once = largest_difference(model, bare)
    assert once > 1e-2  # the adapters do something
    assert largest_difference(peft.merge(model), bare) == once  # a second time changes nothing
    assert peft.unmerge(model) is model
    assert largest_difference(model, bare) < 1e-5
    assert not any(layer.merged for _, _, layer in peft.inject.adapted(model))


@pytest.mark.parametrize("method", METHODS)
def test_the_tensors_of_the_merged_model_one_at_a_time(method):
    model, _ = adapted("bert", method)
    found = dict(peft.merged_tensors(model))
    assert {name: values.shape for name, values in found.items()} == peft.merged_shapes(model)
    assert not any(layer.merged for _, _, layer in peft.inject.adapted(model))
    leaves = {peft.base_path(path): leaf for path, leaf in peft.flatten(peft.merge(model))[1].items()}
    for tensor in model.tensors():
        stack = leaves[tensor.path] if tensor.stacked else leaves[tensor.path][None]
        for name, leaf in zip(tensor.names(len(stack)), stack, strict=True):
            np.testing.assert_allclose(found.pop(name), leaf.T if tensor.transpose else leaf, atol=1e-6, err_msg=name)
    assert not found


def test_arithmetic_is_in_float32_and_the_type_of_the_base_stays():
    model, bare = adapted("bert", "lora", dtype="bfloat16")
    peft.merge(model)
    query, base = model.layers.attention.query, bare.layers.attention.query.kernel[...]
    assert query.base.kernel.dtype == jnp.bfloat16
    exact = base.astype(jnp.float32) + query.delta()
    np.testing.assert_array_equal(query.base.kernel[...], exact.astype(jnp.bfloat16))


def test_a_vector_with_a_zero_merges_and_does_not_unmerge():
    model, _ = adapted("bert", "ia3")
    ids, mask = random_batch()
    model.layers.attention.key.ia3[...] = model.layers.attention.key.ia3[...].at[1, 3].set(0.0)
    before = logits(model, ids, mask)
    merged = peft.flatten(peft.merge(model))[1]
    np.testing.assert_allclose(logits(model, ids, mask), before, atol=1e-5, rtol=0)
    with pytest.raises(InputError, match=r"layers\.attention\.key cannot be unmerged"):
        peft.unmerge(model)
    for path, leaf in peft.flatten(model)[1].items():  # nothing was half undone
        np.testing.assert_array_equal(leaf, merged[path])


def test_ia3_scales_a_bias_where_it_scales_outputs():
    model, bare = adapted("bert", "ia3")
    peft.merge(model)
    key, output = model.layers.attention.key, model.layers.output
    np.testing.assert_allclose(key.base.bias[...], bare.layers.attention.key.bias[...] * key.ia3[...], rtol=1e-6)
    np.testing.assert_array_equal(output.base.bias[...], bare.layers.output.bias[...])


@pytest.mark.parametrize("method", ["prompt", "p_tuning", "prefix"])
def test_virtual_tokens_are_refused_by_name(method):
    model = peft.attach(nnx.clone(base_of("bert", "float32")), PeftConfig(method), jax.random.key(0))
    for use in (peft.merge, peft.merged_shapes):
        with pytest.raises(InputError, match=r"virtual\.embedding.* is no part of a linear layer"):
            use(model)


def test_a_merged_adapter_can_be_taken_off_or_changed():
    model, bare = adapted("bert", "lora")
    assert largest_difference(peft.detach(peft.merge(model)), bare) < 1e-5
    model, _ = adapted("bert", "lora")
    ids, mask = random_batch()
    zeros = {f"layers.attention.{name}.lora_b": jnp.zeros((2, 8, 24)) for name in ("query", "value")}
    peft.switch(peft.merge(model), zeros)
    np.testing.assert_allclose(logits(model, ids, mask), logits(bare, ids, mask), atol=1e-4, rtol=0)


def test_a_pooler_merges_too():
    config = PeftConfig("ia3", target_modules=("dense",), ia3=Ia3Config(feedforward_modules=("pooler.dense",)))
    model = peft.attach(filled(shell("bert")), config, jax.random.key(0))
    model.pooler.ia3[...] = jnp.linspace(0.5, 1.5, 24)
    ids, mask = random_batch()
    before = logits(model, ids, mask)
    np.testing.assert_allclose(logits(peft.merge(model), ids, mask), before, atol=1e-5, rtol=0)
