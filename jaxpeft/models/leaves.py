"""A model's leaves by dotted path, `layers.attention.query.kernel`: one string for a message, a mask, a checkpoint."""

from typing import Any

from flax import nnx


def by_path(state: Any) -> dict[str, Any]:
    """Dotted path -> variable, of a state of Flax's."""
    return {".".join(map(str, path)): leaf for path, leaf in nnx.to_flat_state(state)}


def parent_of(model: Any, path: str) -> tuple[Any, str]:
    """The module that holds what a dotted path names, and the attribute there."""
    *parents, attribute = path.split(".")
    for name in parents:
        model = getattr(model, name)
    return model, attribute
