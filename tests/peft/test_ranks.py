"""One wide model stands for LoRA of any rank and alpha."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxpeft import peft
from jaxpeft.config import LoraConfig, PeftConfig
from jaxpeft.models.bert import BertConfig, BertForSequenceClassification
from jaxpeft.peft import ranks
from tests import tiny

RUNS = {
    "narrow": (2, 16.0, {}),
    "wide": (5, 4.0, {}),
    "rslora": (3, 6.0, {"rslora": True}),
    "dora": (3, 5.0, {"dora": True}),
}
LAYERS = {"layers_to_transform": (0, 2)}


def settings(rank, alpha, more):
    return PeftConfig(lora=LoraConfig(rank=rank, alpha=alpha, dropout=0.0, **more))


def leaves_of(config):
    """Structure, trained and frozen leaves of a tiny model whose leaves are all random."""
    model_config = BertConfig.from_hf(tiny.SIZES, num_labels=3, dtype="float32", remat=False, unroll=1)
    model = peft.attach(BertForSequenceClassification(model_config), config, jax.random.key(0))
    graphdef, leaves = peft.flatten(model)
    trainable, frozen = peft.split(leaves, peft.label(leaves, config, head=model.head, new=()))
    generator = np.random.default_rng(1)
    return (
        graphdef,
        trainable,
        {
            path: leaf if path.endswith("lora_scale") else generator.normal(0, 0.3, leaf.shape).astype(np.float32)
            for path, leaf in frozen.items()
        },
    )


def logits(graphdef, trainable, frozen):
    ids = np.arange(5, 17, dtype=np.int32).reshape(2, 6)
    return peft.unflatten(graphdef, {**trainable, **frozen})(ids=ids, mask=np.ones(ids.shape, bool))


@pytest.mark.parametrize("more", [{}, LAYERS], ids=["all layers", "some layers"])
@pytest.mark.parametrize("name", RUNS)
def test_a_model_of_the_largest_rank_gives_each_runs_logits_and_gradients(name, more):
    rank, alpha, own = RUNS[name]
    config = settings(rank, alpha, own | more)
    graphdef, trainable, frozen = leaves_of(config)
    generator = np.random.default_rng(2)
    trainable = {path: leaf + generator.normal(0, 0.2, leaf.shape) * (leaf != 0) for path, leaf in trainable.items()}
    common = ranks.common([config, settings(6, 1.0, own | more)])
    wide_graphdef, _, wide_frozen = leaves_of(common)
    scales = ranks.column_scales(config.lora, 6)

    def wide_logits(tree):
        return logits(wide_graphdef, ranks.scaled(tree, scales), wide_frozen)

    wide = ranks.widened(trainable, 6)
    np.testing.assert_allclose(wide_logits(wide), logits(graphdef, trainable, frozen), atol=1e-5)
    ours = jax.grad(lambda tree: wide_logits(tree).sum())(wide)
    theirs = jax.grad(lambda tree: logits(graphdef, tree, frozen).sum())(trainable)
    for path, gradient in ranks.narrowed(ours, rank).items():
        np.testing.assert_allclose(gradient, theirs[path], atol=1e-4, err_msg=path)
    for path, gradient in ours.items():  # beyond the rank there is none
        beyond = gradient - ranks.widened(ranks.narrowed(ours, rank), 6)[path]
        assert not np.any(beyond), path


def test_narrowed_is_the_inverse_of_widened():
    _, trainable, _ = leaves_of(settings(2, 1.0, {}))
    back = ranks.narrowed(ranks.widened(trainable, 7), 2)
    assert back.keys() == trainable.keys()
    for path, leaf in trainable.items():
        np.testing.assert_array_equal(back[path], leaf)


def test_runs_of_one_rank_and_alpha_need_nothing_in_common():
    one = settings(4, 8.0, {})
    assert not ranks.differ([one, dataclasses.replace(one, method="lora")])
    assert ranks.differ([one, settings(4, 9.0, {})])
    assert ranks.differ([one, settings(5, 8.0, {})])
