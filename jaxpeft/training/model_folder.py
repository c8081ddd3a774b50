"""A whole model in Hugging Face layout, adapters merged: transformers loads it without a missing tensor."""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.data.tokenise import TextEncoder
from jaxpeft.models import pretrained
from jaxpeft.training.adapter_folder import labels_json
from jaxpeft.training.folders import whole_folder
from jaxpeft.training.safetensors_writer import SHARD_BYTES, write_weights
from jaxpeft.training.system import System
from jaxpeft.training.workdir import read_json, write_json, write_text

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "sentencepiece.bpe.model",
)
# What a base says of itself that is no longer true: its classes, types, tasks, and the code that it came with.
STALE = ("num_labels", "torch_dtype", "dtype", "problem_type", "auto_map", "_name_or_path", "finetuning_task")


def write_model(
    folder: Path, config: Config, system: System, trainable: peft.Tree, *, shard_bytes: int = SHARD_BYTES
) -> None:
    """Writes the model with the trained leaves `trainable`, in the type that it computes in.

    Tensors are merged and written one after the other. Raises InputError for adapters that cannot be merged.
    """
    base = pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)
    model = peft.unflatten(system.graphdef, {**trainable, **system.frozen})
    shapes = peft.merged_shapes(model)
    with whole_folder(folder, labels_json(config, system)) as inside:
        sizes = model.config.sizes_in(pretrained.read_config(base))
        hf_config = _hf_config(sizes, type(model).__name__, config.model.dtype, system.classes)
        write_text(inside / "config.json", json.dumps(hf_config, indent=2, sort_keys=True) + "\n")
        _write_tokenizer(base, inside, system.encoder)
        tensors = peft.merged_tensors(model)
        write_weights(inside, "model", shapes, tensors, config.model.dtype, shard_bytes=shard_bytes)


def _hf_config(base: Mapping[str, Any], architecture: str, dtype: str, classes: Iterable[str]) -> dict[str, Any]:
    names = dict(enumerate(classes))
    return {
        **{name: value for name, value in base.items() if name not in STALE},
        "architectures": [architecture],
        "torch_dtype": dtype,
        "num_labels": len(names),
        "id2label": {str(number): name for number, name in names.items()},
        "label2id": {name: number for number, name in names.items()},
    }


def _write_tokenizer(base: Path, inside: Path, encoder: TextEncoder) -> None:
    """The base's files, and in them whether text is lower-cased: `model.lowercase` may have decided on that."""
    for name in TOKENIZER_FILES:
        if (base / name).exists():
            shutil.copyfile(base / name, inside / name)
    lowers = getattr(encoder.tokenizer.normalizer, "lowercase", None)
    if lowers is None:  # a tokenizer without such a switch
        return
    settings, definition = inside / "tokenizer_config.json", inside / "tokenizer.json"
    write_json(settings, (read_json(settings) if settings.exists() else {}) | {"do_lower_case": lowers})
    if definition.exists():
        content = read_json(definition)
        content["normalizer"]["lowercase"] = lowers
        write_json(definition, content)
