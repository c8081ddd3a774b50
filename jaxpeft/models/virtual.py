"""Virtual tokens: what a method may put before every text. This module puts nothing there."""

import jax
from flax import nnx


class VirtualTokens(nnx.Module):
    """None; a method replaces it by a module whose prompt or prefix is trained.

    Attributes: prompt_length, prefix_length: how many there are of each.
    """

    prompt_length: int = 0
    prefix_length: int = 0

    def prompt(self) -> jax.Array | None:
        """Embeddings [n, E] that stand before those of every text, as words that no vocabulary has."""
        return None

    def prefix(self) -> jax.Array | None:
        """Keys and values [L, 2, n, P] that every token of a layer attends to, beside those of the text."""
        return None
