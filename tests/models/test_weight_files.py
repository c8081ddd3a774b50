"""Weight files of a folder: which are read, lying safetensors headers, and how tensors stream into a model."""

import json
import tracemalloc

import hypothesis
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import strategies

from jaxpeft.errors import InputError
from jaxpeft.models import host_arrays
from jaxpeft.models.pretrained import Checkpoint, load, match, read_config
from jaxpeft.models.weight_files import open_folder, open_safetensors
from jaxpeft.peft import flatten
from jaxpeft.training import system
from tests import tiny, torch_writer

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(6, dtype=ml_dtypes.bfloat16),
    "c": np.arange(4),
    "d": np.array([1.5, -2.0], np.float16),
    "scalar": np.array(3.0),
    "none": np.zeros((0, 4), np.float32),
}


def opened(path):
    file = open_safetensors(path)
    return {key: file.read(key) for key in file.keys()}  # noqa: SIM118 (no mapping)


def test_safetensors_come_back_bit_by_bit(tmp_path):
    safetensors.numpy.save_file(ARRAYS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = opened(tmp_path / "model.safetensors")
    assert found.keys() == ARRAYS.keys()
    for key, array in ARRAYS.items():
        assert (found[key].dtype, found[key].shape) == (array.dtype, array.shape)
        assert found[key].tobytes() == array.tobytes()


ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}
LIES = {
    "beyond the file": {"a": ENTRY | {"shape": [2, 6], "data_offsets": [0, 48]}},
    "overlap": {"a": ENTRY, "b": ENTRY},
    "half an overlap": {"a": ENTRY, "b": ENTRY | {"data_offsets": [12, 36]}},
    "a gap": {"a": ENTRY | {"shape": [3], "data_offsets": [12, 24]}},
    "not all of the file": {"a": ENTRY | {"shape": [3], "data_offsets": [0, 12]}},
    "a shape of another size": {"a": ENTRY | {"shape": [2, 2]}},
    "a shape beyond all numbers": {"a": ENTRY | {"shape": [1 << 40, 1 << 40]}},
    "a negative size": {"a": ENTRY | {"shape": [-2, -3]}},
    "backwards": {"a": ENTRY | {"data_offsets": [24, 0]}},
    "an unknown type": {"a": ENTRY | {"dtype": "F99"}},
    "a quantised type": {"a": ENTRY | {"dtype": "F8_E4M3", "shape": [24]}},
    "no offsets": {"a": {"dtype": "F32", "shape": [2, 3]}},
    "a list": [ENTRY],
    "text": "a",
    "metadata of the wrong kind": {"__metadata__": {"a": 1}, "a": ENTRY},
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused(tmp_path, lie):
    header = json.dumps(LIES[lie]).encode()
    refused_bytes(tmp_path, len(header).to_bytes(8, "little") + header + bytes(24))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        bytes(8),
        (1 << 63).to_bytes(8, "little") + b"{}",  # a header larger than any file
        (200 << 20).to_bytes(8, "little") + b"{}",
        (2).to_bytes(8, "little") + b"{",
        (2).to_bytes(8, "little") + b"\xff\xff",
        (20_000).to_bytes(8, "little") + b"[" * 20_000,
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path, content):
    refused_bytes(tmp_path, content)


def refused_bytes(folder, content: bytes) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors"):
        opened(path)


WHOLE = safetensors.numpy.save(ARRAYS)


@hypothesis.given(cut=strategies.integers(0, len(WHOLE) - 1))
def test_a_truncated_file_is_refused(tmp_path_factory, cut):
    refused_bytes(tmp_path_factory.getbasetemp(), WHOLE[:cut])


@hypothesis.settings(max_examples=400)
@hypothesis.given(data=strategies.data())
def test_a_damaged_file_is_refused_or_right_where_it_is_whole(tmp_path_factory, data):
    content = bytearray(WHOLE)
    position = strategies.integers(0, len(content) - 1)
    for place, byte in data.draw(
        strategies.lists(strategies.tuples(position, strategies.integers(0, 255)), max_size=4)
    ):
        content[place] = byte
    path = tmp_path_factory.getbasetemp() / "fuzzed.safetensors"
    path.write_bytes(content)
    try:
        found = opened(path)
    except InputError:
        return
    length = 8 + int.from_bytes(WHOLE[:8], "little")
    if content[:length] == WHOLE[:length]:
        with safetensors.safe_open(path, framework="numpy") as expected:
            assert all(found[key].tobytes() == expected.get_tensor(key).tobytes() for key in ARRAYS)


# --- folders ---


def torch_folder(folder, form: str, weights=None, **changes):
    """A model folder whose weights are PyTorch's."""
    tiny.write_base(folder)
    (folder / "model.safetensors").unlink()
    content = torch_writer.dense(form, tiny.tensors(labels=3) if weights is None else weights, **changes)
    (folder / "pytorch_model.bin").write_bytes(content)
    return folder


