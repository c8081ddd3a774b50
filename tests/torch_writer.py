"""Writes the two forms of PyTorch's files without torch, opcode by opcode: what readers are tested and fuzzed with."""

import io
import pickle
import zipfile

import ml_dtypes
import numpy as np

TYPES = {
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
FORMS = ("zip", "legacy")
MAGIC = 0x1950A86A20F9469CFC6C
ORDERED = b"ccollections\nOrderedDict\n)R"


def plain(value) -> bytes:
    """The opcodes of a str, int, tuple and the like."""
    return pickle.dumps(value, 2)[2:-1]


def storage(key: str, kind: str, size, form: str, view: bytes = b"N") -> bytes:
    """A persistent reference to a storage."""
    last = view if form == "legacy" else b""
    return (
        b"("
        + plain("storage")
        + f"ctorch\n{kind}Storage\n".encode()
        + plain(key)
        + plain("cpu")
        + plain(size)
        + last
        + b"tQ"
    )


def tensor(stored: bytes, offset, shape, strides, *, function: str = "_rebuild_tensor_v2") -> bytes:
    """A call that makes a tensor; offset and strides count elements."""
    rest = b"\x89" + ORDERED if function.endswith("v2") else b""
    arguments = b"(" + stored + plain(offset) + plain(shape) + plain(strides) + rest + b"t"
    return f"ctorch._utils\n{function}\n".encode() + arguments + b"R"


def parameter(inner: bytes) -> bytes:
    """A tensor wrapped as a module's parameter."""
    return b"ctorch._utils\n_rebuild_parameter\n(" + inner + b"\x88" + ORDERED + b"tR"


def state(items: dict[str, bytes], *, begin: bytes = ORDERED) -> bytes:
    """The pickle of a dict."""
    return b"\x80\x02" + begin + b"(" + b"".join(plain(key) + value for key, value in items.items()) + b"u."


def write(form: str, pickled: bytes, storages: dict[str, np.ndarray], **changes) -> bytes:
    """A file of either form around a pickle and its storages; `changes` are parts to write otherwise."""
    if form == "zip":
        found = io.BytesIO()
        with zipfile.ZipFile(found, "w", changes.get("compression", zipfile.ZIP_STORED)) as archive:
            archive.writestr("archive/data.pkl", pickled)
            archive.writestr("archive/byteorder", changes.get("byteorder", "little"))
            for key, values in storages.items():
                archive.writestr(f"archive/data/{key}", values.tobytes())
            archive.writestr("archive/version", "3\n")
        return found.getvalue()
    system = {"protocol_version": 1001, "little_endian": changes.get("byteorder") != "big", "type_sizes": {"int": 4}}
    head = [changes.get("magic", MAGIC), changes.get("protocol", 1001), system]
    parts = [pickle.dumps(part, 2) for part in head] + [pickled, pickle.dumps(sorted(storages), 2)]
    parts += [len(storages[key]).to_bytes(8, "little") + storages[key].tobytes() for key in sorted(storages)]
    return b"".join(parts)


def dense(form: str, arrays: dict[str, np.ndarray], *, transposed: bool = False) -> bytes:
    """A file of tensors, a storage each: in C order, or all `transposed` in their storages."""
    names = {np.dtype(dtype): kind for kind, dtype in TYPES.items()}
    items, storages = {}, {}
    for number, (key, array) in enumerate(arrays.items()):
        storages[str(number)] = array.T.reshape(-1) if transposed else array.reshape(-1)
        placed = np.array(array, order="F" if transposed else "C")
        strides = tuple(stride // array.itemsize for stride in placed.strides)
        items[key] = tensor(storage(str(number), names[array.dtype], array.size, form), 0, array.shape, strides)
    return write(form, state(items), storages)
