"""A tiny random BERT and a learnable tiny data set, made without torch: what the quick tests train on."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from jaxpeft.config import Config, to_json

# Every dimension differs from every other: a transposed weight must fail.
SIZES = {
    "model_type": "bert",
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 36,
    "type_vocab_size": 2,
}
WORDS = [f"w{number}" for number in range(SIZES["vocab_size"] - 5)]
LABELS = ("calm", "storm", "wind")
TAGS = ("O", "B-calm", "I-calm", "B-storm", "I-storm")
ROOT = Path(__file__).parents[1]


def tensors(seed: int = 0, *, prefix: str = "bert.", pooler: bool = True, labels: int = 0, **changes) -> dict:
    """Random tensors under Hugging Face's names; `labels` adds a classifier."""
    sizes = SIZES | changes
    d, f = sizes["hidden_size"], sizes["intermediate_size"]
    generator = np.random.default_rng(seed)
    found = {}

    def linear(name, d_in, d_out):
        found[f"{name}.weight"] = generator.normal(0, 0.3, (d_out, d_in)).astype(np.float32)
        found[f"{name}.bias"] = generator.normal(0, 0.1, d_out).astype(np.float32)

    def norm(name):
        found[f"{name}.weight"] = generator.uniform(0.5, 1.5, d).astype(np.float32)
        found[f"{name}.bias"] = generator.normal(0, 0.1, d).astype(np.float32)

    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    for kind, size in tables.items():
        table = generator.normal(0, 0.5, (sizes[size], d)).astype(np.float32)
        found[f"{prefix}embeddings.{kind}_embeddings.weight"] = table
    norm(f"{prefix}embeddings.LayerNorm")
    for layer in range(sizes["num_hidden_layers"]):
        block = f"{prefix}encoder.layer.{layer}"
        for name in ("query", "key", "value"):
            linear(f"{block}.attention.self.{name}", d, d)
        linear(f"{block}.attention.output.dense", d, d)
        norm(f"{block}.attention.output.LayerNorm")
        linear(f"{block}.intermediate.dense", d, f)
        linear(f"{block}.output.dense", f, d)
        norm(f"{block}.output.LayerNorm")
    if pooler:
        linear(f"{prefix}pooler.dense", d, d)
    if labels:
        linear("classifier", d, labels)
    return found


def write_base(folder: Path, weights: dict | None = None, **changes) -> Path:
    """A model folder in Hugging Face layout; `changes` go to config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors() if weights is None else weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(SIZES | changes))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    return folder


def rows(count: int, seed: int) -> list[dict]:
    """Texts of 3 to 25 words; the label is told by which third of the vocabulary most words come from."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        label = int(generator.integers(len(LABELS)))
        words = generator.integers(0, len(WORDS), int(generator.integers(3, 26)))
        own = generator.random(len(words)) < 0.7
        third = len(WORDS) // 3
        words[own] = label * third + words[own] % third
        row = {"text": " ".join(WORDS[word] for word in words), "label": LABELS[label]}
        found.append(row | {"patient": f"p{seed}-{number // 2}", "id": f"{seed}-{number}"})
    return found


def tagged_rows(count: int, seed: int) -> list[dict]:
    """Words with tags, about two entities of one to three words a row. Nine in ten words tell their tag."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(count):
        tags = []
        for _ in range(int(generator.integers(3, 12))):
            kind = LABELS[int(generator.integers(2))]
            inside = [f"I-{kind}"] * int(generator.integers(3))
            tags += [f"B-{kind}", *inside] if generator.random() < 0.25 else ["O"]
        words = generator.integers(0, len(WORDS) // len(TAGS), len(tags)) * len(TAGS)
        words += np.where(generator.random(len(tags)) < 0.9, list(map(TAGS.index, tags)), generator.integers(len(TAGS)))
        row = {
            "tokens": [WORDS[word] for word in words],
            "ner_tags": tags,
            "patient": f"p{seed}-{number // 2}",
            "id": f"{seed}-{number}",
        }
        found.append(row)
    return found


def tagged_tensors() -> dict:
    """Of a base whose embeddings of words with one tag lie near each other, and whose layers change little."""
    generator, found = np.random.default_rng(0), tensors()
    kinds = generator.normal(0, 2.0, (len(TAGS), SIZES["hidden_size"]))
    found["bert.embeddings.word_embeddings.weight"][5:] += kinds[np.arange(len(WORDS)) % len(TAGS)]
    return {name: value * (0.2 if "layer." in name and value.ndim > 1 else 1) for name, value in found.items()}


def write_jsonl(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def write_data(folder: Path, train: int = 76, validation: int = 30, test: int = 40, *, make: Callable = rows) -> Path:
    """A folder of train.jsonl, validation.jsonl and test.jsonl."""
    for seed, (split, count) in enumerate({"train": train, "validation": validation, "test": test}.items(), start=1):
        write_jsonl(folder / f"{split}.jsonl", make(count, seed))
    return folder


def experiment(base: Path, data: Path, **changes) -> Config:
    """A config of 60 steps in 6 epochs; `changes` are dotted names with `__` for the dot."""
    config = Config(name="tiny", parallel="jit")
    config.model.ref, config.model.unroll = str(base), 1  # in a scan they compile in three quarters of the time
    config.data.format, config.data.path = "jsonl", str(data)
    config.data.max_length, config.data.buckets = 32, 2
    config.train.epochs, config.train.batch_size, config.train.eval_batch_size = 6, 8, 16
    config.train.learning_rate = 1e-2
    config.train.checkpoint_every = 7
    config.diagnostics.forgetting_texts = 0
    for name, value in changes.items():
        set_field(config, name.replace("__", "."), value)
    return config


def set_field(config: Config, name: str, value) -> None:
    """Sets `peft.lora.rank` and the like."""
    *parents, field = name.split(".")
    block = config
    for parent in parents:
        block = getattr(block, parent)
    assert hasattr(block, field), name
    setattr(block, field, value)


def write_config(path: Path, config: Config) -> Path:
    """A config file that returns this config."""
    path.write_text(
        "import json\n"
        "from jaxpeft.config import from_dict\n"
        f"def get_config():\n    return from_dict(json.loads({to_json(config)!r}))\n"
    )
    return path


def read_config(path: Path) -> Config:
    """What a config file returns."""
    namespace: dict = {}
    exec(path.read_text(), namespace)
    return namespace["get_config"]()


def command(*arguments: str) -> list[str]:
    """The command line of a new process of the real program."""
    return [sys.executable, "-m", "jaxpeft.main", *map(str, arguments)]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """Runs the program to its end in a new process."""
    return subprocess.run(
        command(*arguments),
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
