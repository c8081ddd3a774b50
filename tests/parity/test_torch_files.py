"""Files that torch itself wrote, in both forms and every pickle protocol, against what torch reads."""

import collections

import ml_dtypes
import numpy as np
import pytest
import torch
import transformers

from jaxpeft.models.pretrained import Checkpoint, match, read_config
from jaxpeft.models.torch_files import open_torch
from jaxpeft.training import system
from tests import tiny

from . import peers

DTYPES = ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
FORMS = {"zip": True, "legacy": False}


def state() -> dict[str, torch.Tensor]:
    """Every type, and every way in which a tensor can lie in its storage."""
    generator = torch.Generator().manual_seed(0)
    found = collections.OrderedDict()
    for name in DTYPES:
        values = torch.randn(7, 5, generator=generator) * 50
        found[f"type.{name}"] = (
            values.abs().to(getattr(torch, name)) if name == "uint8" else values.to(getattr(torch, name))
        )
    base = torch.randn(6, 8, 4, generator=generator)
    found |= {
        "transposed": base[0].T,
        "permuted": base.permute(2, 0, 1),
        "sliced": base[1:5:2, :, 1],
        "narrow": base[3],
        "expanded": base[0, 0, :1].expand(3),
        "diagonal": base[2].diagonal(),
        "tied": base,
        "scalar": torch.tensor(3.5),
        "none": torch.zeros(0, 3),
        "end": base.flatten()[192:],
        "parameter": torch.nn.Parameter(base[5]),
        "trained": torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16)),
    }
    return found


def assert_same(path, expected) -> None:
    file = open_torch(path)
    assert set(file.keys()) == set(expected)
    for key, tensor in expected.items():
        array = file.read(key)
        assert file.shape(key) == array.shape == tuple(tensor.shape)
        tensor = tensor.detach()
        if tensor.dtype == torch.bfloat16:
            assert array.dtype == ml_dtypes.bfloat16
            array, tensor = array.astype(np.float32), tensor.float()
        assert array.dtype == tensor.numpy().dtype, key
        np.testing.assert_array_equal(array, tensor.numpy(), err_msg=key)


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("form", FORMS)
def test_what_torch_saved_is_read_as_torch_reads_it(tmp_path, form, protocol):
    path = tmp_path / "pytorch_model.bin"
    torch.save(state(), path, pickle_protocol=protocol, _use_new_zipfile_serialization=FORMS[form])
    assert_same(path, torch.load(path, weights_only=False))


@pytest.mark.parametrize("form", FORMS)
def test_a_state_dict_of_a_module_and_a_plain_dict(tmp_path, form):
    path = tmp_path / "pytorch_model.bin"
    module = torch.nn.TransformerEncoderLayer(8, 2, 12).half()
    for saved in (module.state_dict(), dict(module.state_dict()), dict(module.named_parameters())):
        torch.save(saved, path, _use_new_zipfile_serialization=FORMS[form])
        assert_same(path, saved)


def test_zip_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state(), tmp_path / "pytorch_model.bin")
    finally:
        torch.serialization.set_crc32_options(True)
    assert_same(tmp_path / "pytorch_model.bin", state())


@pytest.mark.parametrize("form", FORMS)
def test_an_old_checkpoint_fills_the_same_model(tmp_path, form):
    """A pretraining checkpoint as it was published: prefixed keys, a tied decoder, gamma and beta."""
    torch.manual_seed(0)
    folder = peers.tiny_bert(tmp_path, **peers.RATES_OFF)
    weights = peers.torch_model(folder).state_dict()
    pretraining = transformers.BertForPreTraining(transformers.BertConfig(**peers.TINY)).state_dict()
    weights |= {key: value for key, value in pretraining.items() if key.startswith("cls.")}
    weights["cls.predictions.decoder.weight"] = weights["bert.embeddings.word_embeddings.weight"]
    old = {key.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): v for key, v in weights.items()}
    expected_system = peers.our_system(folder, "full")
    (folder / "model.safetensors").unlink()
    torch.save(old, folder / "pytorch_model.bin", _use_new_zipfile_serialization=FORMS[form])
    found = peers.our_system(folder, "full")
    assert found.base_sha256 == expected_system.base_sha256
    assert all(name.startswith("cls.") for name in found.ignored_tensors)
    assert found.ignored_tensors
    for path, leaf in expected_system.trainable.items():
        np.testing.assert_array_equal(found.trainable[path], leaf, err_msg=path)
    model = system.abstract(tiny.experiment(folder, folder), read_config(folder), 3)
    assert match(model, Checkpoint(folder, model).shapes()).new == ()
