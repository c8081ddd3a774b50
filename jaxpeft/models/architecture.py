"""What the rest of the house asks of an architecture: its config, and a classifier that knows its own weights."""

import abc
import dataclasses
import typing
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models import tensors
from jaxpeft.models.dropout import fold
from jaxpeft.models.layout import Layout
from jaxpeft.models.stack import BEFORE_LAYERS, scan_layers
from jaxpeft.models.tensors import Tensor
from jaxpeft.models.virtual import VirtualTokens


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArchitectureConfig:
    """Sizes and rates under the names of Hugging Face's `config.json`, and how to compute.

    A subclass adds its own fields and gives each the default that transformers gives it: old files leave them out.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {}  # a name in config.json -> ours, where a family has its own words
    OURS: ClassVar[frozenset[str]] = frozenset({"num_labels", "dtype", "attention", "remat", "unroll"})

    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    attention_probs_dropout_prob: float = 0.0
    initializer_range: float = 0.02
    num_labels: int = 2
    dtype: str = "float32"
    attention: str = "auto"
    remat: bool = False
    unroll: int | None = None

    @classmethod
    def from_hf(cls, hf_config: Mapping[str, Any], **ours: Any) -> Self:
        """From the parsed `config.json`; `ours` sets num_labels, dtype, attention, remat, unroll. Raises InputError."""
        known = {field.name for field in dataclasses.fields(cls)} - cls.OURS
        renamed = {cls.RENAMED.get(name, name): value for name, value in hf_config.items()}
        values = {name: renamed[name] for name in known if name in renamed}
        kinds = typing.get_type_hints(cls)
        problems = [problem for name, value in values.items() for problem in _unfit(name, value, kinds[name])]
        if not problems:
            config = cls(**values, **ours)
            problems = config.problems(hf_config)
        if problems:
            raise InputError(*(f"the model's config.json: {problem}" for problem in problems))
        return config

    def problems(self, hf_config: Mapping[str, Any]) -> list[str]:
        """What of `config.json` this architecture cannot compute."""
        return divides("num_attention_heads", self.num_attention_heads, "hidden_size", self.hidden_size)

    def keeping(self, layers: Sequence[int]) -> Self:
        """Of a model that has these layers of its checkpoint alone; () = all. Raises InputError for other numbers."""
        if not layers:
            return self
        if max(layers) >= self.num_hidden_layers:
            raise InputError(
                f"model.keep_layers names layer {max(layers)}, and the model has {self.num_hidden_layers} layers: "
                f"expected numbers from 0 to {self.num_hidden_layers - 1}"
            )
        return dataclasses.replace(self, num_hidden_layers=len(layers))

    def sizes_in(self, hf_config: Mapping[str, Any]) -> dict[str, Any]:
        """The `config.json` that this config was read from, with the number of layers that are left."""
        depth = "num_hidden_layers"
        names = {ours: theirs for theirs, ours in self.RENAMED.items()}
        return {**hf_config, names.get(depth, depth): self.num_hidden_layers}

    @property
    def max_tokens(self) -> int:
        """The longest text that there are positions for."""
        return self.max_position_embeddings

    @property
    def attention_size(self) -> int:
        """Heads x head_dim: the width of a query."""
        return self.hidden_size

    @property
    def head_size(self) -> int:
        """Features a head."""
        return self.attention_size // self.num_attention_heads

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


def _unfit(name: str, value: Any, kind: Any) -> list[str]:
    """The problem with a value that is not of its field's type, or a size below one, if there is one."""
    if name.endswith("_id"):  # who needs one looks at it
        return []
    kinds: tuple[Any, ...] = typing.get_args(kind) or (kind,)
    fitting: Any = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, fitting) or (isinstance(value, bool) and bool not in kinds):
        expected = " or ".join("null" if one is type(None) else one.__name__ for one in kinds)
        return [f"{name} is {value!r}: expected {expected}"]
    return [f"{name} is {value}: expected 1 or more"] if kinds == (int,) and value < 1 else []


def only(hf_config: Mapping[str, Any], supported: Mapping[str, Any]) -> list[str]:
    """A problem for each name whose value in `config.json` is another than the one supported. Left out is fine."""
    return [
        f"{name} is {hf_config[name]!r}; supported is {value!r}"
        for name, value in supported.items()
        if hf_config.get(name, value) != value
    ]


