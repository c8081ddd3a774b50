"""Which parameters count as the head, from shapes alone."""

import jax
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.peft import count
from jaxpeft.training.system import abstract, partition

SHAPE = {"num_attention_heads": 12, "num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200}
TINY = {"model_type": "bert", "vocab_size": 28996, **SHAPE}
HEAD = ("classifier.kernel", "classifier.bias")


def counted(hf_config, method, new):
    config = Config()
    config.peft.method = method
    model = abstract(config, hf_config, 2)
    labels = partition(config, model, new)
    adapted = nnx.eval_shape(lambda bare: peft.attach(bare, config.peft, jax.random.key(0)), model)
    return count(adapted, labels)


def test_a_pooler_that_the_checkpoint_has_is_no_head():
    assert counted(TINY, "full", HEAD) == {"adapter": 13_874_136, "head": 626, "frozen": 0}
    assert counted(TINY, "lora", HEAD)["head"] == 626
