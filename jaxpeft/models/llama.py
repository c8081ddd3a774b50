"""Llama 2 and 3 (Touvron et al. 2023): causal pre-norm decoder with rotary positions, heads without a pooler.

No biases but those that a config asks for; grouped queries share keys and values; the feed-forward is gated.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models import tensors
from jaxpeft.models.architecture import ArchitectureConfig, Classifier, divides, only
from jaxpeft.models.attention import attention
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Embedding, Linear
from jaxpeft.models.layout import Layout
from jaxpeft.models.rope import Rope, rotate
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class LlamaConfig(ArchitectureConfig):
    """The fields of Llama's `config.json`; None where it leaves a size to be worked out."""

    RENAMED: ClassVar[Mapping[str, str]] = {"attention_dropout": "attention_probs_dropout_prob"}

    vocab_size: int = 32000
    hidden_size: int = 4096
    num_hidden_layers: int = 32
    num_attention_heads: int = 32
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int = 11008
    max_position_embeddings: int = 2048
    rms_norm_eps: float = 1e-6
    pad_token_id: int | None = None
    attention_bias: bool = False
    mlp_bias: bool = False
    attention_probs_dropout_prob: float = 0.0
    classifier_dropout: float | None = None
    hidden_dropout: float | None = None  # no dropout of hidden states: what the token head falls back on
    rope: Rope = dataclasses.field(default_factory=Rope)

    @classmethod
    def from_hf(cls, hf_config: Mapping[str, Any], **ours: Any) -> Self:
        """From the parsed `config.json`; `ours` sets num_labels, dtype, remat, unroll. Raises InputError."""
        return super().from_hf({**hf_config, "rope": Rope.from_hf(hf_config)}, **ours)

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """Other activations than SwiGLU's, other scalings of positions, heads that do not divide."""
        return [
            *super().problems(hf_config),
            *divides("num_key_value_heads", self.key_heads, "num_attention_heads", self.num_attention_heads),
            *only(hf_config, {"hidden_act": "silu"}),
            *self.rope.problems(),
        ]

    @property
    def head_size(self) -> int:
        """Features a head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    @property
    def key_heads(self) -> int:
        """Heads of keys and of values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def attention_size(self) -> int:
        """Heads x head_dim, which need not be the hidden size."""
        return self.num_attention_heads * self.head_size

    @property
    def prefix_size(self) -> int:
        """Virtual keys are shared among queries as a text's are."""
        return self.key_heads * self.head_size

    @property
    def head_dropout(self) -> float:
        """The rate before the classifier of tokens."""
        rates = (self.classifier_dropout, self.hidden_dropout, 0.1)
        return next(rate for rate in rates if rate is not None)


class RmsNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale over the last axis, in float32 (Zhang and Sennrich 2019)."""

    def __init__(self, d: int, *, eps: float, stack: tuple[int, ...] = ()):
        self.scale = nnx.Param(jnp.zeros((*stack, d)))
        self.eps = eps

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        wide = x.astype(jnp.float32)
        normal = wide * jax.lax.rsqrt(jnp.square(wide).mean(axis=-1, keepdims=True) + self.eps)
        return normal.astype(x.dtype) * self.scale[...].astype(x.dtype)


class SelfAttention(nnx.Module):
    """Causal attention with rotary positions and grouped queries, and its output projection."""

    def __init__(self, config: LlamaConfig, stack: tuple[int, ...]):
        d, queries, keys = config.hidden_size, config.attention_size, config.key_heads * config.head_size
        self.query = Linear(d, queries, stack=stack, use_bias=config.attention_bias)
        self.key = Linear(d, keys, stack=stack, use_bias=config.attention_bias)
        self.value = Linear(d, keys, stack=stack, use_bias=config.attention_bias)
        self.output = Linear(queries, d, stack=stack, use_bias=config.attention_bias)
        self.config = config

    def __call__(
        self,
        x: jax.Array,
        layout: Layout,
        angles: jax.Array,
        *,
        prefix: jax.Array | None,
        seeds: jax.Array | None,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D], with angles [T, H / 2], packed [B, T, H / 2], and prefix [2, n, K x H]."""
        heads = (*x.shape[:2], -1, self.config.head_size)
        q = rotate(self.query(x, seeds=fold(seeds, 0)).reshape(heads), angles)  # [B, T, N, H]
        k = rotate(self.key(x, seeds=fold(seeds, 1)).reshape(heads), angles)  # [B, T, K, H]
        v = self.value(x, seeds=fold(seeds, 2)).reshape(heads)
        rate, implementation = self.config.attention_probs_dropout_prob, self.config.attention
        y = attention(
            q,
            k,
            v,
            layout,
            causal=True,
            prefix=prefix,
            dropout_rate=rate,
            seeds=fold(seeds, 3),
            implementation=implementation,
        )
        return self.output(y.reshape(*x.shape[:2], -1), seeds=fold(seeds, 4))


