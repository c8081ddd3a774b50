"""The one attention function that all architectures call, and which of two programs computes it."""

import functools

import jax
import jax.numpy as jnp

from jaxpeft.models.dropout import dropout, fold
from jaxpeft.models.layout import Layout

IMPLEMENTATIONS = ("auto", "xla", "cudnn")
FLASH_TYPES = ("bfloat16", "float16")


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    layout: Layout,
    *,
    causal: bool = False,
    prefix: jax.Array | None = None,
    dropout_rate: float = 0.0,
    seeds: jax.Array | None = None,
    implementation: str = "auto",
) -> jax.Array:
    """Scaled dot-product attention, softmax in float32 (Vaswani et al. 2017, eq. 1).

    Args:
        query: [B, T, N, H]; key, value: [B, T, K, H]. With K < N, N / K queries in a row share a key head
            (grouped queries, Ainslie et al. 2023).
        layout: where the texts stand. A token sees those of its own text, and no padding.
        causal: a token sees itself and what stands before it.
        prefix: [2, n, K x H], keys and values that every token sees beside its text's own.
        dropout_rate: of the attention weights; applies where `seeds` [B, T, 2], those of the queries, are given.
        implementation: one of `IMPLEMENTATIONS`. What cuDNN's flash attention cannot compute XLA does.

    Returns: [B, T, N, H].
    """
    rate = 0.0 if seeds is None else dropout_rate
    compute = functools.partial(_in_rows, causal=causal, prefix=prefix, rate=rate, implementation=implementation)
    if layout.grid is None:
        return compute(query, key, value, layout, seeds)
    # End to end, each text would be scored against all others of its row.
    own_seeds = None if seeds is None else layout.apart(seeds)
    apart = layout.apart(query), layout.apart(key), layout.apart(value)
    return layout.together(compute(*apart, layout.rows_apart(), own_seeds))


def _in_rows(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    layout: Layout,
    seeds: jax.Array | None,
    *,
    causal: bool,
    prefix: jax.Array | None,
    rate: float,
    implementation: str,
) -> jax.Array:
    """`attention` of texts that have a row each."""
    visible = layout.visible(causal=causal)
    if prefix is not None:
        key, value = _behind(prefix, key, value)
        visible = jnp.pad(visible, ((0, 0), (0, 0), (0, 0), (prefix.shape[1], 0)), constant_values=True)
    sizes = query.shape[1], key.shape[1]
    if implementation != "xla" and not flash_problems(query.dtype.name, query.shape[-1], rate, sizes):
        visible = jnp.broadcast_to(visible, (len(query), 1, *sizes))  # cuDNN broadcasts over heads alone
        return jax.nn.dot_product_attention(query, key, value, mask=visible, implementation="cudnn")

    # The lowest float, not -inf: a row of padding alone then stays finite.
    bias = jnp.where(visible, 0.0, jnp.finfo(jnp.float32).min)
    return _weighted(query * query.shape[-1] ** -0.5, key, value, bias, seeds, rate)


# Two things are written out that JAX would do otherwise. Weights are not kept for the backward pass: those of all
# layers would be most of a step's memory where texts are long, and reading them again takes longer than a product. And
# products leave B N T H, to be transposed afterwards, not B T N H or B N H T: XLA on a CPU is up to twice as fast so.


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _weighted(
    query: jax.Array, key: jax.Array, value: jax.Array, bias: jax.Array, seeds: jax.Array | None, rate: float
) -> jax.Array:
    """softmax(q k + bias) v of scaled queries [B, T, N, H]; key, value [B, S, K, H]; bias float32 [B, 1, T or 1, S]."""
    return _weighted_forward(query, key, value, bias, seeds, rate)[0]


def _weighted_forward(query, key, value, bias, seeds, rate):
    scores = _scores(query, key, bias)
    highest = scores.max(axis=-1, keepdims=True)
    weights = jnp.exp(scores - highest)
    total = weights.sum(axis=-1, keepdims=True)  # divided by where there are T x H numbers, not T x S
    dropped = _dropped(weights, rate, seeds).astype(value.dtype)
    repeated = _repeated(value, query)
    y = jnp.einsum("BNTS,BSNH->BNTH", dropped, repeated, preferred_element_type=jnp.float32) / total
    y = y.astype(value.dtype).transpose(0, 2, 1, 3)
    return y, (query, key, value, bias, seeds, y, highest, total)


