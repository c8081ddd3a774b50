"""Small random models in Hugging Face layout, so that a study can be tried where no pretrained model is.

`model.ref = random:NAME` in a study; its vocabulary is single characters, so every text has tokens.
"""

import string
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models import MODELS
from jaxpeft.models.layers import initialise
from jaxpeft.models.leaves import by_path
from jaxpeft.training.safetensors_writer import write_weights
from jaxpeft.training.workdir import write_json, write_text

PREFIX = "random:"
_CHARACTERS = string.ascii_lowercase + string.digits
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *string.punctuation,
    *_CHARACTERS,
    *(f"##{character}" for character in _CHARACTERS),
)
BASES: Mapping[str, Mapping[str, Any]] = {
    "tiny-bert": {
        "model_type": "bert",
        "vocab_size": len(VOCABULARY),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 128,
    },
    "tiny-distilbert": {
        "model_type": "distilbert",
        "vocab_size": len(VOCABULARY),
        "dim": 48,
        "n_layers": 2,
        "n_heads": 4,
        "hidden_dim": 96,
        "max_position_embeddings": 128,
    },
}


def sizes_of(ref: str) -> Mapping[str, Any]:
    """What the `config.json` of a `random:NAME` says. Raises InputError for a name that is not in the table."""
    name = ref.removeprefix(PREFIX)
    if name not in BASES:
        raise InputError(
            f"model.ref {ref!r}: no such random base; there are {', '.join(PREFIX + one for one in BASES)}"
        )
    return BASES[name]


def write_base(folder: Path, ref: str) -> None:
    """Writes the model folder of a `random:NAME`, the same numbers each time. Raises InputError."""
    sizes = dict(sizes_of(ref))
    architecture = MODELS[sizes["model_type"]]
    config = architecture.config.from_hf(sizes, num_labels=2)
    model = nnx.eval_shape(lambda: architecture.heads["sequence_classification"](config))
    tensors = dict(_tensors(model))
    folder.mkdir(parents=True, exist_ok=True)
    shapes = {name: values.shape for name, values in tensors.items()}
    write_weights(folder, "model", shapes, iter(tensors.items()), "float32")
    write_text(folder / "vocab.txt", "\n".join(VOCABULARY) + "\n")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": True})
    write_json(folder / "config.json", sizes)  # the last: with it the folder is whole


def _tensors(model: Any) -> Iterator[tuple[str, np.ndarray]]:
    """(name, values) of the encoder, in torch's layout."""
    leaves = by_path(nnx.state(model))
    for tensor in model.tensors():
        if tensor.path.split(".")[0] in model.head:
            continue
        leaf = np.asarray(initialise(tensor.path, leaves[tensor.path].shape, jax.random.key(0), standard_deviation=0.1))
        for name, part in zip(tensor.names(len(leaf)), leaf if tensor.stacked else leaf[None], strict=True):
            yield name, np.ascontiguousarray(part.T if tensor.transpose else part)
