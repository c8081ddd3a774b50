"""The pickles inside PyTorch's files, read by a machine that cannot call anything.

`pickle` runs what a file asks for; this reads the same opcodes and knows only what `torch.save` writes for a dict of
tensors: containers, strings, numbers, storages and the functions that rebuild a tensor. These are plain data here;
every other global is refused by its name.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from jaxpeft.errors import InputError
from jaxpeft.models.mapped import extent

# A pickle of ten thousand tensors has 3 MiB. The limit bounds what a damaged or hostile length can allocate.
_MOST_BYTES = 16 << 20


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
class _StorageType:
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class _Function:
    name: str
    build: Callable[..., Any]


class Bounded:
    """At most `limit` bytes of a file from where it stands, so that no length in a pickle can ask for more."""

    def __init__(self, file: BinaryIO, limit: int = _MOST_BYTES):
        self._file, self._left = file, min(limit, _MOST_BYTES)

    def read(self, count: int) -> bytes:
        """`count` bytes, fewer at the end of the file."""
        if not 0 <= count <= self._left:
            raise InputError(f"its pickle goes on beyond the {self._left} bytes that are left for it")
        self._left -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """Up to and with a line break."""
        line = self._file.readline(self._left)
        self._left -= len(line)
        return line


class TensorPickle:
    """Reads pickles; `storages` collects what they refer to, by key."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def load(self, stream: Bounded) -> Any:
        """One pickle: dicts, lists, tuples, str, int, float, bool, None and StoredTensor.

        Raises InputError that names what it refuses; damaged pickles may raise any Exception.
        """
        self._stack, self._marks, self._memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(stream):  # type: ignore[arg-type]  # asks for read and readline
            if opcode.name == "STOP":
                return self._stack.pop()
            if opcode.name in _VALUES:
                self._stack.append(argument)
            elif opcode.name in _ACTIONS:
                _ACTIONS[opcode.name](self, argument)
            elif opcode.name not in _NOTHING:
                raise InputError(f"its pickle has the opcode {opcode.name}, which no dict of tensors has")
        raise InputError("its pickle has no end")

    def _pop_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self._stack))

    def _put(self, index: Any) -> None:
        self._memo[len(self._memo) if index is None else index] = self._stack[-1]

    def _get(self, index: int) -> None:
        self._stack.append(self._memo[index])

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._pop_mark()))

    def _list(self, _: Any) -> None:
        self._stack.append(self._pop_mark())

    def _dict(self, _: Any) -> None:
        items = self._pop_mark()
        self._stack.append(_fill({}, items))

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        _expect(self._stack[-1], list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        _expect(self._stack[-1], list).extend(items)

    def _set_item(self, _: Any) -> None:
        items = self._stack[-2:]
        del self._stack[-2:]
        _fill(self._stack[-1], items)

    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        _fill(self._stack[-1], items)

    def _global(self, name: str) -> None:
        self._stack.append(_find(name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(_find(f"{_expect(module, str)} {_expect(name, str)}"))

    def _instance(self, name: str) -> None:
        _find(name)
        raise InputError("its pickle makes an instance of a class, which no dict of tensors does")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Function):
            raise InputError(f"its pickle calls a {type(function).__name__}")
        try:
            self._stack.append(function.build(*_expect(arguments, tuple)))
        except TypeError:  # a wrong number of arguments
            raise InputError(f"its pickle gives {function.name} {len(arguments)} arguments") from None

    def _build(self, _: Any) -> None:
        self._stack.pop()  # attributes of a state dict: `_metadata` of torch's modules
        _expect(self._stack[-1], dict)

    def _persistent(self, _: Any) -> None:
        identity = self._stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or not isinstance(identity[0], str):
            raise InputError("its pickle refers to something that is no storage")
        kind, storage_type, key, _location, size, *view = identity
        if kind != "storage" or not isinstance(storage_type, _StorageType) or not isinstance(key, str):
            raise InputError(f"its pickle refers to a {kind[:50]!a}, expected a storage")
        storage = Storage(key, storage_type.dtype, _count(size), 0, size)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"its pickle gives two types or sizes to the storage {key[:50]!a}")
        if view and view[0] is not None:  # before PyTorch 0.4: a storage that lies inside another
            _, first, length = _expect(view[0], tuple)
            storage = dataclasses.replace(storage, first=_count(first), length=_count(length))
        if storage.first + storage.length > storage.size:
            raise InputError(f"its pickle looks beyond the storage {key[:50]!a}")
        self._stack.append(storage)


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise InputError(f"its pickle has a {type(value).__name__} in place of a {kind.__name__}")
    return value


def _count(value: Any) -> int:
    if type(value) is not int:
        raise InputError(f"its pickle has a {type(value).__name__} in place of a size, offset or stride")
    if not 0 <= value < 1 << 62:
        raise InputError("its pickle has a size, offset or stride that is negative or larger than any file")
    return value


def _fill(target: Any, items: list[Any]) -> dict[Any, Any]:
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | int):  # the hash of a nested tuple can take for ever
            raise InputError(f"its pickle has a {type(key).__name__} as the key of a dict")
        _expect(target, dict)[key] = value
    return target


