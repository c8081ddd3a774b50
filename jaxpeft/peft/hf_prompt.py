"""Virtual tokens in PEFT's files: one tensor, `prompt_embeddings`.

prompt      virtual.embedding [n, E]          as it is
prefix      virtual.embedding [L, 2, n, P]    (n, L x 2 x P)
p_tuning    what its layers make of it [n, E]: PEFT keeps neither them nor what goes in. Read again it is a prompt.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpeft.config import PeftConfig, PrefixConfig, PromptConfig
from jaxpeft.errors import InputError
from jaxpeft.peft.hf_slots import Slot

NAME = "prompt_embeddings"
ROLES = (NAME,)


@dataclasses.dataclass(frozen=True)
class MadeOnce(Slot):
    """The prompt that P-tuning's layers make, which no leaf holds."""

    virtual: Any = None

    def take(self, leaves: Mapping[str, np.ndarray]) -> np.ndarray:
        """[n, E]."""
        return np.asarray(self.virtual.prompt(), np.float32)


def prompt_slots(model: Any) -> dict[str, Slot]:
    """Where the leaf of a prompt goes."""
    return {NAME: Slot("virtual.embedding", (), model.virtual.embedding.shape)}


def p_tuning_slots(model: Any) -> dict[str, Slot]:
    """What becomes of all leaves together."""
    return {NAME: MadeOnce("virtual.embedding", (), model.virtual.embedding.shape, virtual=model.virtual)}


def prefix_slots(model: Any) -> dict[str, Slot]:
    """Where the leaf of a prefix goes."""
    layers, both, tokens, size = model.virtual.embedding.shape
    return {NAME: Slot("virtual.embedding", (), (tokens, layers * both * size), axes=(2, 0, 1, 3))}


def prompt_to_hf(model: Any, config: PeftConfig) -> dict[str, Any]:
    """The keys of prompt tuning."""
    return {**_sizes(model, config.prompt.tokens, model.config.word_size), "prompt_tuning_init": "RANDOM"}


def p_tuning_to_hf(model: Any, config: PeftConfig) -> dict[str, Any]:
    """The keys of P-tuning."""
    sizes = _sizes(model, config.p_tuning.tokens, model.config.word_size)
    return {**sizes, "encoder_reparameterization_type": "MLP", "encoder_hidden_size": config.p_tuning.hidden_size}


def prefix_to_hf(model: Any, config: PeftConfig) -> dict[str, Any]:
    """The keys of prefix tuning."""
    return {**_sizes(model, config.prefix.tokens, model.config.prefix_size), "prefix_projection": False}


def prompt_from_hf(model: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> PeftConfig:
    """Our settings for a prompt, however it came about; the tensor says how many tokens it has."""
    return PeftConfig(method="prompt", prompt=PromptConfig(tokens=_tokens(shapes)))


def prefix_from_hf(model: Any, given: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> PeftConfig:
    """Our settings for a prefix; the tensor says how many tokens it has."""
    return PeftConfig(method="prefix", prefix=PrefixConfig(tokens=_tokens(shapes)))


def _sizes(model: Any, tokens: int, width: int) -> dict[str, Any]:
    """What PEFT guesses from a model's config, and for some cannot."""
    return {
        "num_virtual_tokens": tokens,
        "token_dim": width,
        "num_transformer_submodules": 1,
        "num_attention_heads": getattr(model.config, "key_heads", model.config.num_attention_heads),
        "num_layers": model.config.num_hidden_layers,
    }


def _tokens(shapes: Mapping[str, tuple[int, ...]]) -> int:
    if len(shape := shapes.get(NAME, ())) != 2:
        raise InputError(f"{NAME} has shape {shape}, expected (virtual tokens, width)")
    return shape[0]
