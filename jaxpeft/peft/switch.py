"""One base, several adapters: taken off, and put in each other's place.

triage = trainable leaves of a model to which attach(model, config, key) gave adapters
switch(model, triage)     the same structure with other values: a compiled function of (structure, leaves) is reused
detach(model)             the base again
"""

from collections.abc import Mapping
from typing import Any

import jax
from flax import nnx

from jaxpeft.errors import InputError
from jaxpeft.models.leaves import parent_of
from jaxpeft.models.virtual import VirtualTokens
from jaxpeft.peft.inject import BASE
from jaxpeft.peft.merge import unmerge
from jaxpeft.peft.partition import flatten


def detach(model: Any) -> Any:
    """Takes all adapters off the model, in place, and returns it: the base, whose leaves were never changed.

    What was merged is unmerged first, and raises InputError where that cannot be.
    """
    unmerge(model)
    for path in model.linear_names():
        parent, attribute = parent_of(model, path)
        setattr(parent, attribute, getattr(getattr(parent, attribute), BASE, getattr(parent, attribute)))
    model.virtual = VirtualTokens()
    return model


def switch(model: Any, leaves: Mapping[str, jax.Array]) -> Any:
    """Gives leaves of the model (dotted path -> array) other values, in place, and returns it.

    Raises InputError for a path that the model lacks, and for another shape. What was merged is unmerged first.
    """
    own = flatten(model)[1]
    problems = [f"{path} is no leaf of this model" for path in leaves if path not in own]
    problems += [
        f"{path} has shape {leaf.shape}, in this model {own[path].shape}"
        for path, leaf in leaves.items()
        if path in own and own[path].shape != leaf.shape
    ]
    if problems:
        raise InputError("the adapter does not fit the model:", *problems)
    unmerge(model)
    for path, leaf in leaves.items():
        parent, attribute = parent_of(model, path)
        setattr(parent, attribute, nnx.Param(leaf))
    return model
