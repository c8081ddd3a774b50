"""Parameter-efficient fine-tuning of small language models on clinical text, in JAX and Flax.

import jaxpeft
model = jaxpeft.load("runs/lora_bert")
model.predict(["Admitted with crushing substernal chest pain ..."])
"""

from __future__ import annotations

import typing

if typing.TYPE_CHECKING:
    from jaxpeft.training.adapters import Adapters
    from jaxpeft.training.restore import Restored

__version__ = "0.3.0"


def load(workdir: str, *, base: str | None = None, allow_other_base: bool = False) -> Restored:
    """The tested model of a finished run, ready to predict.

    Args:
        workdir: the run's folder, wherever it is now.
        base: where the base model is now, if it moved.
        allow_other_base: go on with a base whose tensors differ.

    Raises: jaxpeft.errors.InputError for an unfinished run, a missing base or another one.
    """
    from jaxpeft.config import expanded
    from jaxpeft.training.restore import Restored

    return Restored(expanded(workdir), base=base, allow_other_base=allow_other_base)


def adapters(*, base: str | None = None) -> Adapters:
    """Room for several finished runs of one base, which is loaded once: see `Adapters` for attach, switch, detach.

    Args:
        base: where the base model is now, if it moved.
    """
    from jaxpeft.training.adapters import Adapters

    return Adapters(base=base)
