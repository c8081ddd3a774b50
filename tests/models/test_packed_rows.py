"""A text gets the logits and gives the gradients that it would alone, whatever else stands in its row; dropout on."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft.config import PeftConfig
from jaxpeft.data.batches import BatchPlan, Targets, assemble
from jaxpeft.data.packing import Shape, assemble_packed, fill, place
from jaxpeft.data.tokenise import Encoded
from jaxpeft.models import MODELS
from jaxpeft.models.dropout import example_seeds
from jaxpeft.models.layout import Layout
from jaxpeft.peft import attach, flatten, label, split, unflatten
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training.step import INPUTS
from tests.models.test_architectures import filled, shell

LENGTHS = np.array([5, 12, 3, 12, 7, 4, 8])  # the first row is full, and has room for a third text
ROW = 24
SEQUENCES, TOKENS = "sequence_classification", "token_classification"
DROPPING = {"attention_dropout": 0.2}  # Llama's; the others have their own
CELLS = [
    *((model_type, task, "lora") for model_type in MODELS for task in (SEQUENCES, TOKENS)),
    ("bert", SEQUENCES, "ia3"),
    ("bert", TOKENS, "prompt"),
    ("roberta", SEQUENCES, "prefix"),
    ("mobilebert", SEQUENCES, "p_tuning"),
    ("llama", SEQUENCES, "prompt"),
    ("llama", TOKENS, "prefix"),
    ("distilbert", SEQUENCES, "full"),
]


def texts(of_tokens):
    """Pairs of texts, and what the loss wants of them."""
    generator = np.random.default_rng(3)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    shape = starts[-1] if of_tokens else len(LENGTHS)
    segments = np.concatenate([np.arange(length) > length // 2 for length in LENGTHS]).astype(np.uint8)
    targets = Targets(generator.integers(0, 3, shape), generator.uniform(0.5, 2.0, shape), of_tokens)
    ids = generator.integers(5, 61, starts[-1]).astype(np.int32)
    return Encoded(ids, starts, np.arange(len(LENGTHS)), segments), targets


def adapted(model_type, task, method):
    config = PeftConfig(method=method)
    for block in (config.prompt, config.p_tuning, config.prefix):
        block.tokens = 3
    bare = filled(shell(model_type, task, **DROPPING))
    model = attach(bare, config, jax.random.key(1), bare.may_lack)
    graphdef, leaves = flatten(model)
    key = jax.random.key(2)
    leaves = {
        path: leaf + 0.1 * jax.random.normal(key, leaf.shape) if path.endswith("lora_b") else leaf
        for path, leaf in leaves.items()
    }
    labels = label(leaves, config, bare.head, ())
    return graphdef, *split(leaves, labels), model


@functools.partial(jax.jit, static_argnums=0)
def logits_and_gradients(graphdef, trainable, frozen, batch):
    def loss(trainable):
        model = unflatten(graphdef, {**trainable, **frozen})
        seeds = example_seeds(5, 2, batch["example"])
        logits = model(**{name: batch[name] for name in INPUTS if name in batch}, seeds=seeds)
        return loss_sum(logits, batch), logits

    (_, logits), gradients = jax.value_and_grad(loss, has_aux=True)(trainable)
    return logits, gradients


@pytest.mark.parametrize(("model_type", "task", "method"), CELLS)
def test_packed_rows_give_what_single_ones_do(model_type, task, method):
    encoded, targets = texts(task == TOKENS)
    graphdef, trainable, frozen, model = adapted(model_type, task, method)
    prompt, lengths = model.virtual.prompt_length, LENGTHS + model.virtual.prompt_length
    alone = assemble(BatchPlan(np.arange(len(LENGTHS)), 16), encoded, targets, len(LENGTHS))
    shape = Shape(6, ROW, 4, 12 + prompt)  # one row at least is empty
    placed = place(np.arange(len(LENGTHS)), lengths, fill(lengths, shape))
    packed = assemble_packed(placed, encoded, targets, shape, prompt)
    assert 3 <= placed.row.max() + 1 < shape.rows
    expected, expected_gradients = logits_and_gradients(graphdef, trainable, frozen, alone)
    found, gradients = logits_and_gradients(graphdef, trainable, frozen, packed)
    for example, row, slot, start in zip(placed.examples, placed.row, placed.slot, placed.start, strict=True):
        own, end = found[row, slot], LENGTHS[example]
        if task == TOKENS:
            own, expected_own = found[row, start + prompt : start + prompt + end], expected[example, :end]
        else:
            expected_own = expected[example]
        np.testing.assert_allclose(own, expected_own, atol=1e-5)
    largest = max(float(abs(leaf).max()) for leaf in expected_gradients.values())
    for path, leaf in expected_gradients.items():
        np.testing.assert_allclose(gradients[path], leaf, atol=1e-5 * max(1.0, largest), err_msg=path)
    assert largest > 1e-2


def grid_of(lengths, length, row):
    """That of rows of texts of these lengths [B, K]."""
    first = np.cumsum(lengths, axis=1) - lengths
    place = np.arange(length)
    return jnp.asarray(np.where(place < np.array(lengths)[..., None], first[..., None] + place, row))


def test_a_layout_says_where_texts_stand():
    layout = Layout.packed(grid_of([[3, 2, 0], [0, 0, 0], [1, 2, 3]], 4, 6), 6)
    assert layout.mask.astype(int).tolist() == [[1, 1, 1, 1, 1, 0], [0] * 6, [1] * 6]
    assert layout.places[layout.mask].tolist() == [0, 1, 2, 0, 1, 0, 0, 1, 0, 1, 2]
    assert layout.texts[layout.mask].tolist() == [0, 0, 0, 1, 1, 0, 1, 1, 2, 2, 2]
    assert layout.firsts.tolist() == [[0, 3, 5], [0, 0, 0], [0, 1, 3]]
    chosen = jnp.array([[1, 1, 0, 1, 1, 1], [0] * 6, [1, 0, 0, 1, 1, 0]], bool)
    assert layout.last(chosen)[0].tolist()[:2] == [1, 4]
    assert layout.last(chosen)[2].tolist() == [0, 1, 4]


def test_texts_are_taken_apart_and_put_together_again_and_so_are_gradients():
    layout = Layout.packed(grid_of([[3, 2, 0], [0, 0, 0], [1, 2, 3]], 4, 6), 6)
    x = jnp.arange(1.0, 37.0).reshape(3, 6, 2)
    apart = layout.apart(x)
    assert apart.shape == (9, 4, 2)
    assert apart[:, :, 0].tolist() == [
        [1, 3, 5, 0], [7, 9, 0, 0], [0] * 4, *[[0] * 4] * 3, [25, 0, 0, 0], [27, 29, 0, 0], [31, 33, 35, 0]
    ]  # fmt: skip
    np.testing.assert_array_equal(layout.together(apart), jnp.where(layout.mask[..., None], x, 0))
    # What stands behind a text goes nowhere, and what comes back to it is no one's.
    seen = jax.grad(lambda x: (layout.apart(x) ** 2).sum())(x)
    np.testing.assert_array_equal(seen, jnp.where(layout.mask[..., None], 2 * x, 0))
    back = jax.grad(lambda y: (layout.together(y) ** 2).sum())(apart + 1.0)
    there = layout.grid.reshape(9, 4, 1) < 6
    np.testing.assert_array_equal(back, jnp.where(there, 2 * (apart + 1.0), 0))
    # A text that is missing has a token to see: no softmax over nothing.
    rows = layout.rows_apart().mask
    assert rows.sum(axis=1).tolist() == [3, 2, 1, 1, 1, 1, 1, 2, 3]
    assert layout.rows_apart().visible(causal=True)[0, 0].astype(int).tolist() == [
        [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0]
    ]  # fmt: skip
