"""torch, transformers and peft beside ours: the same tensors on both sides."""

import itertools
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import peft as hf_peft
import pytest
import torch
import transformers

from jaxpeft.config import Config
from jaxpeft.models.tensors import LAYER
from jaxpeft.peft import Tree, base_path, unflatten
from jaxpeft.training.system import System, build

LABELS = ("a", "b", "c")
# Every dimension differs from every other: a transposed weight must fail.
TINY = {
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 36,
    "type_vocab_size": 2,
}
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
    """PEFT's wrapper; `head` and `full` only choose what has a gradient."""
    if method in ("lora", "ia3"):
        kind = {"lora": hf_peft.LoraConfig, "ia3": hf_peft.IA3Config}[method]
        return hf_peft.get_peft_model(model, kind(task_type=TASK_TYPES[task], **settings))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(method == "full" or name.startswith("classifier"))
    return model


def random_adapters(model: torch.nn.Module) -> None:
    """Fills B (zero at the start) and the IA3 vectors at random: zeros would hide half of the gradients."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "ia3_l" in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)


def our_system(
    folder: Path, method: str, task: str = SEQUENCE, *, peft: dict | None = None, **model_settings
) -> System:
    """The same model here; `peft` holds settings of config.peft, the method's in a dict of their own."""
    config = Config()
    config.task = task
    config.model.ref = str(folder)
    config.data.max_length = 24
    config.peft.method = method
    for name, value in model_settings.items():
        setattr(config.model, name, value)
    for name, value in (peft or {}).items():
        if isinstance(value, dict):
            vars(getattr(config.peft, name)).update(value)
        else:
            setattr(config.peft, name, value)
    return build(config, LABELS, seed=1)


def torch_names(system: System) -> dict[str, list[str]]:
    """Leaf path -> the names of PEFT's (or torch's) parameters that it stacks, one a layer."""
    leaves = {**system.trainable, **system.frozen}
    by_path = {tensor.path: tensor for tensor in unflatten(system.graphdef, leaves).tensors()}
    names = {}
    for path, leaf in leaves.items():
        own = path.rsplit(".", 1)[-1]
        if own in ("lora_a", "lora_b", "ia3"):
            module = by_path[path.removesuffix(f".{own}") + ".kernel"].name.removesuffix(".weight")
            suffix = {"lora_a": "lora_A.default.weight", "lora_b": "lora_B.default.weight", "ia3": "ia3_l.default"}
            name = f"{module}.{suffix[own]}"
        else:
            name = by_path[base_path(path)].name
        layers = leaf.shape[0] if LAYER in name else 1
        names[path] = [name.replace(LAYER, str(layer)) for layer in range(layers)]
    return names


def plain_name(name: str) -> str:
    """A parameter's name without what PEFT puts around modules."""
    for noise in ("base_model.model.", "base_layer.", "original_module.", "modules_to_save.default."):
        name = name.replace(noise, "")
    return name


def read_torch(system: System, named: dict[str, torch.Tensor], paths) -> Tree:
    """Leaves of ours from torch tensors (parameters or gradients) under their plain names."""
    names = torch_names(system)
    leaves = {**system.trainable, **system.frozen}
    found = {}
    for path in paths:
        is_matrix = path.rsplit(".", 1)[-1] in ("kernel", "lora_a", "lora_b")
        parts = [named[name].detach().numpy() for name in names[path]]
        parts = [part.T if is_matrix else part for part in parts]
        found[path] = jnp.asarray(np.stack(parts).reshape(leaves[path].shape), jnp.float32)
    return found


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
