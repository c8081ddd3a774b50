"""Sizes of released models by name, for planning without their files: `model.ref = shape:NAME`.

Values are those of each model's published `config.json`; what is left out has transformers' default.
"""

from collections.abc import Mapping
from typing import Any

from jaxpeft.errors import InputError

PREFIX = "shape:"

_BERT = {"model_type": "bert", "vocab_size": 30522, "max_position_embeddings": 512, "type_vocab_size": 2}
_LLAMA_2 = {"model_type": "llama", "vocab_size": 32000, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5}
_LLAMA_3 = {
    "model_type": "llama",
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "num_key_value_heads": 8,
}


def _sizes(hidden: int, layers: int, heads: int, intermediate: int) -> dict[str, int]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": intermediate,
    }


SHAPES: Mapping[str, Mapping[str, Any]] = {
    "bert-base": _BERT | _sizes(768, 12, 12, 3072),
    "tinybert": _BERT | _sizes(312, 4, 12, 1200),  # TinyBERT_General_4L_312D
    "distilbert": {"model_type": "distilbert", "dim": 768, "n_layers": 6, "n_heads": 12, "hidden_dim": 3072},
    "mobilebert": {"model_type": "mobilebert", **_sizes(512, 24, 4, 512), "classifier_activation": False},
    "llama-2-7b": _LLAMA_2 | _sizes(4096, 32, 32, 11008),
    "llama-2-13b": _LLAMA_2 | _sizes(5120, 40, 40, 13824),
    "llama-2-70b": _LLAMA_2 | _sizes(8192, 80, 64, 28672) | {"num_key_value_heads": 8},
    "llama-3-8b": _LLAMA_3 | _sizes(4096, 32, 32, 14336),
    "llama-3-70b": _LLAMA_3 | _sizes(8192, 80, 64, 28672),
}


def config_of(ref: str) -> dict[str, Any]:
    """What the `config.json` of a `shape:NAME` says. Raises InputError for a name that is not in the table."""
    name = ref.removeprefix(PREFIX)
    if name not in SHAPES:
        raise InputError(f"model.ref {ref!r}: no such shape; there are {', '.join(PREFIX + known for known in SHAPES)}")
    return dict(SHAPES[name])
