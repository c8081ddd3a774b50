"""PyTorch's files without torch: every tensor comes back as it was, and nothing that a file asks for is run."""

import builtins
import os
import pickle
import zipfile

import hypothesis
import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies

from jaxpeft.errors import InputError
from jaxpeft.models.torch_files import open_torch
from tests import torch_writer as writer
from tests.torch_writer import FORMS, plain, state, storage, tensor, write

every_form = pytest.mark.parametrize("form", FORMS)
NUMBERS = np.arange(60, dtype=np.float32)


def opened(folder, content: bytes):
    path = folder / "pytorch_model.bin"
    path.write_bytes(content)
    file = open_torch(path)
    return {key: file.read(key) for key in file.keys()}  # noqa: SIM118 (no mapping)


def refused(folder, content: bytes, *fragments: str):
    with pytest.raises(InputError) as raised:
        opened(folder, content)
    for fragment in ("pytorch_model.bin", *fragments):
        assert fragment in str(raised.value)


def one(form: str, *view, values=NUMBERS, stored: bytes | None = None, **changes) -> bytes:
    """A file with the tensor `t`: a view of the storage of `values`."""
    stored = storage("0", "Float", len(values), form) if stored is None else stored
    return write(form, state({"t": tensor(stored, *view)}), {"0": values}, **changes)


@every_form
def test_every_type_comes_back_bit_by_bit(tmp_path, form):
    generator = np.random.default_rng(0)
    arrays = {}
    for kind, dtype in writer.TYPES.items():
        values = generator.integers(0, 2, (3, 5)) if kind == "Bool" else generator.normal(0, 50, (3, 5))
        arrays[f"layer.{kind}"] = values.astype(np.int64).astype(dtype) if kind == "Byte" else values.astype(dtype)
    arrays["scalar"], arrays["none"] = np.array(7, np.float32), np.zeros((0, 4), np.float32)
    found = opened(tmp_path, writer.dense(form, arrays))
    assert list(found) == list(arrays)
    for key, array in arrays.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()


@every_form
@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (6, 10), (1, 6)),  # transposed
        (7, (3, 4), (20, 2)),  # every other element
        (2, (5, 3), (0, 1)),  # one row, five times
        (59, (1, 1), (10**9, 5)),  # a single element's strides say nothing
        (60, (0, 3), (3, 1)),
        (4, (2, 3, 2), (24, 2, 7)),
    ],
)
def test_views_are_read_as_torch_reads_them(tmp_path, form, offset, shape, strides):
    expected = np.zeros(shape, np.float32)
    for index in np.ndindex(*shape):
        expected[index] = NUMBERS[offset + sum(i * stride for i, stride in zip(index, strides, strict=True))]
    np.testing.assert_array_equal(opened(tmp_path, one(form, offset, shape, strides))["t"], expected)


@every_form
def test_tensors_share_a_storage(tmp_path, form):
    stored = storage("0", "Float", 60, form)
    items = {"a": tensor(stored, 0, (6, 10), (10, 1)), "tied": tensor(stored, 0, (6, 10), (10, 1))}
    items["part"] = writer.parameter(tensor(stored, 20, (2, 10), (10, 1)))
    items["old"] = tensor(stored, 3, (4,), (1,), function="_rebuild_tensor")
    found = opened(tmp_path, write(form, state(items), {"0": NUMBERS}))
    np.testing.assert_array_equal(found["a"], NUMBERS.reshape(6, 10))
    np.testing.assert_array_equal(found["tied"], found["a"])
    np.testing.assert_array_equal(found["part"], found["a"][2:4])
    np.testing.assert_array_equal(found["old"], NUMBERS[3:7])


def test_a_storage_inside_another_is_found_by_its_offset(tmp_path):
    for first, length, fits in ((20, 10, True), (55, 10, False)):
        view = b"(" + plain("inner") + plain(first) + plain(length) + b"t"
        content = one("legacy", 2, (8,), (1,), stored=storage("0", "Float", 60, "legacy", view))
        if fits:
            np.testing.assert_array_equal(opened(tmp_path, content)["t"], NUMBERS[22:30])
        else:
            refused(tmp_path, content, "beyond the storage")


@every_form
def test_dicts_of_every_python(tmp_path, form):
    item = tensor(storage("0", "Float", 60, form), 0, (60,), (1,))
    python2 = b"\x80\x02ccollections\nOrderedDict\n](](U\x01t" + item + b"ee\x85R."
    attributes = state({"t": item})[:-1] + b"}" + plain("_metadata") + plain({"": {"version": 1}}) + b"sb."
    for pickled in (python2, attributes, state({"t": item}, begin=b"}")):
        np.testing.assert_array_equal(opened(tmp_path, write(form, pickled, {"0": NUMBERS}))["t"], NUMBERS)


def test_unaligned_numbers_are_read(tmp_path):
    values = {"0": np.arange(3, dtype=np.int8), "1": np.arange(5.0), "2": np.arange(5, dtype=ml_dtypes.bfloat16)}
    found = opened(tmp_path, writer.dense("legacy", values))
    assert not found["1"].flags.aligned
    for key, array in values.items():
        np.testing.assert_array_equal(found[key].astype(np.float32), array.astype(np.float32))