def _weighted_backward(rate, kept, gradient):
    query, key, value, bias, seeds, y, highest, total = kept
    weights = jnp.exp(_scores(query, key, bias) - highest) / total
    dropped = _dropped(weights, rate, seeds).astype(value.dtype)
    # The mean that softmax takes off, under its weights: of T x S numbers, and of T x H ones just as well (Dao et al.
    # 2022, appendix B.2).
    mean = jnp.einsum("BTNH,BTNH->BNT", gradient.astype(jnp.float32), y.astype(jnp.float32))[..., None]
    of_weights = jnp.einsum("BTNH,BSNH->BNTS", gradient, _repeated(value, query)).astype(jnp.float32)
    of_scores = (weights * (_dropped(of_weights, rate, seeds) - mean)).astype(value.dtype)
    of_query = jnp.einsum("BNTS,BSNH->BNTH", of_scores, _repeated(key, query)).transpose(0, 2, 1, 3)
    of_key = jnp.einsum("BNTS,BTNH->BNSH", of_scores, query)
    of_value = jnp.einsum("BNTS,BTNH->BNSH", dropped, gradient)
    return of_query, _shared(of_key, key), _shared(of_value, value), None, None


_weighted.defvjp(_weighted_forward, _weighted_backward)


def _scores(query: jax.Array, key: jax.Array, bias: jax.Array) -> jax.Array:
    """float32 [B, N, T, S]."""
    return jnp.einsum("BTNH,BSNH->BNTS", query, _repeated(key, query)).astype(jnp.float32) + bias


def _repeated(shared: jax.Array, query: jax.Array) -> jax.Array:
    """[B, S, K, H] as [B, S, N, H]: one for each query. Not kept, as it can be many times as large."""
    groups = query.shape[2] // shared.shape[2]
    return shared if groups == 1 else jnp.repeat(shared, groups, axis=2)


def _shared(gradient: jax.Array, shared: jax.Array) -> jax.Array:
    """The gradient [B, S, K, H] of what was repeated, of that of the copies [B, N, S, H]."""
    batch, heads, length, size = gradient.shape
    summed = gradient.reshape(batch, shared.shape[2], heads // shared.shape[2], length, size).sum(axis=2)
    return summed.transpose(0, 2, 1, 3)


def flash_problems(dtype: str, head_size: int, dropout_rate: float = 0.0, lengths: tuple[int, ...] = ()) -> list[str]:
    """Why cuDNN's flash attention cannot compute attention of these sizes here; nothing where it can.

    `lengths` are those of queries and keys, `dropout_rate` that of the weights.
    """
    capability, widest = _compute_capability(), 128
    problems = []
    if capability is None or capability < (8, 0):
        problems.append("it needs an NVIDIA GPU of compute capability 8.0 or more")
    elif capability >= (9, 0):
        widest = 256
    if dtype not in FLASH_TYPES:
        problems.append(f"it computes in {' or '.join(FLASH_TYPES)}, not in {dtype}")
    if head_size % 8 or head_size > widest:
        problems.append(f"it wants heads of 8, 16, ... up to {widest} features, and the model's have {head_size}")
    if dropout_rate:
        problems.append(f"it cannot drop attention weights, and the model's rate is {dropout_rate}")
    if any(length % 2 for length in lengths):
        problems.append("it wants an even number of tokens, virtual ones included")
    return problems


def _compute_capability() -> tuple[int, int] | None:
    """Of the first device; None where it is no NVIDIA GPU."""
    major, _, minor = str(getattr(jax.local_devices()[0], "compute_capability", "")).partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else None


def _behind(prefix: jax.Array, key: jax.Array, value: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Keys and values [B, n + T, K, H] with the prefix's before them."""
    shape = (key.shape[0], prefix.shape[1], *key.shape[2:])
    virtual = (jnp.broadcast_to(part.reshape(shape[1:]), shape).astype(key.dtype) for part in prefix)
    key, value = (jnp.concatenate(both, axis=1) for both in zip(virtual, (key, value), strict=True))
    return key, value


def _dropped(weights: jax.Array, rate: float, seeds: jax.Array | None) -> jax.Array:
    """Weights [B, N, T, S] under masks that go by the places of query and key in their text, prefix included."""
    if seeds is None:
        return weights
    heads = jnp.arange(weights.shape[1])[:, None]
    return dropout(weights, rate, fold(seeds[:, None], heads), jnp.arange(weights.shape[3]))
