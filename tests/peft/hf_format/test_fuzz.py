"""Adapters in PEFT's format without PEFT: whatever a file holds, it is read or refused with a message."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from jaxpeft import peft
from jaxpeft.config import PeftConfig
from jaxpeft.errors import InputError
from jaxpeft.peft.hf_config import combine, peft_config_from
from jaxpeft.peft.hf_format import FORMATS, import_tensors
from jaxpeft.training.adapter_folder import read_adapter
from jaxpeft.training.system import abstract
from tests import tiny
from tests.peft.hf_adapters import built, config_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=4,
)


@pytest.fixture(scope="module")
def target(base):
    """The base's model and a system on it, for many readings."""
    model = abstract(config_of(base), tiny.SIZES, 3)
    _, system = built(base)
    return model, system


def read(folder, target):
    """Reads an adapter as a run does, without building the base again: InputError is fine, all else is not."""
    model, system = target
    try:
        adapter = read_adapter(folder)
        found = combine(model, PeftConfig(), peft_config_from(model, adapter.config, adapter.shapes))
        assert found.method in peft.METHODS
        whole = peft.unflatten(system.graphdef, {**system.trainable, **system.frozen})
        filled, _ = import_tensors(whole, system.labels, "lora", adapter.tensors)
    except InputError:
        return
    assert all(np.isfinite(leaf).all() for leaf in filled.values())


ROLES = sorted({role for form in FORMATS.values() for role in form.roles})
FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@FUZZ
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json", "labels.json"])
def test_flipped_bytes_are_an_input_error_or_nothing(tmp_path, plain, target, name, flips):
    for path in plain.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    content = bytearray((plain / name).read_bytes())
    for place, flip in flips:  # half of the places in the header of the tensors
        content[int(place * min(len(content), 4000 if place < 0.5 else len(content)))] ^= flip
    (tmp_path / name).write_bytes(bytes(content))
    read(tmp_path, target)


@FUZZ
@given(key=st.sampled_from(sorted([*json.loads('{"peft_type": 1, "r": 1}'), "x"])), value=JSON, data=st.data())
def test_any_values_in_the_settings_are_an_input_error_or_nothing(tmp_path, plain, target, key, value, data):
    config = json.loads((plain / "adapter_config.json").read_text())
    config |= {name: data.draw(JSON) for name in data.draw(st.lists(st.sampled_from(sorted(config)), max_size=3))}
    (tmp_path / "adapter_config.json").write_text(json.dumps(config | {key: value}))
    (tmp_path / "adapter_model.safetensors").write_bytes((plain / "adapter_model.safetensors").read_bytes())
    read(tmp_path, target)


@FUZZ
@given(data=st.data())
def test_any_names_and_shapes_of_tensors_are_an_input_error_or_nothing(tmp_path, plain, target, data):
    tensors = load_file(plain / "adapter_model.safetensors")
    parts = st.sampled_from([*sorted(tensors), "base_model.model.", ".lora_A.weight", *ROLES, ".", "é"])
    for name in data.draw(st.lists(st.sampled_from(sorted(tensors)), max_size=3, unique=True)):
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3))
        values = tensors.pop(name)
        new = "".join(data.draw(st.lists(parts, min_size=1, max_size=2)))
        tensors[new] = data.draw(st.sampled_from([values, np.ones(shape, np.float32)]))
    config = json.loads((plain / "adapter_config.json").read_text())
    config["peft_type"] = data.draw(st.sampled_from([form.peft_type for form in FORMATS.values()]))
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {name: np.ascontiguousarray(one) for name, one in tensors.items()}, tmp_path / "adapter_model.safetensors"
    )
    read(tmp_path, target)
