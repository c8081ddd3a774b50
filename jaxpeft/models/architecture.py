"""What the rest of the house asks of an architecture: its config, and a classifier that knows its own weights."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models import tensors
from jaxpeft.models.dropout import fold
from jaxpeft.models.stack import BEFORE_LAYERS, scan_layers
from jaxpeft.models.tensors import Tensor
from jaxpeft.models.virtual import VirtualTokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """Sizes and rates under the names of Hugging Face's `config.json`, and how to compute.

    A subclass adds its own fields and gives each the default that transformers gives it: old files leave them out.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {}  # a name in config.json -> ours, where a family has its own words
    OURS: ClassVar[frozenset[str]] = frozenset({"num_labels", "dtype", "remat", "unroll"})

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    initializer_range: float = 0.02
    num_labels: int = 2
    dtype: str = "float32"
    remat: bool = False
    unroll: int = 1

    @classmethod
    def from_hf(cls, hf_config: Mapping[str, Any], **ours: Any) -> Self:
        """From the parsed `config.json`; `ours` sets num_labels, dtype, remat, unroll. Raises InputError."""
        known = {field.name for field in dataclasses.fields(cls)} - cls.OURS
        values = {cls.RENAMED.get(name, name): value for name, value in hf_config.items()}
        config = cls(**{name: values[name] for name in known if name in values}, **ours)
        if problems := config.problems(hf_config):
            raise InputError(*(f"the model's config.json: {problem}" for problem in problems))
        return config

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """What of `config.json` this architecture cannot compute."""
        return divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)

    @property
    def max_tokens(self) -> int:
        """The longest text that there are positions for."""
        return self.max_position_embeddings

    @property
    def attention_size(self) -> int:
        """Heads x head_dim: the width of a query."""
        return self.hidden_size

    @property
    def word_size(self) -> int:
        """The width of a word's embedding, and of a virtual token's."""
        return self.hidden_size

    @property
    def prefix_size(self) -> int:
        """The width of a virtual key or value, all heads together."""
        return self.hidden_size


def divides(name: str, divisor: int, whole_name: str, whole: int) -> list[str]:
    """The problem with a size that is no multiple of another, if there is one."""
    return [f"{whole_name} {whole} is no multiple of {name} {divisor}"] if whole % divisor else []


def only(hf_config: Mapping[str, Any], supported: Mapping[str, Any]) -> list[str]:
    """A problem for each name whose value in `config.json` is another than the one supported. Left out is fine."""
    return [
        f"{name} is {hf_config[name]!r}; supported is {value!r}"
        for name, value in supported.items()
        if hf_config.get(name, value) != value
    ]


class Classifier(nnx.Module):
    """An encoder with a head. Logits are float32: [B, C] where the head pools, else [B, T, C].

    Attributes of the class; paths are dotted, as leaves are named here:
        model_type: of `config.json`. base_prefix: what the encoder's tensors begin with in a whole model.
        head: top-level attributes that always train.
        may_lack: those that a checkpoint may be without; they are then initialised and trained as well.
        unused: patterns, after the prefix, of tensors that checkpoints carry and this head has no use for.
        pools: whether the head reads one token a text.
        head_layers: top-level attributes after the encoder.
        reads_embeddings: linear layers that read the embeddings: frozen, nothing below asks them for a gradient.
    """

    model_type: ClassVar[str]
    base_prefix: ClassVar[str]
    head: ClassVar[tuple[str, ...]]
    may_lack: ClassVar[tuple[str, ...]]
    unused: ClassVar[tuple[str, ...]] = ()
    pools: ClassVar[bool]
    head_layers: ClassVar[tuple[str, ...]]
    reads_embeddings: ClassVar[tuple[str, ...]]

    layers: Any  # one block whose leaves are [L, ...]

    def __init__(self, config: Any):
        self.config = config
        self.virtual = VirtualTokens()

    def __call__(
        self, ids: jax.Array, mask: jax.Array, segments: jax.Array | None = None, *, seeds: jax.Array | None = None
    ) -> jax.Array:
        """Logits for token ids [B, T], mask [B, T] (0 = padding) and, where a model has them, segment ids [B, T].

        `seeds` uint32 [B, 2] turns dropout on.
        """
        x, _ = self.encode(ids, mask, segments, seeds=seeds)
        return self.classify(self.read(x, ids, mask), seeds=seeds).astype(jnp.float32)

    def encode(
        self,
        ids: jax.Array,
        mask: jax.Array,
        segments: jax.Array | None = None,
        *,
        seeds: jax.Array | None = None,
        keep_all: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The last hidden states [B, T, D] and, with `keep_all`, those that every layer left [L, B, T, D].

        A prompt of n virtual tokens makes that n + T. Behind a prefix, which has states in no layer, positions count
        on from its end.
        """
        prompt, prefix = self.virtual.prompt(), self.virtual.prefix()
        words = self.words(ids)  # [B, T, E]
        segments = jnp.zeros_like(ids) if segments is None else segments
        if prompt is not None:
            words = jnp.concatenate([jnp.broadcast_to(prompt, (len(ids), *prompt.shape)).astype(words.dtype), words], 1)
            mask = jnp.pad(mask, ((0, 0), (len(prompt), 0)), constant_values=1)
            segments = jnp.pad(segments, ((0, 0), (len(prompt), 0)))
        first = 0 if prefix is None else prefix.shape[2]
        x, every = scan_layers(
            self.layers,
            self.embed(words, mask, segments, first, seeds=fold(seeds, BEFORE_LAYERS)),
            mask.astype(bool),
            *self.for_layers(words.shape[1], first),
            prefix=prefix,
            seeds=seeds,
            remat=self.config.remat,
            unroll=self.config.unroll,
            keep_all=keep_all,
        )
        return self.finish(x), every

    @abc.abstractmethod
    def words(self, ids: jax.Array) -> jax.Array:
        """Rows [B, T, E] of the table of words."""

    @abc.abstractmethod
    def embed(
        self, words: jax.Array, mask: jax.Array, segments: jax.Array, first: int, *, seeds: jax.Array | None
    ) -> jax.Array:
        """What the first layer reads [B, T, D], of word embeddings [B, T, E]; positions count from `first`."""

    def for_layers(self, length: int, first: int) -> tuple[jax.Array, ...]:
        """What every layer gets beside its input and the mask, for T = `length` positions that count from `first`."""
        return ()

    def finish(self, x: jax.Array) -> jax.Array:
        """The encoder's output of what the last layer left."""
        return x

    def read(self, x: jax.Array, ids: jax.Array, mask: jax.Array) -> jax.Array:
        """What the head reads of the last hidden states: the first [B, D], or all but virtual tokens' [B, T, D].

        With a prompt the first is a virtual token: so PEFT has it.
        """
        return x[:, 0] if self.pools else x[:, -ids.shape[1] :]

    @abc.abstractmethod
    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """Logits [..., C] of what `read` gave."""

    @abc.abstractmethod
    def tensors(self) -> tuple[Tensor, ...]:
        """Every leaf and its checkpoint tensor."""

    def linear_names(self) -> Mapping[str, str]:
        """Dotted path of every linear layer -> its module name in Hugging Face's model."""
        return tensors.linear_modules(self.tensors())
