"""The one attention function that all architectures call."""

import jax
import jax.numpy as jnp

from jaxpeft.models.dropout import dropout


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    key_mask: jax.Array,
    *,
    causal: bool = False,
    dropout_rate: float = 0.0,
    seeds: jax.Array | None = None,
) -> jax.Array:
    """Scaled dot-product attention, softmax in float32 (Vaswani et al. 2017, eq. 1).

    Args:
        query: [B, T, N, H]; key, value: [B, S, K, H]. With K < N, N / K queries in a row share a key head
            (grouped queries, Ainslie et al. 2023).
        key_mask: bool [B, S], False for padding.
        causal: a token sees itself and what stands before it.
        dropout_rate: of the attention weights; applies where `seeds` [B, 2] are given.

    Returns: [B, T, N, H].
    """
    if (groups := query.shape[2] // key.shape[2]) > 1:
        key, value = (jnp.repeat(shared, groups, axis=2) for shared in (key, value))
    scores = jnp.einsum("BTNH,BSNH->BNTS", query * query.shape[-1] ** -0.5, key)
    visible = key_mask[:, None, None, :]
    if causal:
        visible = visible & jnp.tri(query.shape[1], key.shape[1], dtype=bool)
    # The lowest float, not -inf: a row of padding alone then stays finite.
    bias = jnp.where(visible, 0.0, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores.astype(jnp.float32) + bias, axis=-1).astype(value.dtype)
    weights = dropout(weights, dropout_rate, seeds)
    return jnp.einsum("BNTS,BSNH->BTNH", weights, value)
