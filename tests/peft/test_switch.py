"""Adapters taken off a base and put in each other's place."""

import jax
import numpy as np
import pytest

from jaxpeft.errors import InputError
from jaxpeft.peft import attach, detach, flatten, switch, unflatten
from tests.peft.test_prompt import batch, model_of, peft_config

METHODS = ("lora", "ia3", "prompt", "prefix", "head")


def config(method):
    return peft_config(method) if method in ("prompt", "prefix") else peft_config("prompt").__class__(method=method)


@pytest.mark.parametrize("method", METHODS)
def test_what_is_detached_is_the_base(method):
    base = model_of("bert")
    before = flatten(base)[1]
    graphdef, after = flatten(detach(attach(model_of("bert"), config(method), jax.random.key(0))))
    assert after.keys() == before.keys()
    jax.tree.map(np.testing.assert_array_equal, after, before)
    assert graphdef == flatten(base)[0]


@pytest.mark.parametrize("method", ["lora", "prefix"])
def test_adapters_of_one_shape_share_a_compiled_program(method):
    traces = []

    def adapted(seed):
        return attach(model_of("bert"), config(method), jax.random.key(seed))

    graphdef, _ = flatten(adapted(1))
    _, second = flatten(adapted(2))

    @jax.jit
    def logits(leaves, ids, mask):
        traces.append(1)
        return unflatten(graphdef, leaves)(ids, mask)

    own = {path: leaf for path, leaf in second.items() if "lora" in path or "virtual" in path}
    switched = switch(adapted(1), own)
    assert flatten(switched)[0] == graphdef
    one, two = (logits(flatten(model)[1], **batch()) for model in (adapted(1), switched))
    assert len(traces) == 1
    np.testing.assert_array_equal(two, logits(second, **batch()))
    assert np.array_equal(one, two) == (method == "lora")  # B is zero: both are the base still


def test_an_adapter_of_another_shape_or_method_is_refused():
    model = attach(model_of("bert"), config("lora"), jax.random.key(0))
    leaf = flatten(model)[1]["layers.attention.query.lora_a"]
    with pytest.raises(InputError, match=r"virtual.embedding is no leaf"):
        switch(model, {"virtual.embedding": leaf})
    with pytest.raises(InputError, match=r"lora_a has shape \(3, 24, 4\), in this model \(3, 24, 8\)"):
        switch(model, {"layers.attention.query.lora_a": leaf[:, :, :4]})
