"""What a run would build, as shapes alone: no weight is read and no memory taken."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.models import pretrained, shapes
from jaxpeft.models.quantised import quantise
from jaxpeft.tasks.registry import task_of
from jaxpeft.tasks.task import Task
from jaxpeft.training import start, system

Shapes = dict[str, Any]  # path -> jax.ShapeDtypeStruct, or a Quantised of two


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A model with its method, its leaves split as a run splits them, and its task.

    `labels` says of each leaf adapter, head or frozen. Frozen leaves have the type that the model computes in, or are
    quantised.
    """

    config: Config
    model: Any  # abstract, adapters in place
    trainable: Shapes
    frozen: Shapes
    labels: dict[str, str]
    task: Task

    def count(self) -> dict[str, int]:
        """Parameters a label."""
        return peft.count(self.model, self.labels)


def draw(config: Config, classes: tuple[str, ...], sizes: dict[str, Any] | None = None) -> Blueprint:
    """The blueprint of a config. Raises InputError where a run would.

    Of a model folder the names and shapes of its tensors are read. A `shape:NAME` is taken to lack the head alone,
    and so are `sizes`, which stand in for the `config.json` of `model.ref`.
    """
    folder = None if sizes else model_folder(config)
    config, adapter = start.settle(config)
    hf_config = sizes or (shapes.config_of(config.model.ref) if folder is None else pretrained.read_config(folder))
    bare = system.abstract(config, hf_config, len(classes))
    system.check_length(config, bare)
    new, labels = system.who_trains(config, bare, _unfilled(config, bare, folder), adapter.shapes if adapter else ())
    model = system.adapted(config, bare, new)
    trainable, frozen = peft.split(peft.flatten(model)[1], labels)
    of_base = peft.flatten(bare)[1].keys()

    def held(path: str, leaf: Any) -> Any:
        base, kind = peft.base_path(path), config.model.quantise
        if kind != "none" and system.is_matrix_of_layers(base):
            return jax.eval_shape(jax.vmap(lambda matrix: quantise(matrix, kind)), leaf)
        return jax.ShapeDtypeStruct(leaf.shape, config.model.dtype if base in of_base else leaf.dtype)

    return Blueprint(
        config=config,
        model=model,
        trainable={path: jax.ShapeDtypeStruct(leaf.shape, jnp.float32) for path, leaf in trainable.items()},
        frozen={path: held(path, leaf) for path, leaf in frozen.items()},
        labels=labels,
        task=task_of(config, classes),
    )


def model_folder(config: Config) -> Path | None:
    """The folder of `model.ref`; None for a `shape:NAME`. Raises InputError."""
    if config.model.ref.startswith(shapes.PREFIX):
        return None
    return pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)


def _unfilled(config: Config, bare: Any, folder: Path | None) -> tuple[str, ...]:
    """Leaves that no checkpoint fills."""
    if folder is None:
        return tuple(tensor.path for tensor in bare.tensors() if tensor.path.split(".")[0] in bare.head)
    return pretrained.match(bare, pretrained.Checkpoint(folder, bare, config.model.keep_layers).shapes()).new
