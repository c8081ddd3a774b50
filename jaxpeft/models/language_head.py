"""The head that a base was pretrained with: from hidden states to the loss of the words that stand there.

A masked language model transforms a state, norms it, and compares it with every word's embedding: the decoder is tied
to the table of words (BERT, RoBERTa and DistilBERT, each under its own names; MobileBERT's words are narrower than its
states, and a matrix of its own has the other features). Llama compares the state itself, and reads the next word.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft.models.activations import ACTIVATIONS
from jaxpeft.models.architecture import Classifier
from jaxpeft.models.layers import layer_norm
from jaxpeft.models.pretrained import Checkpoint


@dataclasses.dataclass(frozen=True)
class Names:
    """Where a checkpoint has the head: dense layer, its norm, and the bias of each word are a masked model's alone."""

    decoder: str  # a linear layer; where it is tied to the words, they are its weight and `bias` its bias
    dense: str = ""
    norm: str = ""
    bias: str = ""
    rest: str = ""  # of the features that a word's embedding lacks
    activation: str = ""  # the encoder's own where it is empty


_PREDICTIONS = Names(
    "cls.predictions.decoder",
    "cls.predictions.transform.dense",
    "cls.predictions.transform.LayerNorm",
    "cls.predictions.bias",
)
NAMES: Mapping[str, Names] = {
    "bert": _PREDICTIONS,
    "mobilebert": dataclasses.replace(_PREDICTIONS, rest="cls.predictions.dense.weight"),
    "distilbert": Names("vocab_projector", "vocab_transform", "vocab_layer_norm", "vocab_projector.bias"),
    "roberta": Names("lm_head.decoder", "lm_head.dense", "lm_head.layer_norm", "lm_head.bias", activation="gelu"),
    "llama": Names("lm_head"),
}
_WORDS = ("embeddings.word.embedding", "embeddings.embedding")  # the leaf that is the table of words


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Transform:
    """What a masked language model does to a state before it compares: a dense layer, an activation, a norm."""

    kernel: jax.Array  # [D, D]
    bias: jax.Array
    norm_scale: jax.Array
    norm_bias: jax.Array
    activation: str = dataclasses.field(metadata={"static": True})
    epsilon: float = dataclasses.field(metadata={"static": True})

    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., D] -> [..., D]."""
        x = ACTIVATIONS[self.activation](x @ self.kernel + self.bias)
        return layer_norm(x, self.norm_scale, self.norm_bias, self.epsilon)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LanguageHead:
    """The arrays of a head: its decoder [V, E], and of a masked model what else that has."""

    decoder: jax.Array
    transform: Transform | None
    bias: jax.Array | None  # [V]
    rest: jax.Array | None  # [D - E, V]

    @property
    def masked(self) -> bool:
        """Whether it says which word is hidden at a place, rather than which is next."""
        return self.transform is not None

    def logits(self, x: jax.Array) -> jax.Array:
        """Last hidden states [..., D] -> float32 [..., V]."""
        x = x if self.transform is None else self.transform(x)
        size = self.decoder.shape[1]
        found = jnp.einsum("...E,VE->...V", x[..., :size], self.decoder, preferred_element_type=jnp.float32)
        if self.rest is not None:
            found += jnp.einsum("...E,EV->...V", x[..., size:], self.rest, preferred_element_type=jnp.float32)
        return found if self.bias is None else found + self.bias.astype(jnp.float32)

    def losses(self, x: jax.Array, words: jax.Array) -> jax.Array:
        """Nats [...] that `words` int32 [...] cost the head, of last hidden states [..., D]."""
        logits = self.logits(x)
        right = jnp.take_along_axis(logits, words[..., None], axis=-1)[..., 0]
        return jax.nn.logsumexp(logits, axis=-1) - right


def read_language_head(model: Classifier, hf_config: Mapping[str, Any], checkpoint: Checkpoint) -> LanguageHead | None:
    """The head that a checkpoint has for this model, which may be abstract; None where it lacks a part of one.

    The arrays are held in the type that the model computes in. `hf_config` is the parsed `config.json`.
    """
    names, shapes = _names(model, hf_config), checkpoint.shapes()
    if any(shapes.get(name) != shape for name, shape in _expected(names, model.config).items()):
        return None

    def read(name: str) -> jax.Array:
        return jnp.asarray(np.ascontiguousarray(checkpoint.read(name)), model.config.dtype)

    decoder, rest = read(names.decoder), read(names.rest) if names.rest else None
    if not names.dense:
        return LanguageHead(decoder, None, None, rest)
    transform = Transform(
        kernel=read(f"{names.dense}.weight").T,
        bias=read(f"{names.dense}.bias"),
        norm_scale=read(f"{names.norm}.weight"),
        norm_bias=read(f"{names.norm}.bias"),
        activation=names.activation or model.config.hidden_act,
        epsilon=hf_config.get("layer_norm_eps", 1e-12),
    )
    return LanguageHead(decoder, transform, read(names.bias), rest)


def _names(model: Classifier, hf_config: Mapping[str, Any]) -> Names:
    """The tensors of the model's head: the decoder's is the table of words, unless config.json says otherwise.

    Left out, a masked model's is tied and Llama's is not: transformers' defaults.
    """
    names = NAMES[model.model_type]
    if hf_config.get("tie_word_embeddings", bool(names.dense)):
        words = next(tensor.name for tensor in model.tensors() if tensor.path in _WORDS)
        return dataclasses.replace(names, decoder=words)
    return dataclasses.replace(names, decoder=f"{names.decoder}.weight", bias=f"{names.decoder}.bias")


def _expected(names: Names, config: Any) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a head."""
    words, size, states = config.vocab_size, config.word_size, config.hidden_size
    found: dict[str, tuple[int, ...]] = {names.decoder: (words, size)}
    if names.dense:
        found |= {f"{names.dense}.weight": (states, states), names.bias: (words,)}
        found |= dict.fromkeys((f"{names.dense}.bias", f"{names.norm}.weight", f"{names.norm}.bias"), (states,))
    return found | ({names.rest: (states - size, words)} if names.rest else {})