class Classifier(nnx.Module):
    """An encoder with a head. Logits are float32: [B, C] where the head pools, packed [B, K, C], else [B, T, C].

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
        self,
        ids: jax.Array,
        mask: jax.Array | None = None,
        segments: jax.Array | None = None,
        *,
        grid: jax.Array | None = None,
        seeds: jax.Array | None = None,
    ) -> jax.Array:
        """Logits for token ids [B, T] and, where a model has them, segment ids [B, T].

        A row is one text, and mask [B, T] is 0 for its padding; or it begins with up to K texts end to end, which have
        the logits that they would have alone. `grid` int32 [B, K, L] then says which token of the row stands at each
        place of each text, T where there is none. There a text begins with places for the prompt's tokens.
        `seeds` uint32 [B, 2], packed [B, K, 2], turns dropout on.
        """
        layout = self.layout(mask, grid, ids.shape[1])
        x, _ = self._encode(ids, segments, layout, seeds, keep_all=False)
        head_seeds = seeds if self.pools else layout.seeds_of_tokens(seeds)
        if not self.pools and head_seeds is not None:
            head_seeds = head_seeds[:, -ids.shape[1] :]
        return self.classify(self.read(x, ids, layout), seeds=head_seeds).astype(jnp.float32)

    def layout(self, mask: jax.Array | None, grid: jax.Array | None, row: int) -> Layout:
        """Where texts stand in rows of `row` tokens and, unless they are packed, of the prompt's before those."""
        if grid is not None:
            return Layout.packed(grid, row)
        assert mask is not None
        return Layout.one_a_row(jnp.pad(mask, ((0, 0), (self.virtual.prompt_length, 0)), constant_values=1))

    def encode(
        self,
        ids: jax.Array,
        mask: jax.Array | None = None,
        segments: jax.Array | None = None,
        *,
        grid: jax.Array | None = None,
        seeds: jax.Array | None = None,
        keep_all: bool = False,
    ) -> tuple[jax.Array, jax.Array | None]:
        """The last hidden states [B, T, D] and, with `keep_all`, those that every layer left [L, B, T, D].

        A prompt of n virtual tokens makes that n + T. Behind a prefix, which has states in no layer, positions count
        on from its end.
        """
        return self._encode(ids, segments, self.layout(mask, grid, ids.shape[1]), seeds, keep_all)

    def _encode(
        self, ids: jax.Array, segments: jax.Array | None, layout: Layout, seeds: jax.Array | None, keep_all: bool
    ) -> tuple[jax.Array, jax.Array | None]:
        prompt, prefix = self.virtual.prompt(), self.virtual.prefix()
        words = self.words(ids)  # [B, T, E]
        segments = jnp.zeros_like(ids) if segments is None else segments
        if prompt is not None and layout.texts is None:
            words = jnp.concatenate([jnp.broadcast_to(prompt, (len(ids), *prompt.shape)).astype(words.dtype), words], 1)
            segments = jnp.pad(segments, ((0, 0), (len(prompt), 0)))
        elif prompt is not None:
            virtual = jnp.take(prompt.astype(words.dtype), layout.places, axis=0, mode="clip")
            words = jnp.where((layout.places < len(prompt))[..., None], virtual, words)
        first = 0 if prefix is None else prefix.shape[2]
        token_seeds = layout.seeds_of_tokens(seeds)
        x, every = scan_layers(
            self.layers,
            self.embed(words, segments, layout, first, seeds=fold(token_seeds, BEFORE_LAYERS)),
            layout,
            *self.for_layers(layout, first),
            prefix=prefix,
            seeds=token_seeds,
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
        self, words: jax.Array, segments: jax.Array, layout: Layout, first: int, *, seeds: jax.Array | None
    ) -> jax.Array:
        """What the first layer reads [B, T, D], of word embeddings [B, T, E]; positions count from `first`."""

    def for_layers(self, layout: Layout, first: int) -> tuple[jax.Array, ...]:
        """What every layer gets beside its input and the layout, for positions that count from `first`."""
        return ()

    def finish(self, x: jax.Array) -> jax.Array:
        """The encoder's output of what the last layer left."""
        return x

    def read(self, x: jax.Array, ids: jax.Array, layout: Layout) -> jax.Array:
        """What the head reads of the last hidden states: each text's first [B, D], packed [B, K, D], or [B, T, D].

        With a prompt the first is a virtual token: so PEFT has it. Those that `ids` has no place for are left out.
        """
        return layout.read_first(x) if self.pools else x[:, -ids.shape[1] :]

    @abc.abstractmethod
    def classify(self, x: jax.Array, *, seeds: jax.Array | None) -> jax.Array:
        """Logits [..., C] of what `read` gave."""

    @abc.abstractmethod
    def encoder_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf of embeddings and layers, and its checkpoint tensor."""

    @abc.abstractmethod
    def head_tensors(self) -> tuple[Tensor, ...]:
        """Every leaf after the encoder, and its checkpoint tensor."""

    def tensors(self) -> tuple[Tensor, ...]:
        """Every leaf and its checkpoint tensor."""
        return *self.encoder_tensors(), *self.head_tensors()

    def linear_names(self) -> Mapping[str, str]:
        """Dotted path of every linear layer -> its module name in Hugging Face's model."""
        return tensors.linear_modules(self.tensors())
