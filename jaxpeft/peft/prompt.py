"""Virtual tokens, trained in place of weights: prompt tuning, P-tuning and prefix tuning.

    prompt     x = [P; words]                       P [n, E], n embeddings before those of every text
                                                    (Lester et al. 2021, section 2)
    p_tuning   x = [MLP(V); words]                  the same, of n vectors V through three layers
                                                    (Liu et al. 2021, section 3; PEFT's MLP)
    prefix     keys = [K_l; x W_k], values = [V_l; x W_v] in every layer l
                                                    (Li and Liang 2021, eq. 3, without their MLP)

A prompt is read by a head that reads the first token, and is left out by a head that reads every token: virtual
tokens carry no label. A prefix has no states of its own. Leaves, the model's other leaves unchanged:
    virtual.embedding                 [n, E]; prefix [L, 2, n, P]
    virtual.{first,second,third}.*    P-tuning's layers
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft.config import PrefixConfig, PromptConfig, PTuningConfig
from jaxpeft.models.layers import Linear
from jaxpeft.models.virtual import VirtualTokens


def trains(path: str, settings: Any) -> bool:
    """The virtual tokens, and what makes them."""
    return path.startswith("virtual.")


class Prompt(VirtualTokens):
    """n trained embeddings; they begin as those of random words (`init` vocabulary) or as noise."""

    def __init__(self, model: Any, config: PromptConfig, key: jax.Array):
        size = model.config.word_size
        if config.init == "vocabulary":
            ids = jax.random.randint(key, (1, config.tokens), 0, model.config.vocab_size)
            start = model.words(ids)[0].astype(jnp.float32)
        else:
            start = jax.random.normal(key, (config.tokens, size))  # PEFT's
        self.embedding = nnx.Param(start)
        self.prompt_length = config.tokens

    def prompt(self) -> jax.Array:
        """[n, E]."""
        return self.embedding[...]


class PTuning(VirtualTokens):
    """n vectors that three layers turn into embeddings. After training only the embeddings matter."""

    def __init__(self, model: Any, config: PTuningConfig, key: jax.Array):
        size, hidden = model.config.word_size, config.hidden_size
        vectors, *keys = jax.random.split(key, 4)
        self.embedding = nnx.Param(jax.random.normal(vectors, (config.tokens, size)))
        self.first = _dense(size, hidden, keys[0])
        self.second = _dense(hidden, hidden, keys[1])
        self.third = _dense(hidden, size, keys[2])
        self.prompt_length = config.tokens

    def prompt(self) -> jax.Array:
        """[n, E]."""
        x = jax.nn.relu(self.first(self.embedding[...]))
        return self.third(jax.nn.relu(self.second(x)))


class Prefix(VirtualTokens):
    """A key and a value a layer for each of n virtual tokens."""

    def __init__(self, model: Any, config: PrefixConfig, key: jax.Array):
        shape = (model.config.num_hidden_layers, 2, config.tokens, model.config.prefix_size)
        self.embedding = nnx.Param(jax.random.normal(key, shape))  # PEFT's
        self.prefix_length = config.tokens

    def prefix(self) -> jax.Array:
        """[L, 2, n, P]."""
        return self.embedding[...]


def _dense(d_in: int, d_out: int, key: jax.Array) -> Linear:
    """A layer that begins as torch's do: everything uniform within 1 / sqrt(D_in)."""
    layer, bound = Linear(d_in, d_out), d_in**-0.5
    kernel, bias = jax.random.split(key)
    layer.kernel[...] = jax.random.uniform(kernel, (d_in, d_out), minval=-bound, maxval=bound)
    layer.bias[...] = jax.random.uniform(bias, (d_out,), minval=-bound, maxval=bound)
    return layer
