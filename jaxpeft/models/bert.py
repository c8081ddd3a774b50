"""BERT (Devlin et al. 2019): post-norm encoder, pooler, sequence-classification head.

TinyBERT, BioBERT, ClinicalBERT and MiniLM are this architecture too.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models import tensors
from jaxpeft.models.activations import ACTIVATIONS
from jaxpeft.models.attention import attention
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Embedding, LayerNorm, Linear
from jaxpeft.models.stack import scan_layers
from jaxpeft.models.tensors import Tensor

BEFORE_LAYERS, AFTER_LAYERS = 1 << 16, (1 << 16) + 1  # dropout streams beside those of the layers 0, 1, ...


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes and rates under the names of Hugging Face's `config.json`, and how to compute."""

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
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    num_labels: int = 2
    dtype: str = "float32"
    remat: bool = False
    unroll: int = 1

    @classmethod
    def from_hf(cls, hf_config: Mapping[str, Any], **ours: Any) -> "BertConfig":
        """From the parsed `config.json`; `ours` sets num_labels, dtype, remat, unroll. Raises InputError."""
        known = {field.name for field in dataclasses.fields(cls)} - {"num_labels", "dtype", "remat", "unroll"}
        config = cls(**{name: hf_config[name] for name in known if name in hf_config}, **ours)
        problems = []
        if config.hidden_act not in ACTIVATIONS:
            problems.append(f"hidden_act is {config.hidden_act!r}; supported are {', '.join(ACTIVATIONS)}")
        if config.hidden_size % config.num_attention_heads:
            problems.append(
                f"hidden_size {config.hidden_size} is no multiple of num_attention_heads {config.num_attention_heads}"
            )
        if (kind := hf_config.get("position_embedding_type", "absolute")) != "absolute":
            problems.append(f"position_embedding_type is {kind!r}; supported is 'absolute'")
        if problems:
            raise InputError(*(f"the model's config.json: {problem}" for problem in problems))
        return config


