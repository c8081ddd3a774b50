"""The head of an encoder without a pooler: each token's label."""

from typing import Any

import jax

from jaxpeft.models import tensors
from jaxpeft.models.architecture import Classifier
from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layers import Linear
from jaxpeft.models.stack import AFTER_LAYERS
from jaxpeft.models.tensors import Tensor


class TokenHead(Classifier):
    """Dropout at the config's `head_dropout` and a classifier on every token; to stand before an encoder's class."""

    head = may_lack = head_layers = ("classifier",)
    pools = False

    def __init__(self, config: Any):
        super().__init__(config)
        self.classifier = Linear(config.hidden_size, config.num_labels)

    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """[B, T, D] -> [B, T, C]."""
        return self.classifier(dropout(x, self.config.head_dropout, fold(seeds, AFTER_LAYERS)))

    def head_tensors(self) -> tuple[Tensor, ...]:
        """The classifier's."""
        return tensors.linear("classifier", "classifier")
