"""Rotary positions (Su et al. 2021): pairs of features turned by an angle that grows with the token's place."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Rope:
    """How angles follow from positions, under the names of `config.json`."""

    rope_theta: float = 10000.0
    rope_type: str = "default"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_max_position_embeddings: int = 8192

    @classmethod
    def from_hf(cls, hf_config: Mapping[str, Any]) -> "Rope":
        """From a parsed `config.json`: `rope_parameters`, or in older files `rope_theta` beside `rope_scaling`."""
        given = {"rope_theta": hf_config.get("rope_theta", cls.rope_theta)}
        if longest := hf_config.get("max_position_embeddings"):
            given["original_max_position_embeddings"] = longest  # unless the file says otherwise
        given |= hf_config.get("rope_parameters") or hf_config.get("rope_scaling") or {}
        given["rope_type"] = given.get("rope_type", given.get("type", "default"))
        return cls(**{field.name: given[field.name] for field in dataclasses.fields(cls) if field.name in given})

    def problems(self) -> list[str]:
        """A kind of scaling that is not built."""
        if self.rope_type not in SCALINGS:
            return [f"rope_type is {self.rope_type!r}; supported are {', '.join(SCALINGS)}"]
        numbers = {name: value for name, value in vars(self).items() if name != "rope_type"}
        return [
            f"{name} is {value!r}: expected a number above 0"
            for name, value in numbers.items()
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0
        ]

    def frequencies(self, head_dim: int) -> np.ndarray:
        """Radians a token for each pair of features, float32 [H / 2]."""
        plain = self.rope_theta ** -(np.arange(0, head_dim, 2) / head_dim)
        return (plain * SCALINGS[self.rope_type](self, plain)).astype(np.float32)

    def angles(self, positions: jax.Array, head_dim: int) -> jax.Array:
        """Float32 [..., H / 2] for positions [...]."""
        return positions.astype(jnp.float32)[..., None] * self.frequencies(head_dim)


def _llama3(rope: Rope, plain: np.ndarray) -> np.ndarray:
    """Slow waves stretched by `factor`, fast ones kept, a ramp between (Llama 3.1)."""
    turns = rope.original_max_position_embeddings * plain / (2 * math.pi)  # in the context that it was trained on
    kept = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor)
    kept = np.clip(kept, 0.0, 1.0)
    return kept + (1 - kept) / rope.factor


SCALINGS: Mapping[str, Callable[[Rope, np.ndarray], np.ndarray]] = {  # what frequencies are multiplied by
    "default": lambda rope, plain: np.ones_like(plain),
    "linear": lambda rope, plain: np.full_like(plain, 1 / rope.factor),
    "llama3": _llama3,
}


def rotate(x: jax.Array, angles: jax.Array) -> jax.Array:
    """Turns feature i of x [B, T, N, H] with feature i + H / 2 by angles [(B,) T, H / 2]: Hugging Face's pairing."""
    cosine, sine = (function(angles)[..., None, :].astype(x.dtype) for function in (jnp.cos, jnp.sin))
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
