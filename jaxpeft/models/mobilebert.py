"""MobileBERT (Sun et al. 2020): wide hidden states, narrow blocks between bottlenecks, no layer norm.

A block narrows its input twice (one bottleneck for query and key, one for the residual), attends, runs four
feed-forwards in the narrow width, and widens the sum again. Values are read from the wide input.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models import tensors
from jaxpeft.models.activations import ACTIVATIONS, unknown_activation
from jaxpeft.models.architecture import Classifier, divides, only
from jaxpeft.models.attention import attention
from jaxpeft.models.bert import BertConfig
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Embedding, Linear
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor
from jaxpeft.models.token_head import TokenHead


@dataclasses.dataclass(frozen=True, kw_only=True)
class MobileBertConfig(BertConfig):
    """The fields of MobileBERT's `config.json`."""

    hidden_size: int = 512
    num_hidden_layers: int = 24
    num_attention_heads: int = 4
    intermediate_size: int = 512
    hidden_act: str = "relu"
    hidden_dropout_prob: float = 0.0
    embedding_size: int = 128
    intra_bottleneck_size: int = 128
    num_feedforward_networks: int = 4
    classifier_activation: bool = True  # a pooler with weights; released checkpoints say false
    pad_token_id: int = 0

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """Variants of the block that no released checkpoint has."""
        built = {
            "use_bottleneck": True,
            "use_bottleneck_attention": False,
            "key_query_shared_bottleneck": True,
            "trigram_input": True,
            "normalization_type": "no_norm",
        }
        return [
            *unknown_activation("hidden_act", self.hidden_act),
            *divides("num_attention_heads", self.num_attention_heads, "intra_bottleneck_size", self.attention_size),
            *only(hf_config, built),
        ]

    @property
    def attention_size(self) -> int:
        """Attention runs in the narrow width."""
        return self.intra_bottleneck_size

    @property
    def word_size(self) -> int:
        """Words are looked up narrower than the states that they become."""
        return self.embedding_size


class NoNorm(nnx.Module):
    """x * scale + bias (section 3.3): what is left of a layer norm without its statistics."""

    def __init__(self, d: int, *, stack: tuple[int, ...] = ()):
        self.scale = nnx.Param(jnp.zeros((*stack, d)))
        self.bias = nnx.Param(jnp.zeros((*stack, d)))

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        return x * self.scale[...].astype(x.dtype) + self.bias[...].astype(x.dtype)


class Projection(nnx.Module):
    """A linear layer, dropout, the residual if there is one, and NoNorm: every step of a block ends in one."""

    def __init__(self, d_in: int, d_out: int, *, stack: tuple[int, ...], rate: float = 0.0):
        self.dense = Linear(d_in, d_out, stack=stack)
        self.norm = NoNorm(d_out, stack=stack)
        self.rate = rate

    def __call__(self, x: jax.Array, residual: jax.Array | float = 0.0, *, seeds: jax.Array | None) -> jax.Array:
        """[..., D_in] -> [..., D_out]."""
        y = dropout(self.dense(x, seeds=fold(seeds, 0)), self.rate, fold(seeds, 1))
        return self.norm(y + residual)