# --- what is refused by its name ---


class Call:
    """Pickles as a call, as in the wild."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(marker) -> dict[str, tuple[bytes, str]]:
    """Opcodes that would make the file `marker`, and the name that must be in the refusal."""
    shell, code = f"touch {marker}", f"open({str(marker)!r}, 'w')"
    objects = np.array([Call(os.system, shell)], dtype=object)
    return {
        "system": (plain(Call(os.system, shell)), "os.system"),
        "system, by hand": (b"cos\nsystem\n" + plain((shell,)) + b"R", "os.system"),
        "system, stacked": (plain("os") + plain("system") + b"\x93" + plain((shell,)) + b"R", "os.system"),
        "system, instance": (b"(" + plain(shell) + b"ios\nsystem\n", "os.system"),
        "eval": (plain(Call(eval, code)), "builtins.eval"),
        "eval, by hand": (b"cbuiltins\neval\n" + plain((code,)) + b"R", "builtins.eval"),
        "nested": (plain(Call(list, Call(map, builtins.exec, [code]))), "list"),
        "nested in a tensor": (tensor(plain(Call(eval, code)), 0, (1,), (1,)), "eval"),
        "nested in a dict": (b"ccollections\nOrderedDict\n" + plain(([["a", Call(eval, code)]],)) + b"R", "eval"),
        "nested in a reference": (plain(("storage", Call(eval, code))) + b"Q", "eval"),
        "getattr": (b"cbuiltins\ngetattr\n(ctorch\nFloatStorage\n" + plain("__class__") + b"tR", "builtins.getattr"),
        "objects of numpy": (plain(objects), "multiarray._reconstruct"),
        "its attribute": (b"ccollections\nOrderedDict.__init__\n", "collections.OrderedDict.__init__"),
        "neighbour": (b"ctorch._utils\n_rebuild_sparse_tensor\n", "torch._utils._rebuild_sparse_tensor"),
        "extension": (b"\x82\x01", "EXT1"),
        "result called": (writer.ORDERED + b")R", "calls a dict"),
        "type called": (b"ctorch\nFloatStorage\n)R", "calls a"),
        "made new": (b"ccollections\nOrderedDict\n)\x81", "NEWOBJ"),
        "attributes of a function": (b"ctorch._utils\n_rebuild_tensor\n}b", "a Function in place of a dict"),
    }


@every_form
@pytest.mark.parametrize("attack", attacks("x"))
def test_whatever_is_no_tensor_is_refused_by_its_name(tmp_path, form, attack):
    marker = tmp_path / "run"
    opcodes, name = attacks(marker)[attack]
    refused(tmp_path, write(form, state({"t": opcodes}), {}), name)
    refused(tmp_path, write(form, b"\x80\x02" + opcodes + b".", {}), name)
    refused(tmp_path, b"\x80\x02" + opcodes + b".", name)  # a pickle without either form around it
    with_metadata = state({})[:-1] + b"}" + plain("_metadata") + opcodes + b"sb."
    refused(tmp_path, write(form, with_metadata, {}), name)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_attacks_in_every_protocol(tmp_path, protocol):
    marker = tmp_path / "run"
    pickled = pickle.dumps({"t": Call(os.system, f"touch {marker}")}, protocol)
    for content in (pickled, write("zip", pickled, {}), write("legacy", pickled, {})):
        refused(tmp_path, content, "os.system")
    assert not marker.exists()


# --- what is damaged or does not fit ---


@every_form
@pytest.mark.parametrize(
    ("view", "fragment"),
    [
        ((1, (6, 10), (10, 1)), "beyond the storage '0'"),
        ((0, (6, 10), (11, 1)), "beyond the storage '0'"),
        ((-1, (6,), (1,)), "negative"),
        ((0, (6,), (-1,)), "negative"),
        ((0, (1 << 70, 1), (0, 0)), "larger than any file"),
        ((0, (1 << 31, 1 << 31, 1 << 31), (0, 0, 0)), "larger than any memory"),
        ((0, (6, 1), (1,)), "2 dimensions and 1 strides"),
        ((0, (1,) * 65, (0,) * 65), "65 dimensions"),
        ((0, [6], [1]), "a list in place of a tuple"),
        ((0, (True,), (1,)), "a bool in place of a size"),
        ((0.0, (6,), (1,)), "a float in place of a size"),
    ],
)
def test_views_that_do_not_fit_are_refused(tmp_path, form, view, fragment):
    refused(tmp_path, one(form, *view), fragment)


@every_form
def test_storages_that_do_not_fit_are_refused(tmp_path, form):
    whole = (0, (60,), (1,))
    refused(tmp_path, one(form, *whole, values=NUMBERS[:59], stored=storage("0", "Float", 60, form)), "storage")
    refused(
        tmp_path, one(form, *whole, stored=storage("1", "Float", 60, form)), "storage" if form == "legacy" else "data/1"
    )
    refused(tmp_path, one(form, *whole, stored=storage("0", "ComplexFloat", 60, form)), "torch.ComplexFloatStorage")
    refused(tmp_path, one(form, *whole, byteorder="big"), "big-endian")
    both = {name: tensor(storage("0", kind, 60, form), *whole) for name, kind in (("a", "Float"), ("b", "Int"))}
    refused(tmp_path, write(form, state(both), {"0": NUMBERS}), "two types or sizes")
    other = plain(("module", 1, "0", "cpu", 60)) + b"Q"
    refused(tmp_path, write(form, state({"t": other}), {"0": NUMBERS}), "expected a storage")
    refused(tmp_path, write(form, state({"t": plain("text") + b"Q"}), {}), "no storage")


@every_form
def test_what_is_no_dict_of_tensors_is_refused(tmp_path, form):
    refused(tmp_path, write(form, b"\x80\x02].", {}), "holds a list")
    refused(tmp_path, write(form, state({"model": b"}"}), {}), "holds a dict under 'model'")
    refused(tmp_path, write(form, b"\x80\x02}))s.", {}), "tuple as the key")  # hashing nested tuples takes for ever
    metadata = tensor(storage("0", "Float", 60, form), 0, (60,), (1,))[:-2] + b"}" + plain("neg") + b"\x88stR"
    refused(tmp_path, write(form, state({"t": metadata}), {"0": NUMBERS}), "metadata")


@every_form
@pytest.mark.parametrize(
    "opcodes",
    [
        b"r\xff\xff\xff\xff",  # a memo of four billion entries
        b"X\xff\xff\xff\x7f",  # a string of 2 GiB
        b"\x8d" + b"\xff" * 7 + b"\x7f",  # of 2^63 bytes
        b"L" + b"9" * 5000 + b"L\n",  # a number that takes long to read
        b"\x8b\xff\xff\xff\x7f",
        b"\xff",
        b"0",  # pops what is not there
        b"h\x07",  # an entry of the memo that was never made
        b"tR",
    ],
)
def test_lengths_that_lie_are_refused(tmp_path, form, opcodes):
    refused(tmp_path, write(form, b"\x80\x02" + opcodes + b".", {}))


def test_other_files_are_refused_with_what_they_are(tmp_path):
    refused(tmp_path, b"", "no readable PyTorch file")
    refused(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git lfs pull")
    refused(tmp_path, b"\0" * 257 + b"ustar" + b"\0" * 512, "older than 0.1.10")
    refused(tmp_path, one("zip", 0, (60,), (1,), compression=zipfile.ZIP_DEFLATED), "compressed")
    refused(tmp_path, one("legacy", 0, (60,), (1,), magic=1), "does not begin")
    refused(tmp_path, one("legacy", 0, (60,), (1,), protocol=7), "protocol")
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        archive.writestr("a/b.txt", "x")
    refused(tmp_path, (tmp_path / "model.zip").read_bytes(), "0 data.pkl")


# --- fuzz ---

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=ml_dtypes.bfloat16),
    "c": np.arange(4),
}
WHOLE = {form: writer.dense(form, ARRAYS) for form in FORMS}


@every_form
@hypothesis.given(cut=strategies.integers(0, 10_000))
def test_a_truncated_file_is_refused(tmp_path_factory, form, cut):
    refused(tmp_path_factory.getbasetemp(), WHOLE[form][: cut % len(WHOLE[form])])


@every_form
@hypothesis.settings(max_examples=400)
@hypothesis.given(data=strategies.data())
def test_a_damaged_file_is_refused_or_right_where_it_is_whole(tmp_path_factory, form, data):
    content = bytearray(WHOLE[form])
    position = strategies.integers(0, len(content) - 1)
    for place, byte in data.draw(
        strategies.lists(strategies.tuples(position, strategies.integers(0, 255)), max_size=4)
    ):
        content[place] = byte
    read_or_refused(tmp_path_factory.getbasetemp(), form, bytes(content))


@every_form
@hypothesis.settings(max_examples=200)
@hypothesis.given(pickled=strategies.binary(max_size=60), attack=strategies.sampled_from(sorted(attacks("x"))))
def test_pickles_of_any_bytes_are_refused_or_hold_tensors(tmp_path_factory, form, pickled, attack):
    folder = tmp_path_factory.getbasetemp()
    opcodes, _ = attacks(folder / "run")[attack]
    for part in (pickled, opcodes + pickled, pickled + opcodes):
        read_or_refused(folder, form, write(form, b"\x80\x02" + part + b".", {}))
    assert not (folder / "run").exists()


def read_or_refused(folder, form: str, content: bytes) -> None:
    try:
        found = opened(folder, content)
    except InputError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())
    for key, array in ARRAYS.items():  # a tensor whose bytes, name and place are whole is right
        start = WHOLE[form].index(array.tobytes())
        whole = content[start : start + array.nbytes] == array.tobytes()
        described = content[: WHOLE[form].index(b"version" if form == "zip" else array.tobytes())]
        if whole and WHOLE[form].startswith(described):
            np.testing.assert_array_equal(found[key], array)
