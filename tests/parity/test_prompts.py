"""Prompt tuning, P-tuning and prefix tuning against PEFT: logits, loss and the gradient of every trained leaf.

Where PEFT cannot run prefix tuning (DistilBERT, MobileBERT), ours is held against the definition, in NumPy.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import peft as hf_peft
import pytest
import torch

from jaxpeft.peft import unflatten

from . import peers

TOKENS = 4
CONFIGS = {
    "prompt": lambda **sizes: hf_peft.PromptTuningConfig(**sizes),
    "p_tuning": lambda **sizes: hf_peft.PromptEncoderConfig(encoder_hidden_size=7, **sizes),
    "prefix": lambda **sizes: hf_peft.PrefixTuningConfig(**sizes),
}
WITHOUT_PREFIX = ("distilbert", "mobilebert")
CELLS = [
    cell
    for cell in peers.pairwise(peers.ARCHITECTURES, CONFIGS, (peers.SEQUENCE, peers.TOKEN))
    if not (cell.values[0] in WITHOUT_PREFIX and cell.values[1] == "prefix")
]
LAYERS = {"first": 0, "second": 2, "third": 4}  # P-tuning's, by their place in PEFT's Sequential


def our_system(folder, method, task):
    settings = {"tokens": TOKENS} | ({"hidden_size": 7} if method == "p_tuning" else {})
    return peers.our_system(folder, method, task, peft={method: settings})


def peft_model(folder, method, task, config):
    """PEFT's wrapper with random virtual tokens; the sizes that it cannot guess are given."""
    width = config.prefix_size if method == "prefix" else config.word_size
    heads = getattr(config, "key_heads", config.num_attention_heads)
    sizes = {"num_virtual_tokens": TOKENS, "token_dim": width, "num_attention_heads": heads}
    settings = CONFIGS[method](**sizes, num_layers=config.num_hidden_layers, task_type=peers.TASK_TYPES[task])
    torch.manual_seed(5)
    return hf_peft.get_peft_model(peers.torch_model(folder, task), settings)


def to_ours(path, tensor, leaf):
    """A tensor of PEFT's, or its gradient, in the shape of our leaf."""
    values = tensor.detach().numpy()
    if leaf.ndim == 4:  # [n, 2 L P] -> [L, 2, n, P]
        layers, _, n, width = leaf.shape
        return jnp.asarray(values.reshape(n, layers, 2, width).transpose(1, 2, 0, 3))
    return jnp.asarray(values.T if path.endswith(".kernel") else values)


def trained(model, system):
    """Our paths -> PEFT's trained parameters."""
    theirs = {}
    for name, value in model.named_parameters():
        if value.requires_grad:
            name = name.removeprefix("base_model.").replace("modules_to_save.default.", "")
            theirs[name.replace("prompt_encoder.default.", "virtual.")] = value
    table = {tensor.path: tensor.name for tensor in whole(system).tensors()}
    for path in system.trainable:
        part, _, role = path.removeprefix("virtual.").partition(".")
        if part in LAYERS and path.startswith("virtual."):
            table[path] = f"virtual.mlp_head.{LAYERS[part]}.{'weight' if role == 'kernel' else role}"
    table["virtual.embedding"] = "virtual.embedding.weight"
    found = {path: theirs.pop(table[path]) for path in system.trainable}
    assert not theirs
    return found


def whole(system, trainable=None):
    return unflatten(system.graphdef, {**(trainable or system.trainable), **system.frozen})


def batch_for(folder, task, *, left):
    config = json.loads((folder / "config.json").read_text())
    batch = peers.random_batch(pad=config["pad_token_id"], left=left)
    if task == peers.TOKEN:
        labels = np.random.default_rng(1).integers(0, len(peers.LABELS), batch["ids"].shape)
        batch["label"] = np.where(batch["mask"], labels, -100).astype(np.int32)
    return {name: value for name, value in batch.items() if name != "segments" or "type_vocab_size" in config}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    made = {}

    def folder_of(model_type, task):
        if (model_type, task) not in made:
            folder = tmp_path_factory.mktemp("base")
            made[model_type, task] = peers.tiny_model(folder, model_type, peers.HEADS[task])
        return made[model_type, task]

    return folder_of


@pytest.mark.parametrize(("model_type", "method", "task"), CELLS)
def test_loss_and_gradients_of_every_trained_leaf(folder_of, model_type, method, task):
    folder = folder_of(model_type, task)
    system = our_system(folder, method, task)
    # Behind virtual tokens PEFT's Llama reads the last place, padding or not: padded on the left it is a word.
    batch = batch_for(folder, task, left=model_type == "llama")
    inputs = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
    model = peft_model(folder, method, task, whole(system).config)
    parameters = trained(model, system)
    trainable = {path: to_ours(path, value, system.trainable[path]) for path, value in parameters.items()}

    logits = model(**peers.torch_inputs(batch)).logits
    if task == peers.TOKEN and method != "prefix":
        logits = logits[:, TOKENS:]
    labels = torch.tensor(batch["label"]).long()
    loss = torch.nn.functional.cross_entropy(logits.reshape(-1, len(peers.LABELS)), labels.reshape(-1))
    loss.backward()

    @jax.jit
    def ours(tree):
        return whole(system, tree)(**inputs)

    def mean_loss(tree):
        losses = optax.softmax_cross_entropy_with_integer_labels(ours(tree), jnp.maximum(batch["label"], 0))
        return jnp.where(batch["label"] >= 0, losses, 0.0).sum() / (batch["label"] >= 0).sum()

    real = slice(None) if task == peers.SEQUENCE else batch["mask"].astype(bool)
    np.testing.assert_allclose(ours(trainable)[real], logits.detach().numpy()[real], atol=1e-4, rtol=0)
    our_loss, gradients = jax.value_and_grad(mean_loss)(trainable)
    np.testing.assert_allclose(our_loss, loss.item(), atol=1e-5)
    expected = {path: to_ours(path, value.grad, trainable[path]) for path, value in parameters.items()}
    largest = max(float(abs(leaf).max()) for leaf in expected.values())
    for path, leaf in expected.items():
        bound = 1e-4 * float(abs(leaf).max()) + 1e-6 * largest
        np.testing.assert_allclose(gradients[path], leaf, atol=bound, rtol=0, err_msg=path)