class FeedForward(nnx.Module):
    """One of the narrow feed-forwards, with its residual."""

    def __init__(self, config: MobileBertConfig, stack: tuple[int, ...]):
        d, f = config.intra_bottleneck_size, config.intermediate_size
        self.intermediate = Linear(d, f, stack=stack)
        self.output = Projection(f, d, stack=stack)
        self.config = config

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, D] in the narrow width."""
        y = ACTIVATIONS[self.config.hidden_act](self.intermediate(x, seeds=fold(seeds, 0)))  # [B, T, F]
        return self.output(y, x, seeds=fold(seeds, 1))


class SelfAttention(nnx.Module):
    """Queries and keys of the shared bottleneck, values of the wide input."""

    def __init__(self, config: MobileBertConfig, stack: tuple[int, ...]):
        narrow = config.intra_bottleneck_size
        self.query = Linear(narrow, narrow, stack=stack)
        self.key = Linear(narrow, narrow, stack=stack)
        self.value = Linear(config.hidden_size, narrow, stack=stack)
        self.config = config

    def __call__(
        self,
        shared: jax.Array,
        x: jax.Array,
        layout: Layout,
        *,
        prefix: jax.Array | None,
        seeds: jax.Array | None,
    ) -> jax.Array:
        """The shared bottleneck [B, T, narrow] and the input [B, T, D] -> [B, T, narrow]; prefix [2, n, narrow]."""
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        q = self.query(shared, seeds=fold(seeds, 0)).reshape(heads)  # [B, T, N, H]
        k = self.key(shared, seeds=fold(seeds, 1)).reshape(heads)
        v = self.value(x, seeds=fold(seeds, 2)).reshape(heads)
        rate, implementation = self.config.attention_probs_dropout_prob, self.config.attention
        y = attention(
            q, k, v, layout, prefix=prefix, dropout_rate=rate, seeds=fold(seeds, 3), implementation=implementation
        )
        return y.reshape(shared.shape)


class Layer(nnx.Module):
    """Narrow, attend, feed forward several times, widen."""

    def __init__(self, config: MobileBertConfig, stack: tuple[int, ...]):
        wide, narrow = config.hidden_size, config.intra_bottleneck_size
        self.bottleneck = Projection(wide, narrow, stack=stack)
        self.shared_bottleneck = Projection(wide, narrow, stack=stack)
        self.attention = SelfAttention(config, stack)
        self.attention_output = Projection(narrow, narrow, stack=stack)
        self.feed_forwards = tuple(f"feed_forward_{number}" for number in range(config.num_feedforward_networks))
        for name in self.feed_forwards:  # attributes, as a leaf's path is made of names
            setattr(self, name, FeedForward(config, stack))
        self.widen = Projection(narrow, wide, stack=stack, rate=config.hidden_dropout_prob)
        self.config = config

    def __call__(self, x: jax.Array, layout: Layout, *, prefix: jax.Array | None, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, D], with prefix [2, n, D]."""
        narrow = self.bottleneck(x, seeds=fold(seeds, 0))
        shared = self.shared_bottleneck(x, seeds=fold(seeds, 1))
        y = self.attention(shared, x, layout, prefix=self.narrow_prefix(prefix), seeds=fold(seeds, 2))
        y = self.attention_output(y, narrow, seeds=fold(seeds, 3))
        for number, name in enumerate(self.feed_forwards):
            y = getattr(self, name)(y, seeds=fold(seeds, 5 + number))
        return self.widen(y, x, seeds=fold(seeds, 4))

    def narrow_prefix(self, prefix: jax.Array | None) -> jax.Array | None:
        """[2, n, D] -> [2, n, narrow]: wide virtual states become keys and values on the way that a text's do."""
        if prefix is None:
            return None
        keys, values = prefix.astype(self.config.dtype)
        keys = self.attention.key(self.shared_bottleneck(keys, seeds=None))
        return jnp.stack([keys, self.attention.value(values)])


