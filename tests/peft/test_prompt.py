"""Virtual tokens: where they stand, what reads them, and prefixes by their definition, written out in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxpeft.config import PeftConfig
from jaxpeft.models import MODELS
from jaxpeft.models.dropout import example_seeds
from jaxpeft.peft import attach, flatten, label, split, unflatten, virtual_tokens
from jaxpeft.peft.prompt import Prompt
from tests import tiny

SIZES = {
    "bert": tiny.SIZES,
    "roberta": tiny.SIZES,
    "distilbert": {"vocab_size": 61, "dim": 24, "n_layers": 3, "n_heads": 4, "hidden_dim": 40},
    "mobilebert": {**tiny.SIZES, "embedding_size": 12, "intra_bottleneck_size": 20, "classifier_activation": False},
    "llama": {**tiny.SIZES, "num_key_value_heads": 2},
}
METHODS = ("prompt", "p_tuning", "prefix")
N, B, T = 3, 4, 7


def model_of(model_type, task="sequence_classification", *, method=None, **settings):
    """A model whose every leaf is random, with or without virtual tokens."""
    architecture = MODELS[model_type]
    config = architecture.config.from_hf(SIZES[model_type], num_labels=5)
    graphdef, leaves = flatten(nnx.eval_shape(lambda: architecture.heads[task](config)))
    generator = np.random.default_rng(0)
    model = unflatten(
        graphdef,
        {path: jnp.asarray(generator.normal(0, 0.3, leaf.shape), jnp.float32) for path, leaf in leaves.items()},
    )
    return model if method is None else attach(model, peft_config(method, **settings), jax.random.key(1))


def peft_config(method, **settings):
    config = PeftConfig(method=method)
    vars(getattr(config, method)).update(tokens=N, **settings)
    return config


def batch(seed=0, length=T):
    generator = np.random.default_rng(seed)
    mask = (np.arange(length) < generator.integers(3, length + 1, (B, 1))).astype(np.int32)
    return {"ids": np.where(mask, generator.integers(5, 61, (B, length)), 0).astype(np.int32), "mask": mask}


@pytest.mark.parametrize("method", METHODS)
def test_virtual_tokens_train_and_nothing_else_beside_the_head(method):
    model = model_of("bert", method=method)
    _, leaves = flatten(model)
    labels = label(leaves, peft_config(method), model.head, ())
    assert {path for path, name in labels.items() if name == "adapter"} == {
        path for path in leaves if path.startswith("virtual.")
    }
    shapes = {"prompt": (N, 24), "p_tuning": (N, 24), "prefix": (3, 2, N, 24)}
    assert leaves["virtual.embedding"].shape == shapes[method]
    assert virtual_tokens(peft_config(method)) == N
    assert virtual_tokens(PeftConfig(method="lora")) == 0


@pytest.mark.parametrize("model_type", sorted(MODELS.keys() - {"mobilebert"}))  # its words see their neighbours' pads
@pytest.mark.parametrize("method", METHODS)
def test_padding_changes_nothing_and_virtual_tokens_have_no_logits(model_type, method):
    model, short = model_of(model_type, "token_classification", method=method), batch()
    long = {name: np.pad(array, ((0, 0), (0, 4))) for name, array in short.items()}
    logits = model(**short)
    assert logits.shape == (B, T, 5)
    real = short["mask"].astype(bool)
    np.testing.assert_allclose(model(**long)[:, :T][real], logits[real], atol=2e-5)


def test_a_prompt_of_words_equals_those_words_in_the_text():
    """With the embeddings of real words as its prompt, a model reads the same text."""
    model = model_of("bert", method="prompt", init="vocabulary")
    words = jnp.asarray([[7, 8, 9]])
    model.virtual.embedding[...] = model.words(words)[0]
    plain, texts = model_of("bert"), batch()
    ids = np.concatenate([np.repeat(words, B, 0), texts["ids"]], axis=1)
    mask = np.pad(texts["mask"], ((0, 0), (N, 0)), constant_values=1)
    np.testing.assert_allclose(model(**texts), plain(ids, mask), atol=1e-5)


def test_a_prompt_begins_as_words_of_the_vocabulary_or_as_noise():
    model = model_of("bert")
    table = np.asarray(model.embeddings.word.embedding[...])
    words = Prompt(model, peft_config("prompt").prompt, jax.random.key(0)).prompt()
    assert all((table == row).all(1).any() for row in np.asarray(words))
    noise = Prompt(model, peft_config("prompt", init="noise").prompt, jax.random.key(0)).prompt()
    assert not any((table == row).all(1).any() for row in np.asarray(noise))


def test_llama_reads_its_last_word_behind_a_prompt():
    model, texts = model_of("llama", method="prompt"), batch()
    last = texts["mask"].sum(1) - 1
    tokens, _ = model.encode(**texts)
    read = model.read(tokens, texts["ids"], model.layout(texts["mask"], None, texts["mask"].shape[1]))
    np.testing.assert_array_equal(read, np.asarray(tokens)[np.arange(B), N + last])


def test_dropout_reaches_virtual_tokens():
    model = model_of("bert", "token_classification", method="prompt")
    seeds = example_seeds(0, 0, np.arange(B))
    on, off = (model.encode(**batch(), seeds=one)[0] for one in (seeds, None))
    assert not np.allclose(on[:, :N], off[:, :N])


# Prefixes by definition: in every layer each query also attends to n keys and values of its own.


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def linear(leaves, path, layer=None):
    kernel, bias = (np.float64(leaves[f"{path}.{role}"]) for role in ("kernel", "bias"))
    return lambda x: x @ (kernel if layer is None else kernel[layer]) + (bias if layer is None else bias[layer])


def layer_norm(leaves, path, layer=None):
    scale, bias = (np.float64(leaves[f"{path}.{role}"]) for role in ("scale", "bias"))
    scale, bias = (scale, bias) if layer is None else (scale[layer], bias[layer])
    return lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12) * scale + bias


def no_norm(leaves, path, layer=None):
    scale, bias = (np.float64(leaves[f"{path}.{role}"]) for role in ("scale", "bias"))
    return lambda x: x * (scale if layer is None else scale[layer]) + (bias if layer is None else bias[layer])


def attend(q, keys, values, real, heads):
    """softmax(q K' / sqrt(H)) V' where K' and V' begin with the prefix, one text and head at a time."""
    out, h = np.zeros_like(q), q.shape[-1] // heads
    for b in range(len(q)):
        for n in range(heads):
            part = slice(n * h, (n + 1) * h)
            scores = q[b][:, part] @ keys[b][:, part].T / np.sqrt(h)
            scores[:, N:][:, ~real[b]] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            out[b][:, part] = weights / weights.sum(-1, keepdims=True) @ values[b][:, part]
    return out


def behind(virtual, x):
    return np.concatenate([np.repeat(virtual[None], len(x), 0), x], axis=1)


def distilbert(leaves, prefix, ids, mask):
    words, places = (np.float64(leaves[f"embeddings.{name}.embedding"]) for name in ("word", "position"))
    x = layer_norm(leaves, "embeddings.norm")(words[ids] + places[N : N + ids.shape[1]])
    for layer in range(3):
        at = lambda name, kind=linear: kind(leaves, f"layers.{name}", layer)  # noqa: B023, E731
        keys, values = (
            behind(own, at(f"attention.{name}")(x)) for own, name in zip(prefix[layer], ("key", "value"), strict=True)
        )
        y = attend(at("attention.query")(x), keys, values, mask.astype(bool), 4)
        x = at("attention_norm", layer_norm)(x + at("attention.output")(y))
        x = at("output_norm", layer_norm)(x + at("output")(gelu(at("intermediate")(x))))
    return linear(leaves, "classifier")(np.maximum(linear(leaves, "pre_classifier")(x[:, 0]), 0))


def mobilebert(leaves, prefix, ids, mask):
    words, places, kinds = (np.float64(leaves[f"embeddings.{n}.embedding"]) for n in ("word", "position", "segment"))
    narrow = np.pad(words[ids], ((0, 0), (1, 1), (0, 0)))
    x = linear(leaves, "embeddings.transformation")(
        np.concatenate([narrow[:, 2:], narrow[:, 1:-1], narrow[:, :-2]], axis=-1)
    )
    x = no_norm(leaves, "embeddings.norm")(x + places[N : N + ids.shape[1]] + kinds[0])
    for layer in range(3):
        at = lambda name, kind=linear: kind(leaves, f"layers.{name}", layer)  # noqa: B023, E731
        project = lambda name, y, residual=0.0: at(f"{name}.norm", no_norm)(at(f"{name}.dense")(y) + residual)  # noqa: B023, E731
        shared = project("shared_bottleneck", x)
        # The prefix is as wide as the states: it passes the bottleneck and the projections as words do.
        keys = behind(at("attention.key")(project("shared_bottleneck", prefix[layer, 0])), at("attention.key")(shared))
        values = behind(at("attention.value")(prefix[layer, 1]), at("attention.value")(x))
        y = attend(at("attention.query")(shared), keys, values, mask.astype(bool), 4)
        y = project("attention_output", y, project("bottleneck", x))
        for number in range(4):
            inner = np.maximum(at(f"feed_forward_{number}.intermediate")(y), 0)
            y = project(f"feed_forward_{number}.output", inner, y)
        x = project("widen", y, x)
    return linear(leaves, "classifier")(x[:, 0])


@pytest.mark.parametrize(("model_type", "definition"), [("distilbert", distilbert), ("mobilebert", mobilebert)])
def test_a_prefix_where_peft_has_none(model_type, definition):
    model, texts = model_of(model_type, method="prefix"), batch()
    graphdef, leaves = flatten(model)
    labels = label(leaves, peft_config("prefix"), model.head, ())
    trainable, frozen = split(leaves, labels)
    prefix = np.float64(trainable["virtual.embedding"])
    weights = np.random.default_rng(2).normal(size=(B, 5))

    def ours(tree):
        return (unflatten(graphdef, {**tree, **frozen})(**texts) * weights).sum()

    expected = definition(leaves, prefix, **texts)
    np.testing.assert_allclose(model(**texts), expected, atol=1e-4 * max(1, abs(expected).max()), rtol=0)
    gradient = np.asarray(jax.grad(ours)(trainable)["virtual.embedding"], np.float64)
    for seed in range(3):
        direction = np.random.default_rng(seed).normal(size=prefix.shape)
        sides = [(definition(leaves, prefix + sign * 1e-5 * direction, **texts) * weights).sum() for sign in (1, -1)]
        np.testing.assert_allclose((gradient * direction).sum(), (sides[0] - sides[1]) / 2e-5, rtol=1e-3)
