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
    prefix: jax.Array | None = None,
    dropout_rate: float = 0.0,
    seeds: jax.Array | None = None,
) -> jax.Array:
    """Scaled dot-product attention, softmax in float32 (Vaswani et al. 2017, eq. 1).

    Args:
        query: [B, T, N, H]; key, value: [B, S, K, H]. With K < N, N / K queries in a row share a key head
            (grouped queries, Ainslie et al. 2023).
        key_mask: bool [B, S], False for padding.
        causal: a token sees itself and what stands before it.
        prefix: [2, n, K x H], keys and values that every token sees beside its text's own.
        dropout_rate: of the attention weights; applies where `seeds` [B, 2] are given.

    Returns: [B, T, N, H].
    """
    if prefix is not None:
        key, value, key_mask = _behind(prefix, key, value, key_mask)
    if (groups := query.shape[2] // key.shape[2]) > 1:
        key, value = (jnp.repeat(shared, groups, axis=2) for shared in (key, value))
    scores = jnp.einsum("BTNH,BSNH->BNTS", query * query.shape[-1] ** -0.5, key)
    visible = key_mask[:, None, None, :]
    if causal:
        visible = visible & jnp.tri(query.shape[1], key.shape[1], key.shape[1] - query.shape[1], dtype=bool)
    # The lowest float, not -inf: a row of padding alone then stays finite.
    bias = jnp.where(visible, 0.0, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores.astype(jnp.float32) + bias, axis=-1).astype(value.dtype)
    weights = dropout(weights, dropout_rate, seeds)
    return jnp.einsum("BNTS,BSNH->BTNH", weights, value)


def _behind(
    prefix: jax.Array, key: jax.Array, value: jax.Array, key_mask: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Keys and values [B, n + S, K, H] with the prefix's before them, and their mask."""
    shape = (key.shape[0], prefix.shape[1], *key.shape[2:])
    virtual = (jnp.broadcast_to(part.reshape(shape[1:]), shape).astype(key.dtype) for part in prefix)
    key, value = (jnp.concatenate(both, axis=1) for both in zip(virtual, (key, value), strict=True))
    return key, value, jnp.pad(key_mask, ((0, 0), (shape[1], 0)), constant_values=True)