class Embeddings(nnx.Module):
    """Each token's embedding beside those of its neighbours, projected; + position + segment, NoNorm, dropout."""

    def __init__(self, config: MobileBertConfig):
        self.word = Embedding(config.vocab_size, config.embedding_size)
        self.transformation = Linear(3 * config.embedding_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = NoNorm(config.hidden_size)
        self.config = config

    def __call__(
        self,
        words: jax.Array,
        padding: jax.Array,
        segments: jax.Array,
        layout: Layout,
        first: int,
        *,
        seeds: jax.Array | None,
    ) -> jax.Array:
        """Words [B, T, E] and a padding token's [1, 1, E] -> [B, T, D]; positions count from `first`."""
        words = words.astype(self.config.dtype)
        padded = jnp.pad(words, ((0, 0), (1, 1), (0, 0)))  # padding tokens are neighbours too, as in transformers
        following, previous = padded[:, 2:], padded[:, :-2]
        if layout.texts is not None:  # between nothing and padding, as a text stands that has a longer row for itself
            begins = (layout.places == 0)[..., None]
            ends = jnp.pad(begins[:, 1:], ((0, 0), (0, 1), (0, 0)), constant_values=True)
            following = jnp.where(ends, padding.astype(words.dtype), following)
            previous = jnp.where(begins, 0, previous)
        x = self.transformation(jnp.concatenate([following, words, previous], axis=-1), seeds=fold(seeds, 0))
        positions = self.position(self.config.positions(layout, first))
        x = x + positions.astype(x.dtype) + self.segment(segments).astype(x.dtype)
        return dropout(self.norm(x), self.config.hidden_dropout_prob, fold(seeds, 1))


class MobileBertEncoder(Classifier):
    """Embeddings and layers: what both heads stand on."""

    model_type = base_prefix = "mobilebert"
    unused = ("pooler.*",)
    reads_embeddings = (
        "embeddings.transformation",
        "layers.bottleneck.",
        "layers.shared_bottleneck.",
        "layers.attention.value",
    )

    def __init__(self, config: MobileBertConfig):
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = Layer(config, stack=(config.num_hidden_layers,))

    def words(self, ids: jax.Array) -> jax.Array:
        """Rows [B, T, E] of the table of words. Padding's never trains, though the words beside it read it."""
        words = self.embeddings.word(ids)
        return jnp.where((ids == self.config.pad_token_id)[..., None], jax.lax.stop_gradient(words), words)

    def embed(
        self, words: jax.Array, segments: jax.Array, layout: Layout, first: int, *, seeds: jax.Array | None
    ) -> jax.Array:
        """What the first layer reads [B, T, D], of word embeddings [B, T, E]; positions count from `first`."""
        padding = self.words(jnp.full((1, 1), self.config.pad_token_id))
        return self.embeddings(words, padding, segments, layout, first, seeds=seeds)

    def encoder_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf of embeddings and layers, and its checkpoint tensor."""
        embeddings, layer = "mobilebert.embeddings", f"mobilebert.encoder.layer.{tensors.LAYER}"
        extra = [f"{layer}.ffn.{number}" for number in range(self.config.num_feedforward_networks - 1)]
        feed_forwards = enumerate([*extra, layer])  # the last one has the names of BERT's only one
        return (
            *tensors.embedding(f"{embeddings}.word_embeddings", "embeddings.word"),
            *tensors.linear(f"{embeddings}.embedding_transformation", "embeddings.transformation"),
            *tensors.embedding(f"{embeddings}.position_embeddings", "embeddings.position"),
            *tensors.embedding(f"{embeddings}.token_type_embeddings", "embeddings.segment"),
            *tensors.layer_norm(f"{embeddings}.LayerNorm", "embeddings.norm"),
            *_projection(f"{layer}.bottleneck.input", "layers.bottleneck"),
            *_projection(f"{layer}.bottleneck.attention", "layers.shared_bottleneck"),
            *tensors.linear(f"{layer}.attention.self.query", "layers.attention.query"),
            *tensors.linear(f"{layer}.attention.self.key", "layers.attention.key"),
            *tensors.linear(f"{layer}.attention.self.value", "layers.attention.value"),
            *_projection(f"{layer}.attention.output", "layers.attention_output"),
            *(one for n, name in feed_forwards for one in _feed_forward(name, f"layers.feed_forward_{n}")),
            *_projection(f"{layer}.output.bottleneck", "layers.widen"),
        )


class MobileBertForSequenceClassification(MobileBertEncoder):
    """Encoder, first token (through a pooler where the config says so), classifier."""

    head = ("classifier",)
    may_lack = head_layers = ("pooler", "classifier")
    pools = True

    def __init__(self, config: MobileBertConfig):
        super().__init__(config)
        if config.classifier_activation:
            self.pooler = Linear(config.hidden_size, config.hidden_size)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        if self.config.classifier_activation:
            x = jnp.tanh(self.pooler(x, seeds=fold(seeds, AFTER_LAYERS + 1)))
        x = dropout(x, self.config.head_dropout, fold(seeds, AFTER_LAYERS))
        return self.classifier(x)

    def head_tensors(self) -> tuple[Tensor, ...]:
        """The classifier's, and the pooler's where there is one."""
        pooler = tensors.linear("mobilebert.pooler.dense", "pooler") if self.config.classifier_activation else ()
        return *pooler, *tensors.linear("classifier", "classifier")


class MobileBertForTokenClassification(TokenHead, MobileBertEncoder):
    """Encoder without a pooler, classifier on every token."""


def _projection(name: str, path: str) -> tuple[Tensor, ...]:
    return *tensors.linear(f"{name}.dense", f"{path}.dense"), *tensors.layer_norm(f"{name}.LayerNorm", f"{path}.norm")


def _feed_forward(name: str, path: str) -> tuple[Tensor, ...]:
    intermediate = tensors.linear(f"{name}.intermediate.dense", f"{path}.intermediate")
    return *intermediate, *_projection(f"{name}.output", f"{path}.output")
