"""torch, transformers and peft beside ours: the same tensors on both sides."""

import itertools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import peft as hf_peft
import pytest
import torch
import transformers

from jaxpeft.config import Config, LoraConfig
from jaxpeft.models.tensors import LAYER
from jaxpeft.peft import Tree, base_path, unflatten
from jaxpeft.training.system import System, build
from tests import tiny

LABELS = ("a", "b", "c")
TINY = {name: size for name, size in tiny.SIZES.items() if name != "model_type"}
ADDED = {  # what a method adds to a layer: our leaf -> PEFT's parameter
    "lora_a": "lora_A.default.weight",
    "lora_b": "lora_B.default.weight",
    "lora_magnitude": "lora_magnitude_vector.default.weight",
    "ia3": "ia3_l.default",
}
P_TUNING = {"first": 0, "second": 2, "third": 4}  # its layers -> their places in PEFT's Sequential
TORCH_ROLES = {"kernel": "weight", "bias": "bias"}
RATES_OFF = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


SEQUENCE, TOKEN = "sequence_classification", "token_classification"
HEADS = {SEQUENCE: "AutoModelForSequenceClassification", TOKEN: "AutoModelForTokenClassification"}
TASK_TYPES = {SEQUENCE: "SEQ_CLS", TOKEN: "TOKEN_CLS"}
ARCHITECTURES = {
    "bert": {**TINY, **RATES_OFF},
    "roberta": {**TINY, **RATES_OFF},
    "distilbert": {
        "vocab_size": 61,
        "dim": 24,
        "n_layers": 3,
        "n_heads": 4,
        "hidden_dim": 40,
        "max_position_embeddings": 36,
        "dropout": 0.0,
        "attention_dropout": 0.0,
    },
    "mobilebert": {
        **TINY,
        **RATES_OFF,
        "hidden_size": 32,
        "embedding_size": 12,
        "intra_bottleneck_size": 20,
        "classifier_activation": False,
    },
    "llama": {
        **{name: value for name, value in TINY.items() if name != "type_vocab_size"},
        "num_key_value_heads": 2,
        "head_dim": 10,  # 4 x 10 is not the hidden size
        "pad_token_id": 0,
    },
}


def write_tokenizer(folder: Path, size: int) -> None:
    """A WordPiece vocabulary of `size` words w0, w1, ... in the folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{number}" for number in range(size - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")


def tiny_bert(folder: Path, seed: int = 0, **changes) -> Path:
    """A random BERT with a classifier of three labels, saved as transformers saves it."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(**TINY | changes, num_labels=len(LABELS))
    model = transformers.BertForSequenceClassification(config)
    for parameter in model.parameters():  # biases and norms too: zeros and ones would hide a swap
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim > 1 else torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model.save_pretrained(folder)
    write_tokenizer(folder, config.vocab_size)
    return folder


def tiny_model(folder: Path, model_type: str, head: str, seed: int = 0, **changes) -> Path:
    """A random model of any architecture, saved as transformers saves it; `head` is a class of transformers."""
    torch.manual_seed(seed)
    sizes = ARCHITECTURES[model_type] | changes
    config = transformers.AutoConfig.for_model(model_type, **sizes, num_labels=len(LABELS))
    model = getattr(transformers, head).from_config(config)
    # Biases and norms too: zeros and ones would hide a swap. MobileBERT has no norm that would keep states near 1.
    low, high = (0.1, 0.5) if model_type == "mobilebert" else (0.5, 1.5)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim > 1 else torch.nn.init.uniform_(
            parameter, low, high
        )
    model.save_pretrained(folder)
    write_tokenizer(folder, config.vocab_size)
    return folder


def torch_model(folder: Path, task: str = SEQUENCE) -> torch.nn.Module:
    """transformers' classifier of a folder."""
    transformers.logging.set_verbosity_error()
    return (
        getattr(transformers, HEADS[task])
        .from_pretrained(folder, num_labels=len(LABELS), attn_implementation="eager")
        .eval()
    )


