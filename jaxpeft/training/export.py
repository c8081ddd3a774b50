"""What a run leaves for others: an adapter where PEFT has the method, else the whole model."""

from pathlib import Path

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.peft.hf_format import FORMATS
from jaxpeft.training.adapter_folder import write_adapter
from jaxpeft.training.model_folder import write_model
from jaxpeft.training.system import System
from jaxpeft.training.workdir import Workdir


def can_export(method: str) -> bool:
    """Whether a method leaves anything but a head: PEFT has no format for that."""
    return method in FORMATS or peft.METHODS[method].trains is not None


def export(config: Config, system: System, trainable: peft.Tree, workdir: Workdir, output: Path | None = None) -> Path:
    """Writes the adapter, or the whole model where the base itself was trained, and returns the folder.

    That is adapter/ or model/ of the workdir, or `output`. Raises InputError for a method that leaves neither, and
    for a folder that holds other files.
    """
    method = config.peft.method
    if not can_export(method):
        raise InputError(
            f"method {method!r} leaves no adapter to export: --mode=merge writes the whole model, its head included"
        )
    write, folder = (write_adapter, workdir.adapter) if method in FORMATS else (write_model, workdir.model)
    folder = output or folder
    write(folder, config, system, trainable)
    return folder


def merge(config: Config, system: System, trainable: peft.Tree, workdir: Workdir, output: Path | None = None) -> Path:
    """Writes the whole model, adapters merged, to the workdir's model/ or to `output`, and returns the folder.

    Raises InputError for adapters that cannot be merged, and for a folder that holds other files.
    """
    folder = output or workdir.model
    write_model(folder, config, system, trainable)
    return folder
