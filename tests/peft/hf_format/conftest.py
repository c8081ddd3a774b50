"""A base and an adapter on it, for tests of PEFT's format."""

import json

import pytest
from safetensors.numpy import load_file, save_file

from tests import tiny
from tests.peft.hf_adapters import written


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    """A checkpoint without a pooler and without a head. To be read only, as all here."""
    return tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(pooler=False))


@pytest.fixture(scope="session")
def with_pooler(tmp_path_factory):
    return tiny.write_base(tmp_path_factory.mktemp("pooler"))


@pytest.fixture(scope="session")
def plain(tmp_path_factory, base):
    """A LoRA adapter of ours."""
    folder = tmp_path_factory.mktemp("plain") / "adapter"
    written(folder, base)
    return folder


@pytest.fixture
def changed(tmp_path, plain):
    """Writes a copy of the adapter as PEFT would have: other tensors, other keys."""

    def write(tensors=lambda tensors: tensors, **keys):
        settings = json.loads((plain / "adapter_config.json").read_text()) | keys
        kept = {name: value for name, value in settings.items() if value is not ...}
        (tmp_path / "adapter_config.json").write_text(json.dumps(kept))
        save_file(tensors(load_file(plain / "adapter_model.safetensors")), tmp_path / "adapter_model.safetensors")
        return tmp_path

    return write
