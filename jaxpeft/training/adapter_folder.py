"""The folder of an adapter in Hugging Face PEFT's format: adapter_config.json, its tensors, and our labels.json."""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.models.torch_files import open_torch
from jaxpeft.models.weight_files import open_safetensors
from jaxpeft.peft.hf_config import adapter_config
from jaxpeft.peft.hf_format import export_tensors, plain_names
from jaxpeft.training.folders import FORMAT, LABELS, whole_folder
from jaxpeft.training.safetensors_writer import write_weights
from jaxpeft.training.system import System
from jaxpeft.training.workdir import read_json, write_text

CONFIG = "adapter_config.json"
WEIGHTS = {"adapter_model.safetensors": open_safetensors, "adapter_model.bin": open_torch}  # the first is preferred


@dataclasses.dataclass(frozen=True)
class Adapter:
    """What a folder holds; `labels` is None where PEFT wrote it."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]
    labels: Mapping[str, Any] | None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Plain name of each tensor -> shape."""
        return {name: self.tensors[full].shape for name, full in plain_names(self.tensors).items()}


def read_adapter(folder: Path) -> Adapter:
    """Reads a folder that PEFT wrote, or that this did. Raises InputError."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with {CONFIG}")
    config = read_json(folder / CONFIG)
    for name, reader in WEIGHTS.items():
        if (folder / name).exists():
            file = reader(folder / name)
            return Adapter(folder, config, {key: file.read(key) for key in file.keys()}, _read_labels(folder))  # noqa: SIM118
    raise InputError(f"{folder} holds no {' and no '.join(WEIGHTS)}")


def _read_labels(folder: Path) -> dict[str, Any] | None:
    if not (folder / LABELS).exists():
        return None
    labels = read_json(folder / LABELS)
    if labels.get("format") != FORMAT:
        raise InputError(f"{folder / LABELS} is of format {str(labels.get('format'))[:20]!a}, expected {FORMAT}")
    names = labels.get("labels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / LABELS}: expected a list of names under 'labels'")
    if wrong := [key for key in ("task", "model_type", "base_sha256") if not isinstance(labels.get(key), str)]:
        raise InputError(f"{folder / LABELS}: expected a string under {', '.join(map(repr, wrong))}")
    kept = labels.setdefault("keep_layers", [])  # absent: written before layers could be left out
    if not isinstance(kept, list) or not all(isinstance(layer, int) for layer in kept):
        raise InputError(f"{folder / LABELS}: expected a list of layers' numbers under 'keep_layers'")
    return labels


def write_adapter(folder: Path, config: Config, system: System, trainable: peft.Tree) -> None:
    """Writes the adapter of a system whose trained leaves are `trainable`; PEFT loads it on the same base."""
    model = peft.unflatten(system.graphdef, {**trainable, **system.frozen})
    known = not config.model.ref.startswith("package:") and not config.model.keep_layers
    base = config.model.ref if known else None  # PEFT knows no packages, and would load all layers
    settings = adapter_config(model, system.labels, config.peft, base)
    with whole_folder(folder, labels_json(config, system)) as inside:
        write_text(inside / CONFIG, json.dumps(settings, indent=2, sort_keys=True) + "\n")
        tensors = export_tensors(model, system.labels, config.peft.method)
        shapes = {name: values.shape for name, values in tensors.items()}
        whole = sys.maxsize  # PEFT reads no adapter in shards
        write_weights(inside, "adapter_model", shapes, iter(tensors.items()), "float32", shard_bytes=whole)


def labels_json(config: Config, system: System) -> dict[str, Any]:
    """What a reader needs to know of the head and of the base."""
    return {
        "labels": list(system.classes),
        "task": config.task,
        "method": config.peft.method,
        "model_type": system.model_type,
        "base_sha256": system.base_sha256,
        "keep_layers": list(config.model.keep_layers),
    }