class Layer(nnx.Module):
    """Attention and the gated feed-forward (SwiGLU, Shazeer 2020), each with a norm before it and a residual."""

    def __init__(self, config: LlamaConfig, stack: tuple[int, ...]):
        d, f = config.hidden_size, config.intermediate_size
        self.attention_norm = RmsNorm(d, eps=config.rms_norm_eps, stack=stack)
        self.attention = SelfAttention(config, stack)
        self.feed_forward_norm = RmsNorm(d, eps=config.rms_norm_eps, stack=stack)
        self.gate = Linear(d, f, stack=stack, use_bias=config.mlp_bias)
        self.up = Linear(d, f, stack=stack, use_bias=config.mlp_bias)
        self.down = Linear(f, d, stack=stack, use_bias=config.mlp_bias)

    def __call__(
        self,
        x: jax.Array,
        layout: Layout,
        angles: jax.Array,
        *,
        prefix: jax.Array | None,
        seeds: jax.Array | None,
    ) -> jax.Array:
        """[B, T, D] -> [B, T, D], with angles [T, H / 2], packed [B, T, H / 2], and prefix [2, n, K x H]."""
        x = x + self.attention(self.attention_norm(x), layout, angles, prefix=prefix, seeds=seeds)
        y = self.feed_forward_norm(x)
        y = jax.nn.silu(self.gate(y, seeds=fold(seeds, 5))) * self.up(y, seeds=fold(seeds, 6))  # [B, T, F]
        return x + self.down(y, seeds=fold(seeds, 7))


class LlamaDecoder(Classifier):
    """Embeddings, layers and last norm: what both heads stand on. Segments are accepted and have no effect."""

    model_type = "llama"
    base_prefix = "model"
    head = may_lack = head_layers = ("score",)
    reads_embeddings = ("layers.attention.query", "layers.attention.key", "layers.attention.value")

    def __init__(self, config: LlamaConfig, *, score_bias: bool):
        super().__init__(config)
        self.embeddings = Embedding(config.vocab_size, config.hidden_size)
        self.layers = Layer(config, stack=(config.num_hidden_layers,))
        self.norm = RmsNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.score = Linear(config.hidden_size, config.num_labels, use_bias=score_bias)

    def words(self, ids: jax.Array) -> jax.Array:
        """Rows [B, T, D] of the table of words."""
        return self.embeddings(ids)

    def embed(
        self, words: jax.Array, segments: jax.Array, layout: Layout, first: int, *, seeds: jax.Array | None
    ) -> jax.Array:
        """The words themselves: positions enter in the layers. Padding may stand on either side."""
        return words.astype(self.config.dtype)

    def for_layers(self, layout: Layout, first: int) -> tuple[jax.Array, ...]:
        """The angles of the positions."""
        return (self.config.rope.angles(first + layout.places, self.config.head_size),)

    def finish(self, x: jax.Array) -> jax.Array:
        """The last norm."""
        return self.norm(x)

    def encoder_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf of embeddings and layers, and its checkpoint tensor."""
        layer = f"model.layers.{tensors.LAYER}"
        attention_bias, mlp_bias = self.config.attention_bias, self.config.mlp_bias
        return (
            *tensors.embedding("model.embed_tokens", "embeddings"),
            *tensors.scale(f"{layer}.input_layernorm", "layers.attention_norm"),
            *tensors.linear(f"{layer}.self_attn.q_proj", "layers.attention.query", use_bias=attention_bias),
            *tensors.linear(f"{layer}.self_attn.k_proj", "layers.attention.key", use_bias=attention_bias),
            *tensors.linear(f"{layer}.self_attn.v_proj", "layers.attention.value", use_bias=attention_bias),
            *tensors.linear(f"{layer}.self_attn.o_proj", "layers.attention.output", use_bias=attention_bias),
            *tensors.scale(f"{layer}.post_attention_layernorm", "layers.feed_forward_norm"),
            *tensors.linear(f"{layer}.mlp.gate_proj", "layers.gate", use_bias=mlp_bias),
            *tensors.linear(f"{layer}.mlp.up_proj", "layers.up", use_bias=mlp_bias),
            *tensors.linear(f"{layer}.mlp.down_proj", "layers.down", use_bias=mlp_bias),
            *tensors.scale("model.norm", "norm"),
        )

    def head_tensors(self) -> tuple[Tensor, ...]:
        """The score's."""
        return tensors.linear("score", "score", use_bias=self.score.use_bias)


class LlamaForSequenceClassification(LlamaDecoder):
    """Decoder, score of the last token that is no padding."""

    pools = True

    def __init__(self, config: LlamaConfig):
        super().__init__(config, score_bias=False)

    def read(self, x: jax.Array, ids: jax.Array, layout: Layout) -> jax.Array:
        """The state [B, D], packed [B, K, D], of each text's last token that is no padding.

        transformers goes by the padding token alone. Where that is the end-of-text token as well, a text's own end is
        skipped, there and here: the same adapter gives the same logits.
        """
        beside = x.shape[1] - ids.shape[1]  # virtual tokens, where `ids` has no place for them
        real = jnp.ones_like(ids, bool) if self.config.pad_token_id is None else ids != self.config.pad_token_id
        return layout.read_last(x, jnp.pad(real, ((0, 0), (beside, 0))), self.virtual.prompt_length)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        return self.score(x)


class LlamaForTokenClassification(LlamaDecoder):
    """Decoder, score of every token."""

    pools = False

    def __init__(self, config: LlamaConfig):
        super().__init__(config, score_bias=True)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, C]."""
        x = dropout(x, self.config.head_dropout, fold(seeds, AFTER_LAYERS))
        return self.score(x)
