"""LoRA (Hu et al. 2021, eq. 3): y = x W + b + s dropout(x) A B, with W and b frozen and s = alpha / rank.

One target's leaves:
    before  layers.attention.query.kernel              [L, D_in, D_out]
    after   layers.attention.query.base.kernel         [L, D_in, D_out]   frozen
            layers.attention.query.lora_a              [L, D_in, R]       trained
            layers.attention.query.lora_b              [L, R, D_out]      trained
            layers.attention.query.lora_magnitude      [L, D_out]         trained, with DoRA alone
            layers.attention.query.lora_scale          [L, R]             constant, where layers differ alone

Where layers differ (rank_pattern, alpha_pattern, layers_to_transform) R is the largest rank, and lora_scale is a
layer's own s up to its rank and 0 beyond. That 0 keeps the entries of A and B beyond the rank at the zero that they
start with: they get no gradient. A layer without an adapter has rank 0.

DoRA (Liu et al. 2024, eq. 5): y = b + g (x W + s x A B) with g = lora_magnitude / norm(W + s A B), the norm of each
output's weights, which is held constant in the gradient. Under dropout, with d = dropout(x), it is PEFT's form of it:
y = b + x W + (g - 1) d W + g s d A B.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxpeft.config import LoraConfig
from jaxpeft.errors import InputError
from jaxpeft.models.dropout import dropout
from jaxpeft.models.quantised import Quantised, dense
from jaxpeft.models.tensors import in_each_layer
from jaxpeft.peft import patterns

DEFAULT_TARGETS = {  # PEFT's where it has one, else those of the paper (Taylor et al. 2024)
    "bert": ("query", "value"),
    "distilbert": ("q_lin", "k_lin", "v_lin"),
    "llama": ("q_proj", "v_proj"),
    "mobilebert": ("query", "key", "value"),
    "roberta": ("query", "value"),
}


class LoraLinear(nnx.Module):
    """A linear layer with a low-rank update beside it.

    Attributes:
        ranks, scales: rank and s of each layer of the stack, or of the one layer; 0 where there is no adapter.
    """

    def __init__(
        self, base: Any, config: LoraConfig, key: jax.Array, *, ranks: tuple[int, ...], scales: tuple[float, ...]
    ):
        *stack, d_in, d_out = base.kernel.shape  # stack = [L] in an encoder, [] for a single layer
        rank, bound = max(ranks), d_in**-0.5  # PEFT's kaiming_uniform(a=sqrt(5)), for each layer on its own
        a = jax.random.uniform(key, (*stack, d_in, rank), minval=-bound, maxval=bound)
        self.base = base
        self.ranks, self.scales, self.dropout, self.dora = ranks, scales, config.dropout, config.dora
        self.uniform = len(set(zip(ranks, scales, strict=True))) == 1
        # A bias of the stack that trains in adapted layers alone.
        self.holds_biases = config.bias == "lora_only" and base.use_bias and 0 in ranks
        if not self.uniform:
            own = np.arange(rank) < np.array(ranks)[:, None]  # [L, R]
            self.lora_scale = nnx.Variable(jnp.asarray(own * np.array(scales)[:, None], jnp.float32))
            a = jnp.where(own[:, None], a, 0.0)
        self.lora_a = nnx.Param(a)
        self.lora_b = nnx.Param(jnp.zeros((*stack, rank, d_out)))  # zeros: the base model at step 0
        self.merged = False
        if config.dora:
            norm = _norms(base.kernel.get_value())
            self.lora_magnitude = nnx.Param(norm if self.uniform else jnp.where(own[:, :1], norm, 0.0))

    def __call__(self, x: jax.Array, *, seeds: jax.Array | None = None) -> jax.Array:  # [..., D_in] -> [..., D_out]
        """`seeds` [B, 2] turns the dropout of the update's input on."""
        if self.merged:
            return self.base(x)
        dropped = dropout(x, self.dropout, seeds)
        down = self._scaled(dropped @ self.lora_a[...].astype(x.dtype))  # [..., R]
        update = down @ self.lora_b[...].astype(x.dtype)
        if not (self.dora or self.holds_biases):
            return self.base(x) + update
        y = self.base.product(x)
        if self.dora:
            # `dropout` hands x itself back when it is off
            of_dropped = y if dropped is x else self.base.product(dropped)
            ratio = self.ratio()
            update = (ratio - 1) * of_dropped + ratio * update
        y = y + update + self._bias() if self.base.use_bias else y + update
        return y.astype(x.dtype)

    def delta(self) -> jax.Array:
        """s A B, float32 [..., D_in, D_out]: what is added to the base's kernel."""
        return jnp.matmul(self._scaled(self.lora_a[...]), self.lora_b[...], precision=jax.lax.Precision.HIGHEST)

    def ratio(self) -> jax.Array:
        """DoRA's m / norm(W + s A B), float32 [..., D_out]; 1 in a layer without an adapter."""
        norm = _norms(jax.lax.stop_gradient(self.base.weights() + self.delta()))
        ratio = self.lora_magnitude[...] / jnp.maximum(norm, jnp.finfo(norm.dtype).tiny)  # all-zero weights: 0 / 0
        return ratio if self.uniform else jnp.where(self.lora_scale[..., :1] > 0, ratio, 1.0)

    def absent(self) -> Mapping[str, int]:
        """Own leaf -> how many of its entries do not train, or are no parameters at all."""
        if self.uniform:
            return {}
        (*_, d_in, rank), d_out = self.lora_a.shape, self.lora_b.shape[-1]
        columns, layers = len(self.ranks) * rank - sum(self.ranks), self.ranks.count(0)
        return {
            "lora_a": columns * d_in,
            "lora_b": columns * d_out,
            "lora_scale": len(self.ranks) * rank,
            **({"lora_magnitude": layers * d_out} if self.dora else {}),
            **({"base.bias": layers * d_out} if self.holds_biases else {}),
        }

    def _scaled(self, x: jax.Array) -> jax.Array:
        """x [..., R] times s."""
        if self.uniform:
            return x * self.scales[0]
        scale = self.lora_scale[...].astype(x.dtype)
        return x * (scale[:, None] if scale.ndim == 2 else scale)  # [L, 1, R] for a stack, [R] in the scan

    def _bias(self) -> jax.Array:
        bias = self.base.bias[...]
        return jnp.where(self.lora_scale[:1] > 0, bias, jax.lax.stop_gradient(bias)) if self.holds_biases else bias

    def merge(self) -> None:
        """Puts the update into the base's kernel; of DoRA the ratio is kept, which that kernel no longer tells."""
        kernel = self.base.kernel
        merged = kernel[...] + self.delta()
        if self.dora:
            self.merged_ratio = nnx.Variable(self.ratio())
            merged = merged * self.merged_ratio[..., None, :]
        kernel.set_value(merged.astype(kernel.dtype))

    def unmerge(self) -> None:
        """Takes the update out of the base's kernel."""
        kernel = self.base.kernel
        merged = kernel[...].astype(jnp.float32)
        if self.dora:
            merged = merged / self.merged_ratio[..., None, :]
            del self.merged_ratio
        kernel.set_value((merged - self.delta()).astype(kernel.dtype))

    def can_unmerge(self) -> bool:
        """Whether no weights of the base were scaled by zero."""
        return not self.dora or bool(jnp.all(self.merged_ratio[...] != 0))