def with_peft(model: torch.nn.Module, method: str, task: str = SEQUENCE, **settings) -> torch.nn.Module:
    """PEFT's wrapper; `head`, `full` and `bitfit` only choose what has a gradient."""
    if method in ("lora", "ia3"):
        kind = {"lora": hf_peft.LoraConfig, "ia3": hf_peft.IA3Config}[method]
        return hf_peft.get_peft_model(model, kind(task_type=TASK_TYPES[task], **settings))
    for name, parameter in model.named_parameters():
        in_head = name.startswith(("classifier", "pre_classifier", "score"))
        parameter.requires_grad_(in_head or method == "full" or (method == "bitfit" and name.endswith(".bias")))
    return model


def hf_lora(config: LoraConfig) -> dict:
    """Our settings in PEFT's words, dropout off."""

    def numbers(entries, kind):
        return {pattern: kind(value) for pattern, _, value in (entry.rpartition("=") for entry in entries)}

    return {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "use_rslora": config.rslora,
        "use_dora": config.dora,
        "bias": config.bias,
        "layers_to_transform": list(config.layers_to_transform) or None,
        "rank_pattern": numbers(config.rank_pattern, int),
        "alpha_pattern": numbers(config.alpha_pattern, float),
    }


def random_adapters(model: torch.nn.Module) -> None:
    """Moves B (zero at the start), IA3's vectors and DoRA's magnitudes at random: else half of the gradients hide."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(part in name for part in ("lora_B", "ia3_l", "lora_magnitude_vector")):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def our_system(folder: Path, method: str, task: str = SEQUENCE, *, settings: Any = None, **model_settings) -> System:
    """The same model here; `settings` is the method's block of config.peft."""
    config = Config()
    config.task = task
    config.model.ref = str(folder)
    config.data.max_length = 24
    config.peft.method = method
    for name, value in model_settings.items():
        setattr(config.model, name, value)
    if settings is not None:
        setattr(config.peft, method, settings)
    return build(config, LABELS, seed=1)


def torch_names(system: System) -> dict[str, list[str]]:
    """Leaf path -> the names of PEFT's (or torch's) parameters that it stacks, one a layer; constants have none."""
    leaves = {**system.trainable, **system.frozen}
    by_path = {tensor.path: tensor for tensor in unflatten(system.graphdef, leaves).tensors()}
    names = {}
    for path, leaf in leaves.items():
        module, own = path.rsplit(".", 1)
        if own == "lora_scale":
            continue
        if module.startswith("virtual"):
            place = P_TUNING.get(module.removeprefix("virtual."))
            name = "virtual.embedding.weight" if place is None else f"virtual.mlp_head.{place}.{TORCH_ROLES[own]}"
            names[path] = [name]
            continue
        if own in ADDED:
            name = f"{by_path[module + '.kernel'].name.removesuffix('.weight')}.{ADDED[own]}"
        else:
            name = by_path[base_path(path)].name
        layers = leaf.shape[0] if LAYER in name else 1
        names[path] = [name.replace(LAYER, str(layer)) for layer in range(layers)]
    return names


def plain_name(name: str) -> str:
    """A parameter's name without what PEFT puts around modules."""
    name = name.replace("prompt_encoder.default.", "virtual.")
    for noise in ("base_model.model.", "base_model.", "base_layer.", "original_module.", "modules_to_save.default."):
        name = name.replace(noise, "")
    return name


def read_torch(system: System, named: dict[str, torch.Tensor], like: Tree) -> Tree:
    """The leaves of `like` with the values of torch tensors under plain names; layers that torch lacks keep theirs.

    A layer of a smaller rank than its leaf has fills the first of its columns.
    """
    names = torch_names(system)
    found = {}
    for path, leaf in like.items():
        is_matrix = path.rsplit(".", 1)[-1] in ("kernel", "lora_a", "lora_b")
        values = np.array(leaf, np.float32)
        slots = values.reshape(len(names[path]), *(leaf.shape[-2:] if is_matrix else (-1,)))
        for slot, name in zip(slots, names[path], strict=True):
            if name in named:
                part = named[name].detach().numpy()
                if leaf.ndim == 4:  # a prefix: [n, 2 L P] -> [L, 2, n, P]
                    part = part.reshape(leaf.shape[2], leaf.shape[0], 2, -1).transpose(1, 2, 0, 3)
                part = part.T if is_matrix else part.ravel()
                slot[tuple(map(slice, part.shape))] = part
        found[path] = jnp.asarray(values)
    return found


