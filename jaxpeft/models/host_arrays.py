"""Large arrays in the host's memory: made where JAX can take them over, copied and hashed as fast as memory goes."""

import hashlib
import math

import numpy as np


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Uninitialised memory on a boundary of 64 bytes, which JAX on a CPU takes over without a copy."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + size].view(dtype).reshape(shape)


def sha256(values: np.ndarray) -> str:
    """Of type, shape and bytes, in hexadecimal."""
    digest = hashlib.sha256(f"{values.dtype} {values.shape}".encode())
    values = np.atleast_1d(values)
    if values.flags.c_contiguous:  # in one call, which gives up the interpreter's lock once
        digest.update(values.view(np.uint8).data)
        return digest.hexdigest()
    for start in range(0, len(values), 64):  # strided in its file: made dense a few rows at a time
        digest.update(np.ascontiguousarray(values[start : start + 64]).view(np.uint8).data)
    return digest.hexdigest()


def copy(values: np.ndarray, slot: np.ndarray) -> None:
    """`slot[...] = values` with a cast."""
    if values.dtype == slot.dtype:
        values, slot = _bits(values), _bits(slot)
    slot[...] = values


def copy_transposed(values: np.ndarray, slot: np.ndarray) -> None:
    """`slot[...] = values.T` with a cast, several times as fast.

    A block of rows goes through a buffer into whole cache lines of the slot. The buffer's rows are longer than they
    need to be: at a distance of a power of two they would all compete for the same few places of the cache.
    """
    block, columns = 64, values.shape[1]
    buffer = np.empty((block, columns + 64), slot.dtype)
    for start in range(0, len(values), block):
        rows = buffer[: len(values) - start, :columns]
        copy(values[start : start + block], rows)
        _bits(slot.T)[start : start + block] = _bits(rows)


def _bits(values: np.ndarray) -> np.ndarray:
    """The same memory as integers: bfloat16's own copies are slow and hold the interpreter's lock."""
    return values.view(f"u{values.itemsize}")
