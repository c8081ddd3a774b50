"""Every architecture computed in bfloat16, against float32 and within the error that rounding explains.

A rounding to bfloat16 (8 bits of significand) is off by at most u = 2^-9 of its value. Roundings are as good as
independent, so a path through R of them ends with an error whose root mean square is at most sqrt(R) u of the value's
(Higham and Mary 2019, with their probability's constant at 1, since an average is looked at and not a largest entry).
On the longest path through a layer about a dozen results are rounded: projections, scores, weights, their sums,
activations, residuals, norms. So R = 12 for each layer before, and a few more for the head.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from jaxpeft.peft import unflatten

from . import peers

U, LAYER_ROUNDINGS, HEAD_ROUNDINGS = 2.0**-9, 12, 4


def rms(values):
    return float(np.sqrt(np.square(values).mean()))


@pytest.mark.parametrize(("model_type", "task"), peers.pairwise(peers.ARCHITECTURES, (peers.SEQUENCE, peers.TOKEN)))
def test_error_is_no_more_than_roundings_explain(tmp_path, model_type, task):
    folder = peers.tiny_model(tmp_path, model_type, peers.HEADS[task])
    weights = load_file(folder / "model.safetensors")  # exact in bfloat16: what is looked at is the computation
    rounded = {name: value.bfloat16().float() for name, value in weights.items()}
    save_file(rounded, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    batch = peers.random_batch(pad=config["pad_token_id"])
    inputs = {name: batch[name] for name in ("ids", "mask", *(["segments"] if "type_vocab_size" in config else []))}
    model = peers.torch_model(folder, task)
    with torch.no_grad():
        expected = model(**peers.torch_inputs(inputs), output_hidden_states=True)
        theirs = model.bfloat16()(**peers.torch_inputs(inputs)).logits.float().numpy()
    system = peers.our_system(folder, "head", task, dtype="bfloat16")
    ours = unflatten(system.graphdef, {**system.trainable, **system.frozen})
    real = batch["mask"].astype(bool)
    last, layers = ours.encode(**inputs, keep_all=True)
    for number, (got, right) in enumerate(zip([*layers[:-1], last], expected.hidden_states[1:], strict=True), 1):
        got, right = np.asarray(got, np.float32)[real], right.numpy()[real]
        assert rms(got - right) <= np.sqrt(LAYER_ROUNDINGS * number) * U * rms(right), f"layer {number}"
    chosen = slice(None) if task == peers.SEQUENCE else real
    right, error = expected.logits.numpy()[chosen], rms((np.asarray(ours(**inputs)) - expected.logits.numpy())[chosen])
    assert error <= np.sqrt(LAYER_ROUNDINGS * len(layers) + HEAD_ROUNDINGS) * U * rms(right)
    assert error <= 2 * rms(theirs[chosen] - right)  # no worse than transformers' own, but for luck
    assert error > 0.1 * U * rms(right)  # it did compute in bfloat16