def read_gradients(system: System, parameters: dict[str, torch.Tensor]) -> Tree:
    """torch's gradients as our leaves, zero where torch has none."""
    zeros = {path: np.zeros(leaf.shape) for path, leaf in system.trainable.items()}
    return read_torch(system, {name: value.grad for name, value in parameters.items()}, zeros)


def trained_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The parameters with a gradient, under plain names."""
    return {plain_name(name): value for name, value in model.named_parameters() if value.requires_grad}


def random_batch(
    seed: int = 0,
    rows: int = 5,
    length: int = 13,
    vocabulary: int = TINY["vocab_size"],
    *,
    pad: int = 0,
    left: bool = False,
):
    """Token ids, mask, segments and labels, with padding on the right or on the left."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    mask = mask[:, ::-1] if left else mask
    ids = np.where(mask, generator.integers(5, vocabulary, (rows, length)), pad).astype(np.int32)
    segments = (np.arange(length) >= (lengths // 2)[:, None]).astype(np.int32) * mask
    labels = generator.integers(0, len(LABELS), rows).astype(np.int32)
    return {"ids": ids, "mask": mask, "segments": segments, "label": labels}


def torch_inputs(batch):
    """A batch under transformers' names."""
    names = {"ids": "input_ids", "mask": "attention_mask", "segments": "token_type_ids"}
    return {names[name]: torch.tensor(np.ascontiguousarray(batch[name])) for name in names if name in batch}


def pairwise(*axes) -> list:
    """Every cell of a matrix as parameters of a test.

    In a usual run each cell of all but the last axis has one value of the last, in turns; with `--parity=full` all.
    """
    *others, last = axes
    cells = []
    for cell in itertools.product(*others):
        shift = sum(axis.index(value) for axis, value in zip(map(list, others), cell, strict=True))
        for place, value in enumerate(last):
            usual = place == shift % len(last)
            cells.append(pytest.param(*cell, value, marks=() if usual else pytest.mark.full_parity))
    return cells


def batch_for(folder: Path, *, left: bool = False, seed: int = 0):
    """Token ids padded as the model's config says, and segments where it has them."""
    config = json.loads((folder / "config.json").read_text())
    batch = random_batch(seed, pad=config["pad_token_id"], left=left)
    return {name: value for name, value in batch.items() if name != "segments" or "type_vocab_size" in config}


def whole(system: System, trainable: Tree | None = None):
    """The model, with other values of what trains if they are given."""
    return unflatten(system.graphdef, {**system.frozen, **(system.trainable if trainable is None else trainable)})


def our_loss(system: System, trainable: Tree, batch) -> jax.Array:
    """Mean cross-entropy over texts, or over the real tokens."""
    inputs = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
    logits, labels = whole(system, trainable)(**inputs), batch["label"]
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(labels, 0))
    return jnp.where(labels >= 0, losses, 0.0).sum() / (labels >= 0).sum()


def torch_loss(model: torch.nn.Module, batch) -> torch.Tensor:
    """The same of torch's model; PEFT gives virtual tokens logits too, which come first and count for nothing."""
    logits, labels = model(**torch_inputs(batch)).logits, torch.tensor(batch["label"]).long()
    if labels.ndim > 1:
        logits = logits[:, -labels.shape[1] :]
    return torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))


def assert_same_gradients(system: System, model: torch.nn.Module, batch) -> None:
    """Our system with the values of torch's model: as many parameters train, to the same loss and gradients."""
    parameters = trained_parameters(model)
    trainable = read_torch(system, parameters, system.trainable)
    assert system.count()["trainable_params"] == sum(value.numel() for value in parameters.values())
    loss = torch_loss(model, batch)
    loss.backward()
    expected = read_gradients(system, parameters)
    found, gradients = jax.jit(jax.value_and_grad(lambda tree: our_loss(system, tree, batch)))(trainable)
    np.testing.assert_allclose(found, loss.item(), atol=1e-5)
    assert_gradients(gradients, expected)


def assert_gradients(found: Tree, expected: Tree) -> None:
    """Holds each leaf to its own size; where that is rounding alone (a key's bias), to the largest leaf's."""
    largest = max(float(abs(leaf).max()) for leaf in expected.values())
    for path, leaf in expected.items():
        bound = 1e-4 * float(abs(leaf).max()) + 1e-6 * largest
        np.testing.assert_allclose(found[path], leaf, atol=bound, rtol=0, err_msg=path)
