"""RoBERTa (Liu et al. 2019): BERT's blocks, positions that count real tokens, a head of two layers for sequences."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.models import tensors
from jaxpeft.models.bert import BertConfig, BertEncoder, BertForTokenClassification
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Linear
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor


@dataclasses.dataclass(frozen=True, kw_only=True)
class RobertaConfig(BertConfig):
    """The fields of RoBERTa's `config.json`."""

    vocab_size: int = 50265
    pad_token_id: int = 1

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """BERT's, and a padding token that positions cannot start from."""
        valid = isinstance(self.pad_token_id, int) and self.pad_token_id >= 0
        missing = [] if valid else [f"pad_token_id is {self.pad_token_id!r}; positions start after it"]
        return super().problems(hf_config) + missing

    def positions(self, layout: Layout, first: int) -> jax.Array:
        """Rows of the position table [B, T]: the pad_token_id for padding, real tokens count on from there."""
        real = layout.mask.astype(jnp.int32)
        count = jnp.cumsum(real, axis=1) if layout.texts is None else layout.places + 1
        return (count + first) * real + self.pad_token_id

    @property
    def max_tokens(self) -> int:
        """The rows up to the padding token's hold no position."""
        return self.max_position_embeddings - self.pad_token_id - 1


class ClassificationHead(nnx.Module):
    """Dropout, dense, tanh, dropout, projection to the labels."""

    def __init__(self, config: RobertaConfig):
        self.dense = Linear(config.hidden_size, config.hidden_size)
        self.out_proj = Linear(config.hidden_size, config.num_labels)
        self.config = config

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        rate = self.config.head_dropout
        x = jnp.tanh(self.dense(dropout(x, rate, fold(seeds, 0))))
        return self.out_proj(dropout(x, rate, fold(seeds, 1)))


class RobertaForSequenceClassification(BertEncoder):
    """Encoder without a pooler, a head of two layers on the first token."""

    model_type = base_prefix = "roberta"
    head = may_lack = head_layers = ("classifier",)
    unused = ("pooler.*",)
    pools = True

    def __init__(self, config: RobertaConfig):
        super().__init__(config)
        self.classifier = ClassificationHead(config)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, D] -> [B, C]."""
        return self.classifier(x, seeds=fold(seeds, AFTER_LAYERS))

    def head_tensors(self) -> tuple[Tensor, ...]:
        """Those of the head's two layers."""
        return (
            *tensors.linear("classifier.dense", "classifier.dense"),
            *tensors.linear("classifier.out_proj", "classifier.out_proj"),
        )


class RobertaForTokenClassification(BertForTokenClassification):
    """As BERT's."""

    model_type = base_prefix = "roberta"
