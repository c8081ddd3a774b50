"""Adapters of ours on a tiny base, written to folders and read again: what tests of PEFT's format share."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxpeft import peft
from jaxpeft.errors import InputError
from jaxpeft.peft.hf_format import slots
from jaxpeft.training import start
from jaxpeft.training.adapter_folder import write_adapter
from tests import tiny

QUERY = "base_model.model.bert.encoder.layer.0.attention.self.query"


def config_of(base, **changes):
    return tiny.experiment(base, base, **{f"peft__{name}": value for name, value in changes.items()})


def built(base, seed=1, labels=tiny.LABELS, **changes):
    config, adapter = start.settle(config_of(base, **changes))
    config.seed = seed
    return config, start.build(config, labels, adapter)[0]


def moved(config, system):
    """Its trained leaves, each trained number moved at random."""
    model = peft.unflatten(system.graphdef, {**system.trainable, **system.frozen})
    leaves, generator = {path: np.array(leaf) for path, leaf in system.trainable.items()}, np.random.default_rng(8)
    for slot in slots(model, system.labels, config.peft.method).values():
        slot.put(leaves, slot.take(leaves) + generator.normal(0, 0.2, slot.shape).astype(np.float32))
    return {path: jnp.asarray(leaf) for path, leaf in leaves.items()}


def written(folder, base, **changes):
    """An adapter of ours in a folder, and its trained leaves."""
    config, system = built(base, **changes)
    trainable = moved(config, system)
    write_adapter(folder, config, system, trainable)
    return trainable


def refused(base, folder, **changes):
    with pytest.raises(InputError) as raised:
        built(base, init_from=str(folder), **changes)
    return str(raised.value)


def renamed(old, new):
    return lambda tensors: {name.replace(old, new): values for name, values in tensors.items()}
