"""The pickles inside PyTorch's files, read by a machine that cannot call anything.

`pickle` runs what a file asks for; this reads the same opcodes and knows only what `torch.save` writes for a dict of
tensors: containers, strings, numbers, storages and the functions that rebuild a tensor, which are plain data here
(`pickle_globals`).
"""

import dataclasses
import pickletools
from collections.abc import Callable
from typing import Any, BinaryIO

from jaxpeft.errors import InputError
from jaxpeft.models.pickle_globals import Function, Storage, StorageType, count, expect, fill, find_global

# A pickle of ten thousand tensors has 3 MiB. The limit bounds what a damaged or hostile length can allocate.
_MOST_BYTES = 16 << 20


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
        self._stack.append(fill({}, items))

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        expect(self._stack[-1], list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        expect(self._stack[-1], list).extend(items)

    def _set_item(self, _: Any) -> None:
        items = self._stack[-2:]
        del self._stack[-2:]
        fill(self._stack[-1], items)

    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        fill(self._stack[-1], items)

    def _global(self, name: str) -> None:
        self._stack.append(find_global(name))

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(find_global(f"{expect(module, str)} {expect(name, str)}"))

    def _instance(self, name: str) -> None:
        find_global(name)
        raise InputError("its pickle makes an instance of a class, which no dict of tensors does")

    def _reduce(self, _: Any) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, Function):
            raise InputError(f"its pickle calls a {type(function).__name__}")
        try:
            self._stack.append(function.build(*expect(arguments, tuple)))
        except TypeError:  # a wrong number of arguments
            raise InputError(f"its pickle gives {function.name} {len(arguments)} arguments") from None

    def _build(self, _: Any) -> None:
        self._stack.pop()  # attributes of a state dict: `_metadata` of torch's modules
        expect(self._stack[-1], dict)

    def _persistent(self, _: Any) -> None:
        identity = self._stack.pop()
        if not isinstance(identity, tuple) or len(identity) not in (5, 6) or not isinstance(identity[0], str):
            raise InputError("its pickle refers to something that is no storage")
        kind, storage_type, key, _location, size, *view = identity
        if kind != "storage" or not isinstance(storage_type, StorageType) or not isinstance(key, str):
            raise InputError(f"its pickle refers to a {kind[:50]!a}, expected a storage")
        storage = Storage(key, storage_type.dtype, count(size), 0, size)
        if self.storages.setdefault(key, storage) != storage:
            raise InputError(f"its pickle gives two types or sizes to the storage {key[:50]!a}")
        if view and view[0] is not None:  # before PyTorch 0.4: a storage that lies inside another
            _, first, length = expect(view[0], tuple)
            storage = dataclasses.replace(storage, first=count(first), length=count(length))
        if storage.first + storage.length > storage.size:
            raise InputError(f"its pickle looks beyond the storage {key[:50]!a}")
        self._stack.append(storage)


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