class Embeddings(nnx.Module):
    """Word + position + segment embeddings, norm, dropout."""

    def __init__(self, config: BertConfig):
        self.word = Embedding(config.vocab_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.segment = Embedding(config.type_vocab_size, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.config = config

    def __call__(self, ids: jax.Array, segments: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """ids, segments [B, T] -> [B, T, D]."""
        positions = jnp.arange(ids.shape[1])
        x = self.word(ids) + self.segment(segments) + self.position(positions)  # [B, T, D]
        x = self.norm(x.astype(self.config.dtype))
        return dropout(x, self.config.hidden_dropout_prob, seeds)


class SelfAttention(nnx.Module):
    """Multi-head self-attention with biases, and its output projection."""

    def __init__(self, config: BertConfig, stack: tuple[int, ...]):
        d = config.hidden_size
        self.query = Linear(d, d, stack=stack)
        self.key = Linear(d, d, stack=stack)
        self.value = Linear(d, d, stack=stack)
        self.output = Linear(d, d, stack=stack)
        self.config = config

    def __call__(self, x: jax.Array, key_mask: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """x [B, T, D], key_mask [B, T] -> [B, T, D]."""
        heads = (*x.shape[:2], self.config.num_attention_heads, -1)
        q, k, v = (
            projection(x, seeds=fold(seeds, number)).reshape(heads)  # [B, T, N, H]
            for number, projection in enumerate((self.query, self.key, self.value))
        )
        rate = self.config.attention_probs_dropout_prob
        y = attention(q, k, v, key_mask, dropout_rate=rate, seeds=fold(seeds, 3))
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

    def __call__(self, x: jax.Array, key_mask: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """x [B, T, D], key_mask [B, T] -> [B, T, D]."""
        rate, activation = self.config.hidden_dropout_prob, ACTIVATIONS[self.config.hidden_act]
        y = self.attention(x, key_mask, seeds=seeds)
        x = self.attention_norm(x + dropout(y, rate, fold(seeds, 5)))
        y = activation(self.intermediate(x, seeds=fold(seeds, 6)))  # [B, T, F]
        y = self.output(y, seeds=fold(seeds, 7))
        return self.output_norm(x + dropout(y, rate, fold(seeds, 8)))


class BertForSequenceClassification(nnx.Module):
    """Encoder, pooled first token, classifier. Logits are float32."""

    model_type = "bert"
    base_prefix = "bert"
    head = ("classifier",)  # always trained
    may_lack = ("pooler", "classifier")  # a checkpoint without these is whole; they are then trained as well
    head_layers = ("pooler", "classifier")  # see one token a text
    reads_embeddings = ("layers.attention.query", "layers.attention.key", "layers.attention.value")

    def __init__(self, config: BertConfig):
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = Layer(config, stack=(config.num_hidden_layers,))
        self.pooler = Linear(config.hidden_size, config.hidden_size)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def __call__(
        self,
        ids: jax.Array,
        mask: jax.Array,
        segments: jax.Array | None = None,
        *,
        seeds: jax.Array | None = None,
    ) -> jax.Array:
        """Logits [B, C] for token ids [B, T], mask [B, T] (0 = padding) and segment ids [B, T].

        `seeds` uint32 [B, 2] turns dropout on.
        """
        x, _ = self.encode(ids, mask, segments, seeds=seeds)
        pooled = jnp.tanh(self.pooler(x[:, 0]))
        rate = self.config.classifier_dropout
        rate = self.config.hidden_dropout_prob if rate is None else rate
        pooled = dropout(pooled, rate, fold(seeds, AFTER_LAYERS))
        return self.classifier(pooled).astype(jnp.float32)

    def encode(
        self,
        ids: jax.Array,
        mask: jax.Array,
        segments: jax.Array | None = None,
        *,
        seeds: jax.Array | None = None,
        keep_all: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The last hidden states [B, T, D] and, with `keep_all`, those of every layer [L, B, T, D]."""
        segments = jnp.zeros_like(ids) if segments is None else segments
        x = self.embeddings(ids, segments, seeds=fold(seeds, BEFORE_LAYERS))
        return scan_layers(
            self.layers,
            x,
            mask.astype(bool),
            seeds=seeds,
            remat=self.config.remat,
            unroll=self.config.unroll,
            keep_all=keep_all,
        )

    @staticmethod
    def tensors() -> tuple[Tensor, ...]:
        """Every leaf and its checkpoint tensor."""
        return TENSORS

    @staticmethod
    def linear_names() -> Mapping[str, str]:
        """Dotted path of every linear layer -> its module name in Hugging Face's model."""
        return tensors.linear_modules(TENSORS)


_EMBEDDINGS, _LAYER = "bert.embeddings", f"bert.encoder.layer.{tensors.LAYER}"
TENSORS = (
    *tensors.embedding(f"{_EMBEDDINGS}.word_embeddings", "embeddings.word"),
    *tensors.embedding(f"{_EMBEDDINGS}.position_embeddings", "embeddings.position"),
    *tensors.embedding(f"{_EMBEDDINGS}.token_type_embeddings", "embeddings.segment"),
    *tensors.layer_norm(f"{_EMBEDDINGS}.LayerNorm", "embeddings.norm"),
    *tensors.linear(f"{_LAYER}.attention.self.query", "layers.attention.query"),
    *tensors.linear(f"{_LAYER}.attention.self.key", "layers.attention.key"),
    *tensors.linear(f"{_LAYER}.attention.self.value", "layers.attention.value"),
    *tensors.linear(f"{_LAYER}.attention.output.dense", "layers.attention.output"),
    *tensors.layer_norm(f"{_LAYER}.attention.output.LayerNorm", "layers.attention_norm"),
    *tensors.linear(f"{_LAYER}.intermediate.dense", "layers.intermediate"),
    *tensors.linear(f"{_LAYER}.output.dense", "layers.output"),
    *tensors.layer_norm(f"{_LAYER}.output.LayerNorm", "layers.output_norm"),
    *tensors.linear("bert.pooler.dense", "pooler"),
    *tensors.linear("classifier", "classifier"),
)