def _ordered_dict(pairs: Any = ()) -> dict[Any, Any]:
    items: list[Any] = []  # Python 2 gave the items as an argument, Python 3 sets them afterwards
    for pair in pairs if isinstance(pairs, tuple) else _expect(pairs, list):
        key, value = pair
        items += [key, value]
    return _fill({}, items)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    if not isinstance(storage, Storage):
        raise InputError(f"its pickle makes a tensor of a {type(storage).__name__}")
    sizes, steps = tuple(map(_count, _expect(shape, tuple))), tuple(map(_count, _expect(strides, tuple)))
    if len(sizes) != len(steps):
        raise InputError(f"its pickle has a tensor of {len(sizes)} dimensions and {len(steps)} strides")
    if _count(offset) + extent(sizes, steps) > storage.length:
        raise InputError(f"its pickle has a tensor that looks beyond the storage {storage.key[:50]!a}")
    return StoredTensor(storage, offset, sizes, steps)


def _tensor_v2(
    storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, metadata: Any = None
) -> StoredTensor:
    if metadata:  # a bit that says: negated or conjugated when read
        raise InputError("its pickle has a tensor with metadata, which is not supported")
    return _tensor(storage, offset, shape, strides)


def _parameter(data: Any, _grad: Any, _hooks: Any) -> StoredTensor:
    return _expect(data, StoredTensor)


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
    "collections OrderedDict": _Function("OrderedDict", _ordered_dict),
    "torch._utils _rebuild_tensor": _Function("_rebuild_tensor", _tensor),
    "torch._utils _rebuild_tensor_v2": _Function("_rebuild_tensor_v2", _tensor_v2),
    "torch._utils _rebuild_parameter": _Function("_rebuild_parameter", _parameter),
    **{f"torch {name}Storage": _StorageType(np.dtype(dtype)) for name, dtype in _DTYPES.items()},
}


def _find(name: str) -> Any:
    """What stands for the global of `"module name"`. Raises InputError for all but the few of a dict of tensors."""
    if name not in _GLOBALS:
        module, _, attribute = name.partition(" ")
        known = f" ({_KNOWN_AS[module]}.{ascii(attribute[:50])[1:-1]})" if module in _KNOWN_AS else ""
        raise InputError(
            f"its pickle asks for {f'{module}.{attribute}'[:100]!a}{known}: only tensors and containers are read, and "
            "nothing of the file was run. If you trust whoever made it, convert it to safetensors where it was made"
        )
    return _GLOBALS[name]


_KNOWN_AS = {"posix": "os", "nt": "os", "__builtin__": "builtins"}  # under which names pickles ask for these
_NOTHING = {"PROTO", "FRAME"}
_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
}
_ACTIONS: dict[str, Callable[[TensorPickle, Any], None]] = {
    "NONE": lambda self, _: self._stack.append(None),
    "NEWTRUE": lambda self, _: self._stack.append(True),
    "NEWFALSE": lambda self, _: self._stack.append(False),
    "EMPTY_DICT": lambda self, _: self._stack.append({}),
    "EMPTY_LIST": lambda self, _: self._stack.append([]),
    "EMPTY_TUPLE": lambda self, _: self._stack.append(()),
    "TUPLE1": lambda self, _: self._stack.append((self._stack.pop(),)),
    "TUPLE2": lambda self, _: self._stack.append(tuple(self._stack.pop(-2 + i) for i in range(2))),
    "TUPLE3": lambda self, _: self._stack.append(tuple(self._stack.pop(-3 + i) for i in range(3))),
    "MARK": TensorPickle._mark,
    "TUPLE": TensorPickle._tuple,
    "LIST": TensorPickle._list,
    "DICT": TensorPickle._dict,
    "APPEND": TensorPickle._append,
    "APPENDS": TensorPickle._appends,
    "SETITEM": TensorPickle._set_item,
    "SETITEMS": TensorPickle._set_items,
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), TensorPickle._put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), TensorPickle._get),
    "GLOBAL": TensorPickle._global,
    "STACK_GLOBAL": TensorPickle._stack_global,
    "INST": TensorPickle._instance,
    "REDUCE": TensorPickle._reduce,
    "BUILD": TensorPickle._build,
    "BINPERSID": TensorPickle._persistent,
}
