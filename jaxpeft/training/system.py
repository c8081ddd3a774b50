"""A system: a base model with a method, its leaves split into trainable and frozen, and its tokenizer."""

import dataclasses
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.data.tokenise import TextEncoder, text_encoder
from jaxpeft.errors import InputError
from jaxpeft.models import MODELS, pretrained
from jaxpeft.models.attention import flash_problems
from jaxpeft.models.flops import step_flops
from jaxpeft.models.layers import initialise
from jaxpeft.models.quantised import Quantised
from jaxpeft.peft.hf_format import whole_modules
from jaxpeft.tasks.registry import TASKS


@dataclasses.dataclass
class System:
    """What a run needs of a model, on the host's default device."""

    graphdef: Any
    trainable: peft.Tree
    frozen: peft.Tree
    labels: dict[str, str]  # path -> adapter, head or frozen
    encoder: TextEncoder
    classes: tuple[str, ...]
    model_type: str
    base_sha256: str  # of the tensors of the checkpoint that the model has, however they are held
    quantise: str  # how the layers' frozen matrices are held: none | int8 | nf4
    new_tensors: tuple[str, ...]
    ignored_tensors: tuple[str, ...]

    def base(self) -> peft.Tree:
        """The leaves that are not the head's, under their paths in the bare model."""
        leaves = {**self.trainable, **self.frozen}
        return {peft.base_path(path): leaf for path, leaf in leaves.items() if self.labels[path] != peft.HEAD}

    def prompt_length(self) -> int:
        """Virtual tokens that stand before every text."""
        return peft.unflatten(self.graphdef, {**self.trainable, **self.frozen}).virtual.prompt_length

    def step_flops(self, texts: int, length: int, tokens: int | None = None) -> int:
        """Operations of a training step over texts of this length, by the formula of `models.flops`."""
        leaves = {**self.trainable, **self.frozen}
        sizes = {path: leaf.size for path, leaf in leaves.items()}
        trained = {path: label != peft.FROZEN for path, label in self.labels.items()}
        return step_flops(peft.unflatten(self.graphdef, leaves), sizes, trained, texts, length, tokens)

    def trainable_labels(self) -> dict[str, str]:
        """Path -> adapter or head, of the leaves that train."""
        return {path: label for path, label in self.labels.items() if label != peft.FROZEN}

    def count(self) -> dict[str, int]:
        """`peft_params`, `head_params`, `trainable_params` (their sum) and `total_params`."""
        model = peft.unflatten(self.graphdef, {**self.trainable, **self.frozen})
        counts = peft.count(model, self.labels)
        trainable = counts[peft.ADAPTER] + counts[peft.HEAD]
        return {
            "peft_params": counts[peft.ADAPTER],
            "head_params": counts[peft.HEAD],
            "trainable_params": trainable,
            "total_params": trainable + counts[peft.FROZEN],
        }


def abstract(config: Config, hf_config: dict[str, Any], classes: int) -> Any:
    """The model of a parsed `config.json` without adapters and without memory."""
    architecture, settings = MODELS[hf_config["model_type"]], config.model
    model_config = architecture.config.from_hf(
        hf_config,
        num_labels=classes,
        dtype=settings.dtype,
        attention=settings.attention,
        remat=settings.remat,
        unroll=settings.unroll,
    ).keeping(settings.keep_layers)
    model_class = architecture.heads[TASKS[config.task].head]
    return nnx.eval_shape(lambda: model_class(model_config))


def adapted(config: Config, model: Any, new: Sequence[str]) -> Any:
    """The abstract model once the method is attached."""
    return nnx.eval_shape(lambda bare: peft.attach(bare, config.peft, jax.random.key(0), new), model)


def partition(config: Config, model: Any, new: Sequence[str]) -> dict[str, str]:
    """The label of every leaf of the abstract model once the method is attached."""
    return peft.label(peft.flatten(adapted(config, model, new))[1], config.peft, model.head, new)


