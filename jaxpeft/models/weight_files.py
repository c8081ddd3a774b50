"""The weight files of a model folder, in the order of preference: safetensors, then PyTorch's, single or in shards."""

import json
from collections.abc import Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import safetensors

from jaxpeft.errors import InputError
from jaxpeft.models.mapped import MappedTensors, Place
from jaxpeft.models.torch_files import open_torch

NAMES = ("model.safetensors", "pytorch_model.bin")  # an index adds `.index.json`
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}


def open_folder(folder: Path) -> dict[str, MappedTensors]:
    """The file that holds each tensor of a model folder.

    Raises InputError where there is no weight file, one is not readable, or two hold the same tensor.
    """
    where: dict[str, MappedTensors] = {}
    for path in _paths(folder):
        file = open_torch(path) if path.suffix == ".bin" else open_safetensors(path)
        for key in file.keys():  # noqa: SIM118 (no mapping)
            if key in where:
                raise InputError(f"{folder}: both {where[key].path.name} and {path.name} hold {key}")
            where[key] = file
    return where


def _paths(folder: Path) -> list[Path]:
    for name in NAMES:
        if (folder / name).exists():
            return [folder / name]
        index = folder / f"{name}.index.json"
        if index.exists():
            return [folder / shard for shard in _shards(index, Path(name).suffix)]
    raise InputError(f"{folder} holds no model.safetensors, no pytorch_model.bin and no .index.json of either")


def _shards(index: Path, suffix: str) -> list[str]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        outside = [name for name in names if Path(name).name != name or Path(name).suffix != suffix]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{index} is no weight index: {error}") from None
    if outside:
        raise InputError(f"{index} names {outside[0]!a}, expected {suffix} files of its own folder")
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise InputError(f"{index} names {', '.join(missing[:8])}, which are not in the folder")
    return names


def open_safetensors(path: Path) -> MappedTensors:
    """The tensors of a safetensors file, read on demand. Raises InputError for a file that is not readable."""
    try:
        # Checks the header against the file: lengths, overlaps, gaps, types.
        with safetensors.safe_open(path, framework="numpy"):
            places = _header(path)
        return MappedTensors(path, places)
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} is no readable safetensors file: {error}") from None


def _header(path: Path) -> Mapping[str, Place]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    places = {}
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        if entry["dtype"] not in _DTYPES:
            raise InputError(
                f"tensor {key[:200]!a} has the type {entry['dtype']}, a quantised model's; use the original's weights"
            )
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        places[key] = Place.dense(dtype, shape, 8 + length + entry["data_offsets"][0])
    return places
