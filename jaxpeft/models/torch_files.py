"""Tensors of PyTorch's own files, `pytorch_model.bin` and the like, without torch and without running the file.

zip form (PyTorch 1.6 and newer)        legacy form
archive/data.pkl       the dict         pickles: magic number, protocol, system, the dict, keys of the storages
archive/data/0, /1 ..  storages, bare   each storage: its number of elements (8 bytes), its elements
"""

import dataclasses
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from jaxpeft.errors import InputError
from jaxpeft.models.mapped import MappedTensors, Place
from jaxpeft.models.pickle_globals import StoredTensor
from jaxpeft.models.tensor_pickle import Bounded, TensorPickle

_LEGACY_MAGIC, _LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_ZIP_MAGIC = b"PK\x03\x04"
_LFS_POINTER = b"version https://git-lfs"


@dataclasses.dataclass(frozen=True)
class _Run:
    """The bytes of a storage in the file."""

    start: int
    size: int


def open_torch(path: Path) -> MappedTensors:
    """The tensors of a file that `torch.save` wrote from a dict of them, read on demand.

    Raises InputError for a file that is damaged, holds something else, or asks for anything but tensors.
    """
    try:
        with path.open("rb") as file:
            found, runs = _read(file)
        return MappedTensors(path, {key: _place(key, tensor, runs) for key, tensor in found.items()})
    except InputError as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    except Exception as error:  # bytes of a damaged file make the readers of zips and numbers raise almost anything
        raise InputError(f"{path} is no readable PyTorch file: {type(error).__name__}: {str(error)[:200]}") from None


def _read(file: BinaryIO) -> tuple[dict[str, StoredTensor], dict[str, _Run]]:
    start = file.read(512)
    file.seek(0)
    if start.startswith(_LFS_POINTER):
        raise InputError("it is a pointer of Git LFS; fetch the file itself with `git lfs pull`")
    if start[257:262] == b"ustar":
        raise InputError("it was written by a PyTorch older than 0.1.10: load and save it with a newer one")
    state, runs = _read_zip(file) if start.startswith(_ZIP_MAGIC) else _read_legacy(file)
    if not isinstance(state, dict):
        raise InputError(f"it holds a {type(state).__name__}, expected a dict of tensors")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, StoredTensor):
            raise InputError(
                f"it holds a {type(value).__name__} under {str(key)[:100]!a}, expected a dict of tensors only"
            )
    return state, runs


def _read_zip(file: BinaryIO) -> tuple[Any, dict[str, _Run]]:
    with zipfile.ZipFile(file) as archive:
        members = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise InputError(f"it is a zip archive with {len(pickles)} data.pkl, expected one")
    folder = pickles[0].removesuffix("data.pkl")
    if (order := members.get(f"{folder}byteorder")) is not None and _content(file, order, 16) == b"big":
        raise InputError("its numbers are big-endian, which is not supported")
    pickle = _locate(file, members[pickles[0]])
    file.seek(pickle.start)
    machine = TensorPickle()
    state = machine.load(Bounded(file, pickle.size))
    runs = {}
    for key, storage in machine.storages.items():
        name = f"{folder}data/{key}"
        if name not in members:
            raise InputError(f"its archive has no {name[:100]!a}")
        run = runs[key] = _locate(file, members[name])
        if run.size != storage.size * storage.dtype.itemsize:
            expected = storage.size * storage.dtype.itemsize
            raise InputError(f"its storage {name[:100]!a} has {run.size} bytes, expected {expected}")
    return state, runs


def _locate(file: BinaryIO, member: zipfile.ZipInfo) -> _Run:
    """Where the bytes of an uncompressed member lie: behind its own header, whose length only that header says."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise InputError(
            f"its member {member.filename[:100]!a} is compressed or encrypted, which torch.save never does"
        )
    file.seek(member.header_offset)
    header = file.read(30)
    if len(header) != 30 or not header.startswith(_ZIP_MAGIC):
        raise InputError(f"its member {member.filename[:100]!a} is not where the archive says")
    name, extra = struct.unpack("<HH", header[26:])
    return _Run(member.header_offset + 30 + name + extra, member.file_size)


def _content(file: BinaryIO, member: zipfile.ZipInfo, limit: int) -> bytes:
    run = _locate(file, member)
    file.seek(run.start)
    return file.read(min(run.size, limit)).strip()


def _read_legacy(file: BinaryIO) -> tuple[Any, dict[str, _Run]]:
    machine = TensorPickle()
    magic, protocol, system = (machine.load(Bounded(file)) for _ in range(3))
    if type(magic) is not int or magic != _LEGACY_MAGIC:
        raise InputError("it does not begin as torch.save's files do")
    if type(protocol) is not int or protocol != _LEGACY_PROTOCOL:
        raise InputError(f"its protocol is another than {_LEGACY_PROTOCOL}")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise InputError("its numbers are big-endian, which is not supported")
    state, keys = machine.load(Bounded(file)), machine.load(Bounded(file))
    start = file.tell()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise InputError("it has no list of its storages")
    if len(set(keys)) != len(keys) or set(keys) != set(machine.storages):
        raise InputError("the storages that it lists are not those that its tensors refer to")
    end = file.seek(0, 2)
    runs = {}
    for key in keys:
        storage = machine.storages[key]
        file.seek(start)
        if file.read(8) != struct.pack("<q", storage.size):
            raise InputError(f"its storage {key[:50]!a} is cut off, or of another size than its tensors expect")
        run = runs[key] = _Run(start + 8, storage.size * storage.dtype.itemsize)
        start = run.start + run.size
        if start > end:
            raise InputError(f"it ends at byte {end}, within the storage {key[:50]!a}, which ends at {start}")
    return state, runs


def _place(key: str, tensor: StoredTensor, runs: dict[str, _Run]) -> Place:
    storage, item = tensor.storage, tensor.storage.dtype.itemsize
    # A dimension of one element has any stride in PyTorch, however large.
    strides = [stride * item if size > 1 else item for size, stride in zip(tensor.shape, tensor.strides, strict=True)]
    offset = runs[storage.key].start + (storage.first + tensor.offset) * item
    if 0 in tensor.shape:
        offset = runs[storage.key].start  # torch lets an empty tensor begin anywhere
    return Place(storage.dtype, tensor.shape, tuple(strides), offset)