def who_trains(
    config: Config, model: Any, new: Sequence[str], saved: Collection[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The leaves to treat as newly initialised, and the label of every leaf, of the abstract model.

    Modules that an adapter of `saved` tensors holds whole train like those that no checkpoint filled, `new`.
    """
    labels = partition(config, model, new)
    if trained := whole_modules(model, labels, saved):
        new = (*new, *trained)
        labels = partition(config, model, new)
    return tuple(new), labels


def encoder_of(config: Config, folder: Path) -> TextEncoder:
    """The tokenizer of a model folder, set to what the config says of long texts."""
    data = config.data
    return text_encoder(
        folder,
        lowercase=config.model.lowercase,
        max_length=data.max_length,
        reads_words=TASKS[config.task].reads_words,
        long_text=data.long_text,
        stride=data.window_stride,
        vocab_size=pretrained.read_config(folder).get("vocab_size"),
    )


def build(
    config: Config,
    classes: Sequence[str],
    *,
    seed: int,
    new: Sequence[str] | None = None,
    saved: Collection[str] = (),
) -> System:
    """Loads the base, attaches the method and splits the leaves. Raises InputError for a base that does not fit.

    Args:
        config: the experiment. classes: names of the labels. seed: of everything newly initialised.
        new: leaves to treat as newly initialised, where a restore knows better than the checkpoint.
        saved: plain names of the tensors of an adapter to start from: modules that it holds whole train here too.
    """
    folder = pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)
    hf_config = pretrained.read_config(folder)
    model = abstract(config, hf_config, len(classes))
    check_length(config, model)
    checkpoint = pretrained.Checkpoint(folder, model, config.model.keep_layers)
    matched = pretrained.match(model, checkpoint.shapes())
    if new is not None and (lacking := sorted(set(matched.new) - set(new))):
        raise InputError(f"model.ref {config.model.ref!r} lacks what the run's base had: {', '.join(lacking)}")
    new, labels = who_trains(config, model, matched.new if new is None else new, saved)
    frozen_bases = {peft.base_path(path) for path, label in labels.items() if label == peft.FROZEN}
    init_key, adapter_key = _keys(seed)
    sha256 = pretrained.load(
        model,
        checkpoint,
        matched.new,
        init_key,
        dtype_of=lambda path: jnp.dtype(config.model.dtype if path in frozen_bases else "float32"),
        kind_of=lambda path: config.model.quantise if path in frozen_bases and is_matrix_of_layers(path) else "none",
    )
    peft.attach(model, config.peft, adapter_key, new)
    return _system(config, model, folder, labels, tuple(classes), sha256, new, matched.ignored)


def build_beside(
    config: Config, classes: Sequence[str], other: System, *, new: Sequence[str], seed: int | None = None
) -> System:
    """A system on the base of another, whose leaves the two then share.

    Args:
        config: the experiment. classes: names of the labels. other: a system of the same base.
        new: leaves that no checkpoint fills.
        seed: of what is newly initialised; what trains else is as in `other`, untrained and of the same task. With
        None what trains has the base's values, and what the base lacks zeros.

    Raises InputError where the other's base is held in another way, or lacks a part of this one's.
    """
    if config.model.quantise != other.quantise:
        raise InputError(
            f"the base in memory is held with model.quantise={other.quantise}, the run was trained with "
            f"{config.model.quantise}: load it beside a run that has the same"
        )
    folder = pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)
    model = abstract(config, pretrained.read_config(folder), len(classes))
    labels = partition(config, model, new)
    frozen_bases = {peft.base_path(path) for path, label in labels.items() if label == peft.FROZEN}
    graphdef, empty = peft.flatten(model)
    base = other.base()
    shared = {path: leaf for path, leaf in base.items() if path in frozen_bases}
    wanted = jnp.dtype(config.model.dtype)
    floats = [leaf.dtype for leaf in shared.values() if not isinstance(leaf, Quantised)]
    if rounded := [dtype for dtype in floats if dtype.itemsize < wanted.itemsize]:
        raise InputError(
            f"the base in memory is rounded to {rounded[0]}, the run was trained with model.dtype={wanted}: load it "
            "beside a run that has the same"
        )
    shared = {  # a copy only where the type differs
        path: leaf if isinstance(leaf, Quantised) else leaf.astype(config.model.dtype) for path, leaf in shared.items()
    }
    if lacking := sorted(frozen_bases & empty.keys() - shared.keys()):
        raise InputError(f"the base in memory lacks {', '.join(lacking)}: another task's head was loaded with it")
    init_key, adapter_key = _keys(seed or 0)
    untrained = {peft.base_path(path): leaf for path, leaf in other.trainable.items()}

    def start(path: str, shape: tuple[int, ...]) -> jax.Array:
        if seed is None:  # for a trained run's leaves; others may share this system's base later
            known = path in base and not isinstance(base[path], Quantised)
            return base[path].astype(jnp.float32) if known else jnp.zeros(shape)
        if path not in new:
            return untrained[path]
        return initialise(path, shape, init_key, standard_deviation=model.config.initializer_range)

    filled = {path: shared[path] if path in shared else start(path, leaf.shape) for path, leaf in empty.items()}
    model = peft.attach(peft.unflatten(graphdef, filled), config.peft, adapter_key, new)
    return _system(config, model, folder, labels, tuple(classes), other.base_sha256, tuple(new), other.ignored_tensors)


def _system(
    config: Config,
    model: Any,
    folder: Path,
    labels: dict[str, str],
    classes: tuple[str, ...],
    sha256: str,
    new: tuple[str, ...],
    ignored: tuple[str, ...],
) -> System:
    graphdef, leaves = peft.flatten(model)
    trainable, frozen = peft.split(leaves, labels)
    return System(
        graphdef=graphdef,
        trainable=trainable,
        frozen=frozen,
        labels=labels,
        encoder=encoder_of(config, folder),
        classes=classes,
        model_type=model.model_type,
        base_sha256=sha256,
        quantise=config.model.quantise,
        new_tensors=new,
        ignored_tensors=ignored,
    )


def _keys(seed: int) -> tuple[jax.Array, jax.Array]:
    """Of the leaves that no checkpoint fills, and of adapters."""
    init_key, adapter_key = jax.random.split(jax.random.key(seed))
    return init_key, adapter_key


def is_matrix_of_layers(path: str) -> bool:
    """Whether a leaf of the bare model is what `model.quantise` is about."""
    return path.startswith("layers.") and path.endswith(".kernel")


def check_attention(config: Config) -> None:
    """Raises InputError where `model.attention` asks for cuDNN, and training here would not get it."""
    if config.model.attention != "cudnn":
        return
    folder = pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)
    sizes = abstract(config, pretrained.read_config(folder), 2).config  # how many labels there are has no part in it
    virtual = (peft.virtual_tokens(config.peft),)
    problems = flash_problems(sizes.dtype, sizes.head_size, sizes.attention_probs_dropout_prob, virtual)
    if problems:
        raise InputError(
            f"model.attention is 'cudnn', whose flash attention cannot train {config.model.ref} here: "
            f"{'; '.join(problems)}. model.attention=auto takes it wherever it can"
        )


def check_length(config: Config, model: Any) -> None:
    """Raises InputError where `data.max_length` and virtual tokens together are more than the model has places for."""
    asked, virtual, longest = config.data.max_length, peft.virtual_tokens(config.peft), model.config.max_tokens
    if asked + virtual > longest:
        beside = f" beside {virtual} virtual ones" if virtual else ""
        raise InputError(
            f"data.max_length is {asked}, but {config.model.ref} has positions for {longest - virtual} tokens{beside}"
        )
