"""Checkpoints on disk, through orbax: the one file that knows its API.

checkpoints/<step>/   trainable, optimizer, best (the best trainable tree so far), and the position as metadata
best/                 trainable parameters of the tested step, written when the run ends
"""

import errno
import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from jaxpeft.errors import DISK_ERRORS, InputError
from jaxpeft.peft import Tree

# A load that fails leaves a coroutine which nobody awaits, and says so whenever it is collected.
warnings.filterwarnings("ignore", r"coroutine '.*_background_load' was never awaited", RuntimeWarning)
logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax, once imported, reports each part of each save there
KEPT = 2
Position = dict[str, Any]


class Checkpoints:
    """The latest checkpoints of a run. Saves in the background; a half-written one is never taken for whole.

    Of several processes all make it, save and close; the first alone reads and writes files.
    """

    def __init__(self, folder: Path):
        self._folder = folder.absolute()
        self._checkpointer = ocp.training.Checkpointer(
            self._folder,
            preservation_policy=ocp.training.preservation_policies.LatestN(KEPT),
            cleanup_tmp_directories=True,
        )

    def save(self, trainable: Tree, optimizer: Any, best: Tree, position: Position) -> None:
        """Starts to save, once the save before is done. Arrays are copied before this returns."""
        self._checkpointer.wait()
        # Copies: the arrays themselves are donated to the next step while the files are still being written.
        items = jax.tree.map(np.array, {"trainable": trainable, "optimizer": _flat(optimizer), "best": best})
        step = position["step"]
        self._checkpointer.save_checkpointables_async(step, items, custom_metadata=position, force=True, overwrite=True)

    def restore(
        self,
        trainable: Tree,
        optimizer: Any,
        check: Callable[[Position], None],
        report: Callable[[str], None],
    ) -> tuple[Tree, Any, Tree, Position] | None:
        """The newest checkpoint that can be read, as (trainable, optimizer, best, position); None without one.

        The given trees say which shapes and types are expected; what is read stays in the host's memory. An unreadable
        checkpoint is passed over for the one before, and `report` says so; if there are only such, InputError is
        raised. `check` is shown the position first, and may raise InputError: of other data a checkpoint may have other
        shapes. For the first process, which tells the others: each reading for itself, they could disagree on which
        checkpoint is readable.
        """
        for metadata in sorted(self._checkpointer.checkpoints, key=lambda found: found.step, reverse=True):
            expected = {"trainable": trainable, "optimizer": _flat(optimizer), "best": trainable}
            try:
                position = self._checkpointer.metadata(metadata.step).custom_metadata
                if not isinstance(position, dict) or position.get("step") != metadata.step:
                    raise ValueError("its position is lost")
                check(position)
                with _alone():
                    items = _read_on_host(self._folder / str(metadata.step), expected)
            except InputError:
                raise
            except Exception as error:  # orbax names a truncated file an incompatible handler, among much else
                if trouble := _of_the_machine(error):
                    raise trouble from None  # the file may be whole
                report(
                    f"checkpoint {metadata.step} is unreadable ({type(error).__name__}): passed over for the one before"
                )
                continue
            return items["trainable"], _unflat(items["optimizer"], optimizer), items["best"], position
        if self._checkpointer.checkpoints:
            raise InputError(
                f"none of the checkpoints in {self._folder} can be read: delete that folder to begin again, "
                "or try with the versions that wrote them"
            )
        return None

    def close(self) -> None:
        """Waits for the save under way."""
        self._checkpointer.close()


def save_best(folder: Path, trainable: Tree) -> None:
    """Writes the trainable tree; a folder that is there is replaced. Of several processes all call it."""
    ocp.save(folder.absolute(), jax.tree.map(np.asarray, trainable), overwrite=True)


def load_best(folder: Path, abstract: Tree) -> Tree:
    """Reads a trainable tree of the shapes of `abstract`. Raises InputError when it is absent or unreadable."""
    if not folder.is_dir():
        raise InputError(f"{folder} is missing: the run has not finished; start its train command again to go on")
    try:
        return ocp.load(folder.absolute(), _abstract(abstract))
    except Exception as error:  # see restore
        raise InputError(f"{folder} is unreadable or of other shapes ({type(error).__name__})") from error


def _read_on_host(folder: Path, expected: dict[str, Any]) -> dict[str, Any]:
    """The arrays of a checkpoint as numpy has them. Raises ValueError where they have other shapes."""
    # That numpy's arrays are expected tells orbax where to; these take no memory. It does not compare shapes then.
    arrays = jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), expected)
    items = ocp.load_checkpointables(folder, arrays)
    if jax.tree.map(np.shape, items) != jax.tree.map(np.shape, arrays):
        raise ValueError("its arrays have other shapes")
    return items


def _of_the_machine(error: BaseException | None) -> BaseException | None:
    """What among an error and those behind it is lack of memory or a disk's trouble; orbax wraps them in others."""
    while error is not None:
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return error
        if isinstance(error, OSError) and error.errno in (*DISK_ERRORS, errno.EIO):
            return error
        error = error.__cause__ or error.__context__
    return None


def _alone() -> ocp.Context:
    """Within it orbax waits for no other process."""
    context = ocp.Context()
    context.multiprocessing.active_processes = {0}
    return context


def _flat(tree: Any) -> dict[str, Any]:
    """Any tree as a flat dict: what is on disk needs none of optax's types to be read."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _unflat(flat: dict[str, Any], like: Any) -> Any:
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(like)]
    return jax.tree.unflatten(jax.tree.structure(like), [flat[path] for path in paths])


def _abstract(tree: Any) -> Any:
    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        if isinstance(leaf, jax.Array):
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype, sharding=device)

    return jax.tree.map(one, tree)
