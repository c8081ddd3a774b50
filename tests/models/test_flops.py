"""The formula of a step's operations against XLA's count of the unrolled step."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import PeftConfig
from jaxpeft.models.bert import BertConfig, BertForSequenceClassification
from jaxpeft.models.flops import step_flops
from jaxpeft.tasks.sequence_classification import loss_sum

BATCH, LENGTH = 4, 64


def counted_and_formula(method: str, layers: int) -> tuple[float, int]:
    config = BertConfig(
        vocab_size=50, num_hidden_layers=layers, hidden_dropout_prob=0, attention_probs_dropout_prob=0, unroll=layers
    )
    settings = PeftConfig(method=method)
    settings.lora.dropout = 0.0
    model = nnx.eval_shape(lambda: peft.attach(BertForSequenceClassification(config), settings, jax.random.key(0)))
    graphdef, leaves = peft.flatten(model)
    labels = peft.label(leaves, method, model.head, ())
    trainable, frozen = peft.split(leaves, labels)
    batch = {
        "ids": jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32),
        "mask": jax.ShapeDtypeStruct((BATCH, LENGTH), bool),
        "label": jax.ShapeDtypeStruct((BATCH,), jnp.int32),
        "weight": jax.ShapeDtypeStruct((BATCH,), jnp.float32),
    }

    def loss(trainable, frozen, batch):
        model = peft.unflatten(graphdef, {**trainable, **frozen})
        return loss_sum(model(batch["ids"], batch["mask"]), batch)

    lowered = jax.jit(jax.value_and_grad(loss)).lower(trainable, frozen, batch)
    counted = lowered.compile().cost_analysis()["flops"]
    sizes = {path: leaf.size for path, leaf in leaves.items()}
    trained = {path: label != peft.FROZEN for path, label in labels.items()}
    shell = dataclasses.make_dataclass("Shell", ["config", "head_layers", "reads_embeddings", "pools"])(
        config, model.head_layers, model.reads_embeddings, model.pools
    )
    return counted, step_flops(shell, sizes, trained, BATCH, LENGTH)


@pytest.mark.parametrize(("method", "layers"), [("lora", 2), ("lora", 4), ("full", 2), ("full", 4), ("ia3", 2)])
def test_formula_agrees_with_the_unrolled_program(method, layers):
    counted, formula = counted_and_formula(method, layers)
    assert formula == pytest.approx(counted, rel=0.03)


def test_lora_needs_under_three_quarters_of_full():
    assert counted_and_formula("lora", 4)[0] < 0.75 * counted_and_formula("full", 4)[0]
