"""Activations under the names of Hugging Face's `hidden_act`."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp


@jax.custom_vjp
def gelu(x: jax.Array) -> jax.Array:
    """x * Phi(x) with the exact normal distribution function (Hendrycks and Gimpel 2016).

    The derivative, Phi(x) + x phi(x), is computed from x again: kept intermediates of the widest activation
    cost a CPU more time than erf does.
    """
    return x * _phi(x)


def _phi(x: jax.Array) -> jax.Array:
    return (0.5 + 0.5 * jax.lax.erf(x * 0.5**0.5)).astype(x.dtype)


def _forward(x):
    return gelu(x), x


def _backward(x, gradient):
    density = jnp.exp(-0.5 * jnp.square(x)) * (2 * jnp.pi) ** -0.5
    return (gradient * (_phi(x) + x * density),)


gelu.defvjp(_forward, _backward)

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_new": lambda x: jax.nn.gelu(x, approximate=True),
    "relu": jax.nn.relu,
}


def unknown_activation(field: str, name: str) -> list[str]:
    """The problem with an activation of a `config.json`, if there is one."""
    return [] if name in ACTIVATIONS else [f"{field} is {name!r}; supported are {', '.join(ACTIVATIONS)}"]
