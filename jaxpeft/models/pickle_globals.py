"""What the globals that PyTorch's pickles ask for stand for here: plain data, and functions that make it.

Nothing else can be named in a pickle, whatever it asks for.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from jaxpeft.errors import InputError
from jaxpeft.models.mapped import extent


@dataclasses.dataclass(frozen=True)
class Storage:
    """A run of numbers, or the part of one that tensors look into; sizes and offsets count elements."""

    key: str
    dtype: np.dtype
    size: int  # of the whole run, which the file holds under `key`
    first: int = 0
    length: int = 0  # of the part


@dataclasses.dataclass(frozen=True)
class StoredTensor:
    """A view into a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class StorageType:
    """`torch.FloatStorage` and the like, as an argument."""

    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class Function:
    """What a pickle may call, by our own function in its place."""

    name: str
    build: Callable[..., Any]


def expect(value: Any, kind: type) -> Any:
    """The value; raises InputError where it is of another kind."""
    if not isinstance(value, kind):
        raise InputError(f"its pickle has a {type(value).__name__} in place of a {kind.__name__}")
    return value


def count(value: Any) -> int:
    """A size, offset or stride; raises InputError where it is no integer, negative or beyond any file."""
    if type(value) is not int:
        raise InputError(f"its pickle has a {type(value).__name__} in place of a size, offset or stride")
    if not 0 <= value < 1 << 62:
        raise InputError("its pickle has a size, offset or stride that is negative or larger than any file")
    return value


def fill(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Puts keys and values, which take turns, into a dict; raises InputError for another target or kind of key."""
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):  # the hash of a nested tuple can take for ever
            raise InputError(f"its pickle has a {type(key).__name__} as the key of a dict")
        expect(target, dict)[key] = value
    return target


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    items: list[Any] = []  # Python 2 gave the items as an argument, Python 3 sets them afterwards
    for pair in pairs if isinstance(pairs, tuple) else expect(pairs, list):
        key, value = pair
        items += [key, value]
    return fill({}, items)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise InputError(f"its pickle makes a tensor of a {type(storage).__name__}")
    sizes, steps = tuple(map(count, expect(shape, tuple))), tuple(map(count, expect(strides, tuple)))
    if len(sizes) != len(steps):
        raise InputError(f"its pickle has a tensor of {len(sizes)} dimensions and {len(steps)} strides")
    if count(offset) + extent(sizes, steps) > storage.length:
        raise InputError(f"its pickle has a tensor that looks beyond the storage {storage.key[:50]!a}")
    return StoredTensor(storage, offset, sizes, steps)


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, metadata: Any = None
) -> StoredTensor:
    if metadata:  # a bit that says: negated or conjugated when read
        raise InputError("its pickle has a tensor with metadata, which is not supported")
    return _tensor(storage, offset, shape, strides)


def _parameter(data: Any, _grad: Any, _hooks: Any) -> StoredTensor:
    return expect(data, StoredTensor)


_DTYPES = {
    "Float": np.float32,
    "Double": np.float64,
    "Half": np.float16,
    "BFloat16": ml_dtypes.bfloat16,
    "Int": np.int32,
    "Long": np.int64,
    "Short": np.int16,
    "Char": np.int8,
    "Byte": np.uint8,
    "Bool": np.bool_,
}
_GLOBALS: dict[str, Any] = {
    "collections OrderedDict": Function("OrderedDict", _ordered_dict),
    "torch._utils _rebuild_tensor": Function("_rebuild_tensor", _tensor),
    "torch._utils _rebuild_tensor_v2": Function("_rebuild_tensor_v2", _tensor_v2),
    "torch._utils _rebuild_parameter": Function("_rebuild_parameter", _parameter),
    **{f"torch {name}Storage": StorageType(np.dtype(dtype)) for name, dtype in _DTYPES.items()},
}
_KNOWN_AS = {"posix": "os", "nt": "os", "__builtin__": "builtins"}  # under which names pickles ask for these


def find_global(name: str) -> Any:
    """What stands for the global `"module name"`: a StorageType or a Function. Raises InputError for all others."""
    if name not in _GLOBALS:
        module, _, attribute = name.partition(" ")
        known = f" ({_KNOWN_AS[module]}.{ascii(attribute[:50])[1:-1]})" if module in _KNOWN_AS else ""
        raise InputError(
            f"its pickle asks for {f'{module}.{attribute}'[:100]!a}{known}: only tensors and containers are read, and "
            "nothing of the file was run. If you trust whoever made it, convert it to safetensors where it was made"
        )
    return _GLOBALS[name]
