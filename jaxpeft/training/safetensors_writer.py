"""Writes safetensors files one tensor at a time; the format's own writer wants all of them in memory at once."""

import itertools
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxpeft.training.workdir import write_json

SHARD_BYTES = 4 * 10**9
DTYPES: Mapping[str, tuple[str, Any]] = {"float32": ("F32", np.float32), "bfloat16": ("BF16", ml_dtypes.bfloat16)}


def write_weights(
    folder: Path,
    name: str,
    shapes: Mapping[str, tuple[int, ...]],
    tensors: Iterator[tuple[str, np.ndarray]],
    dtype: str,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes `name`.safetensors or, with more than `shard_bytes`, shards of it and their index.

    `tensors` are name and values, in the order of `shapes`; `dtype` is what all are written in.
    """
    shards = _shards(shapes, dtype, shard_bytes)
    files = [f"{name}.safetensors"]
    if len(shards) > 1:
        files = [f"{name}-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
        index = {
            "metadata": {"total_size": sum(list(shard.values())[-1]["data_offsets"][1] for shard in shards)},
            "weight_map": {tensor: file for file, shard in zip(files, shards, strict=True) for tensor in shard},
        }
        write_json(folder / f"{name}.safetensors.index.json", index)
    for file, shard in zip(files, shards, strict=True):
        _write_file(folder / file, shard, itertools.islice(tensors, len(shard)), DTYPES[dtype][1])


def _shards(shapes: Mapping[str, tuple[int, ...]], dtype: str, shard_bytes: int) -> list[dict[str, Any]]:
    """The header's entries of each file."""
    kind, numbers = DTYPES[dtype]
    shards: list[dict[str, Any]] = [{}]
    start = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * np.dtype(numbers).itemsize
        if shards[-1] and start + size > shard_bytes:
            shards.append({})
            start = 0
        shards[-1][name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    return shards


def _write_file(path: Path, entries: Mapping[str, Any], tensors: Iterable[tuple[str, np.ndarray]], dtype: Any) -> None:
    header = json.dumps({"__metadata__": {"format": "pt"}, **entries}).encode()
    header += b" " * (-len(header) % 8)  # tensors begin at a multiple of 8
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, values in tensors:
            assert entries[name]["data_offsets"][0] == file.tell() - 8 - len(header), name
            file.write(np.ascontiguousarray(values, dtype).view(np.uint8).data)
