"""Tensors that stay in their file: a table of where each lies, and arrays that look into the mapped file."""

import dataclasses
import math
import mmap
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from jaxpeft.errors import InputError

_MOST_DIMENSIONS = 64  # NumPy's limit
_MOST_BYTES = 1 << 62


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor lies: byte offset in its file, and byte strides, which need not be those of a dense array."""

    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def dense(cls, dtype: np.dtype, shape: tuple[int, ...], offset: int) -> "Place":
        """A tensor in C order."""
        strides = [dtype.itemsize] * len(shape)
        for axis in range(len(shape) - 2, -1, -1):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        return cls(dtype, shape, tuple(strides), offset)


def extent(shape: tuple[int, ...], strides: tuple[int, ...], item: int = 1) -> int:
    """How far a view reaches: one past its last item, in the unit of `strides`, from where it begins."""
    if 0 in shape:
        return 0
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + item


class MappedTensors:
    """The tensors of one file, read where they lie. The arrays are read-only and cost no memory of their own."""

    def __init__(self, path: Path, places: Mapping[str, Place]):
        """Raises InputError for a tensor outside the file, OSError where the file cannot be mapped."""
        self.path = path
        self._places = dict(places)
        with path.open("rb") as file:  # the mapping outlives the descriptor
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for key, place in self._places.items():
            _check(key, place, len(self._map))

    def keys(self) -> Iterable[str]:
        """Names of the tensors."""
        return self._places.keys()

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of one tensor; reads nothing."""
        return self._places[key].shape

    def read(self, key: str) -> np.ndarray:
        """A view of one tensor, in the type of the file."""
        place = self._places[key]
        if 0 in place.shape:
            return np.empty(place.shape, place.dtype)
        if hasattr(self._map, "madvise"):
            # Pages of the tensors before this one leave the process; an array still in use reads them again.
            self._map.madvise(mmap.MADV_DONTNEED)
            start = place.offset // mmap.PAGESIZE * mmap.PAGESIZE
            end = place.offset + extent(place.shape, place.strides, place.dtype.itemsize)
            self._map.madvise(mmap.MADV_WILLNEED, start, end - start)
        return np.ndarray(place.shape, place.dtype, self._map, place.offset, place.strides)


def _check(key: str, place: Place, file_size: int) -> None:
    if len(place.shape) != len(place.strides) or len(place.shape) > _MOST_DIMENSIONS:
        raise InputError(f"tensor {key[:200]!a} has {len(place.shape)} dimensions and {len(place.strides)} strides")
    if min((*place.shape, *place.strides, place.offset)) < 0:
        raise InputError(f"tensor {key[:200]!a} has a negative size, stride or offset")
    if math.prod(size or 1 for size in place.shape) * place.dtype.itemsize > _MOST_BYTES:
        raise InputError(f"tensor {key[:200]!a} is larger than any memory")
    end = place.offset + extent(place.shape, place.strides, place.dtype.itemsize)
    if end > file_size:
        raise InputError(f"tensor {key[:200]!a} ends at byte {end} of a file of {file_size} bytes")