def filled(folder, dtype=jnp.float32):
    model = system.abstract(tiny.experiment(folder, folder), read_config(folder), len(tiny.LABELS))
    checkpoint = Checkpoint(folder, model)
    found = match(model, checkpoint.shapes())
    return model, load(model, checkpoint, found.new, jax.random.key(0), dtype_of=lambda path: dtype)


@pytest.mark.parametrize("form", torch_writer.FORMS)
def test_pytorch_files_fill_the_same_model_under_the_same_identity(tmp_path, form):
    expected, sha256 = filled(tiny.write_base(tmp_path / "safetensors", tiny.tensors(labels=3)))
    for transposed in (False, True):  # how a tensor lies in its file is no part of its identity
        model, same = filled(torch_folder(tmp_path / f"{form}-{transposed}", form, transposed=transposed))
        assert same == sha256
        jax.tree.map(np.testing.assert_array_equal, flatten(model)[1], flatten(expected)[1])


def test_shards_of_pytorch_files_are_read_like_one(tmp_path):
    folder, weights = torch_folder(tmp_path, "zip"), tiny.tensors(labels=3)
    whole = filled(folder)[1]
    (folder / "pytorch_model.bin").unlink()
    index = {key: f"pytorch_model-{number % 2}.bin" for number, key in enumerate(weights)}
    for number, form in enumerate(torch_writer.FORMS):
        shard = {key: weights[key] for key, file in index.items() if file == f"pytorch_model-{number}.bin"}
        (folder / f"pytorch_model-{number}.bin").write_bytes(torch_writer.dense(form, shard))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": index}))
    assert filled(folder)[1] == whole
    (folder / "pytorch_model-1.bin").write_bytes((folder / "pytorch_model-0.bin").read_bytes())
    with pytest.raises(InputError, match=r"both pytorch_model-0\.bin and pytorch_model-1\.bin hold"):
        filled(folder)
    (folder / "pytorch_model-1.bin").unlink()
    with pytest.raises(InputError, match=r"names pytorch_model-1\.bin, which are not in the folder"):
        filled(folder)


def test_safetensors_are_preferred(tmp_path):
    folder = torch_folder(tmp_path, "zip")
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    safetensors.numpy.save_file(ARRAYS, folder / "model.safetensors")
    assert open_folder(folder).keys() == ARRAYS.keys()


@pytest.mark.parametrize(
    ("index", "fragment"),
    [
        ({"weight_map": {"a": "../model.safetensors"}}, "of its own folder"),
        ({"weight_map": {"a": "/etc/passwd"}}, "of its own folder"),
        ({"weight_map": {"a": "pytorch_model.bin"}}, r"expected \.safetensors files"),
        ({"weight_map": {"a": 5}}, "no weight index"),
        ({"weight_map": ["a"]}, "no weight index"),
        ({}, "no weight index"),
        ([], "no weight index"),
    ],
)
def test_an_index_of_other_files_is_refused(tmp_path, index, fragment):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match=fragment):
        open_folder(tmp_path)


def test_numbers_of_a_quantised_model_are_refused(tmp_path):
    weights = tiny.tensors()
    weights["bert.encoder.layer.1.output.dense.weight"] = np.ones((24, 40), np.int8)
    with pytest.raises(InputError, match=r"layer\.1\.output\.dense\.weight holds int8"):
        filled(tiny.write_base(tmp_path, weights))


@pytest.mark.parametrize("of", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
@pytest.mark.parametrize("to", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(130, 70), (64, 64), (3, 200), (1, 1)])
def test_blocks_of_a_transposed_leaf_meet(of, to, shape):
    values = np.random.default_rng(0).normal(size=shape).astype(of)
    slot = np.zeros((2, *shape[::-1]), to)[1]
    host_arrays.copy_transposed(values, slot)
    np.testing.assert_array_equal(slot, values.T.astype(to))


# --- memory ---


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("form", ["safetensors", *torch_writer.FORMS])
def test_the_host_holds_one_copy_and_jax_uses_it(tmp_path, monkeypatch, form, dtype):
    sizes = {"hidden_size": 128, "intermediate_size": 512, "vocab_size": 1000, "num_hidden_layers": 4}
    weights = tiny.tensors(labels=3, **sizes)
    folder = tiny.write_base(tmp_path, weights) if form == "safetensors" else torch_folder(tmp_path, form, weights)
    (folder / "config.json").write_text(json.dumps(tiny.SIZES | sizes))
    filled(folder, dtype)  # whatever is imported or compiled on the way
    aligned, addresses = host_arrays.aligned, set()

    def noted(*arguments):
        leaf = aligned(*arguments)
        addresses.add(leaf.ctypes.data)
        return leaf

    monkeypatch.setattr(host_arrays, "aligned", noted)
    tracemalloc.start()
    try:
        model, _ = filled(folder, dtype)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    leaves = flatten(model)[1].values()
    size = sum(leaf.nbytes for leaf in leaves)
    assert size > 1.5e6
    assert size <= peak < 1.05 * size + 300_000  # Python's own objects; NumPy's memory is traced, JAX's is not:
    assert {leaf.unsafe_buffer_pointer() for leaf in leaves} == addresses
