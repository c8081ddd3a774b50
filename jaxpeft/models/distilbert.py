"""DistilBERT (Sanh et al. 2019): BERT without segments and without a pooler, heads for sequences and for tokens."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
from flax import nnx

from jaxpeft.models import tensors
from jaxpeft.models.activations import ACTIVATIONS, unknown_activation
from jaxpeft.models.architecture import ArchitectureConfig, Classifier, divides
from jaxpeft.models.bert import SelfAttention
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Embedding, LayerNorm, Linear
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor
from jaxpeft.models.token_head import TokenHead

EPSILON = 1e-12  # of every norm; no field of config.json


@dataclasses.dataclass(frozen=True, kw_only=True)
class DistilBertConfig(ArchitectureConfig):
    """The fields of DistilBERT's `config.json`, under BERT's names."""

    RENAMED: ClassVar[Mapping[str, str]] = {
        "dim": "hidden_size",
        "n_layers": "num_hidden_layers",
        "n_heads": "num_attention_heads",
        "hidden_dim": "intermediate_size",
        "activation": "hidden_act",
        "dropout": "hidden_dropout_prob",
        "attention_dropout": "attention_probs_dropout_prob",
    }

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    seq_classif_dropout: float = 0.2
    max_position_embeddings: int = 512

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """Activations that are not built, and heads that do not divide."""
        return [
            *unknown_activation("activation", self.hidden_act),
            *divides("n_heads", self.num_attention_heads, "dim", self.hidden_size),
        ]

    @property
    def head_dropout(self) -> float:
        """The rate before the classifier of tokens; that of texts has its own field."""
        return self.hidden_dropout_prob


class Embeddings(nnx.Module):
    """Word + position embeddings, norm, dropout."""

    def __init__(self, config: DistilBertConfig):
        self.word = Embedding(config.vocab_size, config.hidden_size)
        self.position = Embedding(config.max_position_embeddings, config.hidden_size)
        self.norm = LayerNorm(config.hidden_size, eps=EPSILON)
        self.config = config

    def __call__(self, words: jax.Array, positions: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] of words -> [B, T, D]; positions [T] or [B, T] are rows of their table."""
        x = words + self.position(positions)
        x = self.norm(x.astype(self.config.dtype))
        return dropout(x, self.config.hidden_dropout_prob, seeds)


class Layer(nnx.Module):
    """BERT's layer without the dropout after attention."""

    def __init__(self, config: DistilBertConfig, stack: tuple[int, ...]):
        d, f = config.hidden_size, config.intermediate_size
        self.attention = SelfAttention(config, stack)
        self.attention_norm = LayerNorm(d, eps=EPSILON, stack=stack)
        self.intermediate = Linear(d, f, stack=stack)
        self.output = Linear(f, d, stack=stack)
        self.output_norm = LayerNorm(d, eps=EPSILON, stack=stack)
        self.config = config

    def __call__(self, x: jax.Array, layout: Layout, *, prefix: jax.Array | None, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, D], with prefix [2, n, D]."""
        x = self.attention_norm(x + self.attention(x, layout, prefix=prefix, seeds=seeds))
        y = ACTIVATIONS[self.config.hidden_act](self.intermediate(x, seeds=fold(seeds, 6)))  # [B, T, F]
        y = self.output(y, seeds=fold(seeds, 7))
        return self.output_norm(x + dropout(y, self.config.hidden_dropout_prob, fold(seeds, 8)))


class DistilBertEncoder(Classifier):
    """Embeddings and layers: what both heads stand on. Segments are accepted and have no effect."""

    model_type = base_prefix = "distilbert"
    reads_embeddings = ("layers.attention.query", "layers.attention.key", "layers.attention.value")

    def __init__(self, config: DistilBertConfig):
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
        return self.embeddings(words, first + layout.places, seeds=seeds)

    def encoder_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf of embeddings and layers, and its checkpoint tensor."""
        embeddings, layer = "distilbert.embeddings", f"distilbert.transformer.layer.{tensors.LAYER}"
        return (
            *tensors.embedding(f"{embeddings}.word_embeddings", "embeddings.word"),
            *tensors.embedding(f"{embeddings}.position_embeddings", "embeddings.position"),
            *tensors.layer_norm(f"{embeddings}.LayerNorm", "embeddings.norm"),
            *tensors.linear(f"{layer}.attention.q_lin", "layers.attention.query"),
            *tensors.linear(f"{layer}.attention.k_lin", "layers.attention.key"),
            *tensors.linear(f"{layer}.attention.v_lin", "layers.attention.value"),
            *tensors.linear(f"{layer}.attention.out_lin", "layers.attention.output"),
            *tensors.layer_norm(f"{layer}.sa_layer_norm", "layers.attention_norm"),
            *tensors.linear(f"{layer}.ffn.lin1", "layers.intermediate"),
            *tensors.linear(f"{layer}.ffn.lin2", "layers.output"),
            *tensors.layer_norm(f"{layer}.output_layer_norm", "layers.output_norm"),
        )


class DistilBertForSequenceClassification(DistilBertEncoder):
    """Encoder, dense layer and relu on the first token, classifier.

    The dense layer, pre_classifier, is no part of what was pretrained: it belongs to the head and always trains.
    """

    head = may_lack = head_layers = ("pre_classifier", "classifier")
    pools = True

    def __init__(self, config: DistilBertConfig):
        super().__init__(config)
        self.pre_classifier = Linear(config.hidden_size, config.hidden_size)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        x = jax.nn.relu(self.pre_classifier(x))
        x = dropout(x, self.config.seq_classif_dropout, fold(seeds, AFTER_LAYERS))
        return self.classifier(x)

    def head_tensors(self) -> tuple[Tensor, ...]:
        """Those of the head's two layers."""
        return *tensors.linear("pre_classifier", "pre_classifier"), *tensors.linear("classifier", "classifier")


class DistilBertForTokenClassification(TokenHead, DistilBertEncoder):
    """Encoder, classifier on every token."""
