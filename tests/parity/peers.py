"""torch, transformers and peft beside ours: the same tensors on both sides."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import peft as hf_peft
import torch
import transformers

from jaxpeft.config import Config
from jaxpeft.models import MODELS
from jaxpeft.models.tensors import LAYER
from jaxpeft.peft import Tree, base_path
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


def torch_model(folder: Path) -> torch.nn.Module:
    """transformers' classifier of a folder."""
    transformers.logging.set_verbosity_error()
    return transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(LABELS), attn_implementation="eager"
    ).eval()


def with_peft(model: torch.nn.Module, method: str, **settings) -> torch.nn.Module:
    """PEFT's wrapper; `head` and `full` only choose what has a gradient."""
    if method in ("lora", "ia3"):
        kind = {"lora": hf_peft.LoraConfig, "ia3": hf_peft.IA3Config}[method]
        return hf_peft.get_peft_model(model, kind(task_type="SEQ_CLS", **settings))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(method == "full" or name.startswith("classifier"))
    return model


def our_system(folder: Path, method: str, **model_settings) -> System:
    """The same model here."""
    config = Config()
    config.model.ref = str(folder)
    config.data.max_length = 24
    config.peft.method = method
    for name, value in model_settings.items():
        setattr(config.model, name, value)
    return build(config, LABELS, seed=1)


def torch_names(system: System) -> dict[str, list[str]]:
    """Leaf path -> the names of PEFT's (or torch's) parameters that it stacks, one a layer."""
    model_class = MODELS[system.model_type][1]
    by_path = {tensor.path: tensor for tensor in model_class.tensors()}
    leaves = {**system.trainable, **system.frozen}
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


def random_batch(seed: int = 0, rows: int = 5, length: int = 13, vocabulary: int = TINY["vocab_size"]):
    """Token ids, mask, segments and labels, with padding on the right."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, length + 1, rows)
    mask = (np.arange(length) < lengths[:, None]).astype(np.int32)
    ids = generator.integers(5, vocabulary, (rows, length)).astype(np.int32) * mask
    segments = (np.arange(length) >= (lengths // 2)[:, None]).astype(np.int32) * mask
    labels = generator.integers(0, len(LABELS), rows).astype(np.int32)
    return {"ids": ids, "mask": mask, "segments": segments, "label": labels}


def torch_inputs(batch):
    """A batch under transformers' names."""
    names = {"ids": "input_ids", "mask": "attention_mask", "segments": "token_type_ids"}
    return {names[name]: torch.tensor(batch[name]) for name in names}
