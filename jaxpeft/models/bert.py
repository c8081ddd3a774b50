"""BERT (Devlin et al. 2019): post-norm encoder, pooler, heads for sequences and for tokens.

TinyBERT, BioBERT, ClinicalBERT and MiniLM are this architecture too; RoBERTa counts positions in another way.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models import tensors
from jaxpeft.models.activations import ACTIVATIONS, unknown_activation
from jaxpeft.models.architecture import ArchitectureConfig, Classifier, only
from jaxpeft.models.attention import attention
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Embedding, LayerNorm, Linear
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor
from jaxpeft.models.token_head import TokenHead


@dataclasses.dataclass(frozen=True, kw_only=True)
class BertConfig(ArchitectureConfig):
    """The fields of BERT's `config.json`."""

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    classifier_dropout: float | None = None
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """Activations and kinds of positions that are not built."""
        return [
            *unknown_activation("hidden_act", self.hidden_act),
            *super().problems(hf_config),
            *only(hf_config, {"position_embedding_type": "absolute", "is_decoder": False}),
        ]

    def positions(self, layout: Layout, first: int) -> jax.Array:
        """Rows of the position table, [T] or [B, T]: first, first + 1, ... in each text."""
        return first + layout.places

    @property
    def head_dropout(self) -> float:
        """The rate before the classifier."""
        return self.hidden_dropout_prob if self.classifier_dropout is None else self.classifier_dropout


class Embeddings(nnx.Module):
    """Word + position + segment embeddings, norm, dropout."""

    def __init__(self, config: BertConfig):
        self.word = Embedding(config.vocab_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.config = config

    def __call__(
        self, words: jax.Array, segments: jax.Array, positions: jax.Array, *, seeds: jax.Array | None
    ) -> jax.Array:
        """[B, T, D] of words -> [B, T, D]; positions [T] or [B, T] are rows of their table."""
        x = words + self.segment(segments) + self.position(positions)  # [B, T, D]
        x = self.norm(x.astype(self.config.dtype))
        return dropout(x, self.config.hidden_dropout_prob, seeds)


class SelfAttention(nnx.Module):
    """Multi-head self-attention with biases, and its output projection."""

    def __init__(self, config: Any, stack: tuple[int, ...]):
        d = config.hidden_size
        self.query = Linear(d, d, stack=stack)
        self.key = Linear(d, d, stack=stack)
        self.value = Linear(d, d, stack=stack)
        self.output = Linear(d, d, stack=stack)
        self.config = config

    def __call__(self, x: jax.Array, layout: Layout, *, prefix: jax.Array | None, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, D], with prefix [2, n, D]."""
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        q, k, v = (
            projection(x, seeds=fold(seeds, number)).reshape(heads)  # [B, T, N, H]
            for number, projection in enumerate((self.query, self.key, self.value))
        )
        rate, implementation = self.config.attention_probs_dropout_prob, self.config.attention
        y = attention(
            q, k, v, layout, prefix=prefix, dropout_rate=rate, seeds=fold(seeds, 3), implementation=implementation
        )
        return self.output(y.reshape(x.shape), seeds=fold(seeds, 4))


class Layer(nnx.Module):
    """Attention and feed-forward, each with dropout, residual and norm after it."""

    def __init__(self, config: BertConfig, stack: tuple[int, ...]):
        d, f = config.hidden_size, config.intermediate_size
        self.attention = SelfAttention(config, stack)
        self.attention_norm = LayerNorm(d, eps=config.layer_norm_eps, stack=stack)
        self.intermediate = Linear(d, f, stack=stack)
        self.output = Linear(f, d, stack=stack)
        self.output_norm = LayerNorm(d, eps=config.layer_norm_eps, stack=stack)
        self.config = config

    def __call__(self, x: jax.Array, layout: Layout, *, prefix: jax.Array | None, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, D], with prefix [2, n, D]."""
        rate, activation = self.config.hidden_dropout_prob, ACTIVATIONS[self.config.hidden_act]
        y = self.attention(x, layout, prefix=prefix, seeds=seeds)
        x = self.attention_norm(x + dropout(y, rate, fold(seeds, 5)))
        y = activation(self.intermediate(x, seeds=fold(seeds, 6)))  # [B, T, F]
        y = self.output(y, seeds=fold(seeds, 7))
        return self.output_norm(x + dropout(y, rate, fold(seeds, 8)))


class BertEncoder(Classifier):
    """Embeddings and layers: what both heads stand on."""

    model_type = base_prefix = "bert"
    reads_embeddings = ("layers.attention.query", "layers.attention.key", "layers.attention.value")

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.embeddings = Embeddings(config)
        self.layers = Layer(config, stack=(config.num_hidden_layers,))

    def words(self, ids: jax.Array) -> jax.Array:
        """Rows [B, T, E] of the table of words."""
        return self.embeddings.word(ids)

    def embed(
        self, words: jax.Array, segments: jax.Array, layout: Layout, first: int, *, seeds: jax.Array | None
    ) -> jax.Array:
        """What the first layer reads [B, T, D], of word embeddings [B, T, E]; positions count from `first`."""
        return self.embeddings(words, segments, self.config.positions(layout, first), seeds=seeds)

    def encoder_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf of embeddings and layers, and its checkpoint tensor."""
        embeddings, layer = f"{self.base_prefix}.embeddings", f"{self.base_prefix}.encoder.layer.{tensors.LAYER}"
        return (
            *tensors.embedding(f"{embeddings}.word_embeddings", "embeddings.word"),
            *tensors.embedding(f"{embeddings}.position_embeddings", "embeddings.position"),
            *tensors.embedding(f"{embeddings}.token_type_embeddings", "embeddings.segment"),
            *tensors.layer_norm(f"{embeddings}.LayerNorm", "embeddings.norm"),
            *tensors.linear(f"{layer}.attention.self.query", "layers.attention.query"),
            *tensors.linear(f"{layer}.attention.self.key", "layers.attention.key"),
            *tensors.linear(f"{layer}.attention.self.value", "layers.attention.value"),
            *tensors.linear(f"{layer}.attention.output.dense", "layers.attention.output"),
            *tensors.layer_norm(f"{layer}.attention.output.LayerNorm", "layers.attention_norm"),
            *tensors.linear(f"{layer}.intermediate.dense", "layers.intermediate"),
            *tensors.linear(f"{layer}.output.dense", "layers.output"),
            *tensors.layer_norm(f"{layer}.output.LayerNorm", "layers.output_norm"),
        )


class BertForSequenceClassification(BertEncoder):
    """Encoder, pooled first token, classifier."""

    head = ("classifier",)
    may_lack = head_layers = ("pooler", "classifier")
    pools = True

    def __init__(self, config: BertConfig):
        super().__init__(config)
        self.pooler = Linear(config.hidden_size, config.hidden_size)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        pooled = jnp.tanh(self.pooler(x, seeds=fold(seeds, AFTER_LAYERS + 1)))
        pooled = dropout(pooled, self.config.head_dropout, fold(seeds, AFTER_LAYERS))
        return self.classifier(pooled)

    def head_tensors(self) -> tuple[Tensor, ...]:
        """The pooler's and the classifier's."""
        return (
            *tensors.linear(f"{self.base_prefix}.pooler.dense", "pooler"),
            *tensors.linear("classifier", "classifier"),
        )


class BertForTokenClassification(TokenHead, BertEncoder):
    """Encoder without a pooler, classifier on every token."""

    unused = ("pooler.*",)