def trains(path: str, config: LoraConfig) -> bool:
    """Whether the leaf trains: the update's own and, by `bias`, every bias of the model or those of adapted layers."""
    role = path.rsplit(".", 1)[-1]
    if role == "bias":
        return config.bias == "all" or (config.bias == "lora_only" and path.endswith(".base.bias"))
    return role in ("lora_a", "lora_b", "lora_magnitude")


def check(names: Iterable[str], depth: int, config: LoraConfig) -> None:
    """Holds the config against the modules to adapt (`{layer}` for the layer's number) of a model of `depth` layers.

    Raises InputError for layers that there are not, and for patterns that match none of the modules.
    """
    if beyond := [layer for layer in config.layers_to_transform if layer >= depth]:
        raise InputError(f"peft.lora.layers_to_transform holds {beyond}; the model's layers are 0 to {depth - 1}")
    modules = [one for name in names for one, layer in _modules(name, depth) if _is_chosen(layer, config)]
    if not modules:
        raise InputError("peft.lora.layers_to_transform leaves nothing to adapt: no target stands in a layer")
    unmatched = [
        f"peft.lora.{field}: {pattern!r} matches no adapted module"
        for field in ("rank_pattern", "alpha_pattern")
        for pattern in patterns.parse(getattr(config, field))
        if not any(patterns.matches(pattern, one) for one in modules)
    ]
    if unmatched:
        more = f" and {len(modules) - 24} more" if len(modules) > 24 else ""
        raise InputError(*unmatched[:-1], f"{unmatched[-1]}; those are {', '.join(modules[:24])}{more}")


def wrap(base: Any, name: str, config: LoraConfig, key: jax.Array) -> nnx.Module:
    """The layer that takes the place of the linear layer `name`, which is itself where no layer is chosen."""
    depth = base.kernel.shape[0] if base.kernel.ndim == 3 else 1
    ranks, scales = zip(*(_rank_and_scale(one, layer, config) for one, layer in _modules(name, depth)), strict=True)
    return LoraLinear(base, config, key, ranks=ranks, scales=scales) if any(ranks) else base


def _modules(name: str, depth: int) -> list[tuple[str, int | None]]:
    """Name and layer's number of the module in each layer, or of the one that stands in none."""
    return [(one, index[0] if index else None) for index, one in in_each_layer(name, depth)]


def _is_chosen(layer: int | None, config: LoraConfig) -> bool:
    return not config.layers_to_transform or layer in config.layers_to_transform


def _rank_and_scale(name: str, layer: int | None, config: LoraConfig) -> tuple[int, float]:
    if not _is_chosen(layer, config):
        return 0, 0.0
    rank = int(patterns.value_of(name, patterns.parse(config.rank_pattern), config.rank))
    alpha = patterns.value_of(name, patterns.parse(config.alpha_pattern), config.alpha)
    return rank, scale_of(rank, alpha, config)


def scale_of(rank: int, alpha: float, config: LoraConfig) -> float:
    """s."""
    return alpha / (rank**0.5 if config.rslora else rank)


@jax.jit
def _norms(kernel: jax.Array | Quantised) -> jax.Array:
    """Norm of each output's weights, [..., D_in, D_out] -> float32 [..., D_out]. Compiled, no wide copy is made."""
    if isinstance(kernel, Quantised) and kernel.ndim == 3:
        return jax.lax.map(_norms, kernel)  # floats of one layer at a time
    return jnp.sqrt(jnp.square(dense(kernel).astype(jnp.float32)).sum(axis=-2))
