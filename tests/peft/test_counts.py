"""Parameter counts of published models, from shapes alone."""

import jax
import pytest
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.peft import count
from jaxpeft.training.system import abstract, partition

COMMON = {"model_type": "bert", "vocab_size": 28996, "num_attention_heads": 12}
TINY = {**COMMON, "num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200}
DISTIL = {**COMMON, "num_hidden_layers": 6, "hidden_size": 768, "intermediate_size": 3072}
BASE = {**DISTIL, "num_hidden_layers": 12}
HEAD = ("classifier.kernel", "classifier.bias")
POOLER = ("pooler.kernel", "pooler.bias")  # tiny-biobert's checkpoint has none
QKV = ("query", "key", "value")
POOLER_SIZE = 97_656


def counted(hf_config, method, new, **peft_settings):
    config = Config()
    config.peft.method = method
    for name, value in peft_settings.items():
        setattr(config.peft, name, value)
    model = abstract(config, hf_config, 2)
    labels = partition(config, model, new)
    adapted = nnx.eval_shape(lambda: peft.attach(nnx.clone(model), config.peft, jax.random.key(0)))
    return count(peft.flatten(adapted)[1], labels)


@pytest.mark.parametrize(
    ("hf_config", "new", "total", "lora_targets", "lora", "ia3", "head"),
    [
        pytest.param(TINY, HEAD + POOLER, 13_874_762, QKV, 59_904, 8_544, 626 + POOLER_SIZE, id="tiny-biobert"),
        pytest.param(DISTIL, HEAD, 65_784_578, (), 147_456, 32_256, 1_538, id="distil-biobert"),
        pytest.param(BASE, HEAD, 108_311_810, (), 294_912, 64_512, 1_538, id="biobert-v1.1"),
    ],
)
def test_counts_of_published_models(hf_config, new, total, lora_targets, lora, ia3, head):
    assert counted(hf_config, "head", new) == {"adapter": 0, "head": head, "frozen": total - head}
    assert counted(hf_config, "full", new) == {"adapter": total - head, "head": head, "frozen": 0}
    assert counted(hf_config, "lora", new, target_modules=lora_targets) == {
        "adapter": lora,
        "head": head,
        "frozen": total - head,
    }
    assert counted(hf_config, "ia3", new) == {"adapter": ia3, "head": head, "frozen": total - head}


def test_a_pooler_that_the_checkpoint_has_is_no_head():
    assert counted(TINY, "full", HEAD) == {"adapter": 13_874_136, "head": 626, "frozen": 0}
    assert counted(TINY, "lora", HEAD)["head"] == 626
