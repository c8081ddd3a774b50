"""Where the texts of a batch stand in its rows: one a row, or several end to end, none of which sees another."""

import dataclasses
import math
from typing import Self

import jax
import jax.numpy as jnp

from jaxpeft.models.dropout import fold


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Layout:
    """Rows of T tokens. A text's virtual tokens are the first of its own.

    mask: bool [B, T], False for padding.
    places: of each token in its text, from 0: int32 [T], or [B, T] where rows are packed.
    texts: int32 [B, T], which of its row's K texts each token is of; None where a row is one text, as in what follows.
    firsts: int32 [B, K], where each text begins; of one that is missing where it would, which may be after the row.
    grid: int32 [B, K, L], the token of the row at each place of each text; T where there is none.
    """

    mask: jax.Array
    places: jax.Array
    texts: jax.Array | None = None
    firsts: jax.Array | None = None
    grid: jax.Array | None = None

    @classmethod
    def one_a_row(cls, mask: jax.Array) -> Self:
        """Of a mask [B, T], 0 for padding."""
        return cls(mask.astype(bool), jnp.arange(mask.shape[1]))

    @classmethod
    def packed(cls, grid: jax.Array, row: int) -> Self:
        """Of rows of T = `row` tokens that begin with texts by `grid` [B, K, L], those that are missing last."""
        lengths = (grid < row).sum(axis=-1)
        place, ends = jnp.arange(row), jnp.cumsum(lengths, axis=1)
        firsts = ends - lengths
        texts = (place >= ends[..., None]).sum(axis=1)  # [B, T]: how many texts have ended
        texts = jnp.minimum(texts, lengths.shape[1] - 1)  # padding, which the mask hides
        mask = place < ends[:, -1:]
        return cls(mask, place - jnp.take_along_axis(firsts, texts, axis=1), texts, firsts, grid)

    def visible(self, *, causal: bool) -> jax.Array:
        """Which tokens of a text that has its row to itself each token sees: bool [B, 1, T, T], or [B, 1, 1, T]."""
        visible = self.mask[:, None, None, :]
        return visible & jnp.tri(self.mask.shape[1], dtype=bool) if causal else visible

    def apart(self, x: jax.Array) -> jax.Array:
        """What packed rows hold [B, T, ...], each text in a row of its own [B x K, L, ...] with zeros behind it."""
        assert self.grid is not None
        batch, texts, length = self.grid.shape
        return _moved(x, *self._ways()).reshape(batch * texts, length, *x.shape[2:])

    def together(self, x: jax.Array) -> jax.Array:
        """What `apart` gives, or something like it [B x K, L, ...], in packed rows [B, T, ...] with zeros behind."""
        assert self.grid is not None
        there, back = self._ways()
        return _moved(x.reshape(*there.shape, *x.shape[2:]), back, there)

    def rows_apart(self) -> "Layout":
        """That of what `apart` gives; a text that is missing has one token, as it would else have nothing to see."""
        assert self.grid is not None
        there = self.grid < self.mask.shape[1]
        return Layout.one_a_row(there.at[..., 0].set(True).reshape(-1, self.grid.shape[-1]))

    def _ways(self) -> tuple[jax.Array, jax.Array]:
        """The token of its row that each place of the grid takes [B, K x L], and the place that each token takes."""
        assert self.grid is not None
        assert self.texts is not None
        batch, texts, length = self.grid.shape
        back = jnp.where(self.mask, self.texts * length + self.places, texts * length)
        return self.grid.reshape(batch, texts * length), back

    def read_first(self, x: jax.Array) -> jax.Array:
        """The state of each text's first token: of [B, T, D] packed [B, K, D], else [B, D]."""
        return x[:, 0] if self.firsts is None else jnp.take_along_axis(x, self.firsts[..., None], 1, "clip")

    def read_last(self, x: jax.Array, chosen: jax.Array, skipped: int) -> jax.Array:
        """The state of each text's last token among the `chosen` [B, T]; where none is, of that after `skipped`."""
        places = jnp.maximum(self.last(chosen), (0 if self.firsts is None else self.firsts) + skipped)
        found = jnp.take_along_axis(x, places[..., None], 1, "clip")
        return found if self.firsts is not None else found[:, 0]

    def last(self, chosen: jax.Array) -> jax.Array:
        """Where each text's last token among the `chosen` [B, T] stands, [B, K]; its first where none is."""
        first, texts = self.firsts, self.texts
        if first is None or texts is None:
            first, texts = jnp.zeros((len(chosen), 1), jnp.int32), jnp.zeros(chosen.shape, jnp.int32)
        own = texts[:, None] == jnp.arange(first.shape[1])[:, None]  # [B, K, T]
        places = jnp.where(own & (chosen & self.mask)[:, None], jnp.arange(chosen.shape[1]), first[..., None])
        return places.max(axis=-1)

    def seeds_of_tokens(self, seeds: jax.Array | None) -> jax.Array | None:
        """Dropout seeds [B, T, 2] of the texts' own [B, 2], packed [B, K, 2]: they tell a text and a place in it."""
        if seeds is None:
            return None
        own = seeds[:, None] if self.texts is None else jnp.take_along_axis(seeds, self.texts[..., None], axis=1)
        return fold(own, self.places)


@jax.custom_vjp
def _moved(x: jax.Array, there: jax.Array, back: jax.Array) -> jax.Array:
    """x [B, T, ...] at the indices `there` [B, M], zeros where they are T. `back` [B, T] are those of the way back.

    No token goes to two places, so the gradient takes the same way back. JAX would add up what comes from all places,
    which on a CPU is one number after the other.
    """
    flat = x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
    found = jnp.take_along_axis(flat, there[..., None], axis=1, mode="clip")
    found = jnp.where((there < x.shape[1])[..., None], found, jnp.zeros((), x.dtype))
    return found.reshape(*there.shape, *x.shape[2:])


def _moved_forward(x, there, back):
    return _moved(x, there, back), (there, back)


def _moved_backward(ways, gradient):
    there, back = ways
    return _moved(gradient, back, there), None, None


_moved.defvjp(_moved_forward, _moved_backward)
