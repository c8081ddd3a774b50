"""The formula of a step's operations against XLA's count of the unrolled step."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import LoraConfig, PeftConfig
from jaxpeft.models import MODELS
from jaxpeft.models.flops import step_flops
from jaxpeft.tasks.losses import loss_sum

BATCH, LENGTH = 4, 64
RATES_OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
LLAMA = {"hidden_size": 512, "intermediate_size": 1408, "num_attention_heads": 8, "num_key_value_heads": 2}


def counted_and_formula(
    method: str, layers: int, model_type: str = "bert", task: str = "sequence_classification", *, lora=None, **sizes
) -> tuple[float, int]:
    architecture, rates = MODELS[model_type], {"attention_dropout": 0.0, **RATES_OFF}
    config = architecture.config.from_hf(
        {"vocab_size": 50, "num_hidden_layers": layers, "n_layers": layers, **rates, **sizes}, unroll=layers
    )
    settings = PeftConfig(method=method, lora=lora or LoraConfig())
    settings.lora.dropout = 0.0
    model = nnx.eval_shape(lambda: peft.attach(architecture.heads[task](config), settings, jax.random.key(0)))
    graphdef, leaves = peft.flatten(model)
    labels = peft.label(leaves, settings, model.head, ())
    trainable, frozen = peft.split(leaves, labels)
    rows = (BATCH,) if model.pools else (BATCH, LENGTH)
    batch = {
        "ids": jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32),
        "mask": jax.ShapeDtypeStruct((BATCH, LENGTH), bool),
        "label": jax.ShapeDtypeStruct(rows, jnp.int32),
        "weight": jax.ShapeDtypeStruct(rows, jnp.float32),
    }

    def loss(trainable, frozen, batch):
        model = peft.unflatten(graphdef, {**trainable, **frozen})
        return loss_sum(model(batch["ids"], batch["mask"]), batch)

    lowered = jax.jit(jax.value_and_grad(loss)).lower(trainable, frozen, batch)
    counted = lowered.compile().cost_analysis()["flops"]
    leaf_sizes = {path: leaf.size for path, leaf in leaves.items()}
    trained = {path: label != peft.FROZEN for path, label in labels.items()}
    return counted, step_flops(model, leaf_sizes, trained, BATCH, LENGTH)


@pytest.mark.parametrize(("method", "layers"), [("lora", 2), ("lora", 4), ("full", 2), ("full", 4), ("ia3", 2)])
def test_formula_agrees_with_the_unrolled_program(method, layers):
    counted, formula = counted_and_formula(method, layers)
    assert formula == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize(
    ("model_type", "task", "method", "sizes"),
    [
        ("bert", "token_classification", "lora", {}),
        ("mobilebert", "sequence_classification", "lora", {"hidden_size": 1024, "intra_bottleneck_size": 512}),
        ("mobilebert", "sequence_classification", "full", {"hidden_size": 1024, "intra_bottleneck_size": 512}),
        ("llama", "sequence_classification", "lora", LLAMA),
        ("llama", "token_classification", "full", LLAMA),
        ("bert", "token_classification", "prompt", {}),
        ("bert", "sequence_classification", "p_tuning", {}),
        ("llama", "sequence_classification", "prefix", LLAMA),
    ],
)
def test_formula_agrees_for_other_architectures_and_heads(model_type, task, method, sizes):
    counted, formula = counted_and_formula(method, 2, model_type, task, **sizes)
    assert formula == pytest.approx(counted, rel=0.03)


@pytest.mark.parametrize("settings", [{"dora": True}, {"rank_pattern": ("layer.1.attention.self.query=4",)}], ids=str)
def test_formula_agrees_for_relatives_of_lora(settings):
    counted, formula = counted_and_formula("lora", 2, lora=LoraConfig(**settings))
    assert formula == pytest.approx(counted, rel=0.03)


def test_lora_needs_under_three_quarters_of_full():
    assert counted_and_formula("lora", 4)[0] < 0.75 * counted_and_formula("full", 4)[0]
