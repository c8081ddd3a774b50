"""Where the step runs: on one device through `jit`, or on all local devices through `pmap`.

Both compile a function ahead of time, once for each shape of batch, and say how long that took.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxpeft.errors import InputError

AXIS = "data"


class Placement:
    """One device, through `jit`. Subclasses place the same functions elsewhere."""

    devices = 1
    axis: str | None = None

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self.compilations = 0

    def replicate(self, tree: Any) -> Any:
        """Puts parameters or optimizer state where every device finds them."""
        return jax.device_put(tree, jax.local_devices()[0])

    def unreplicate(self, tree: Any) -> Any:
        """The single copy of a replicated tree."""
        return tree

    def shard(self, batch: dict[str, np.ndarray], axis: int) -> dict[str, jax.Array]:
        """Puts a batch whose examples lie along `axis`."""
        return jax.device_put(batch, jax.local_devices()[0])

    def gather(self, outputs: jax.Array) -> np.ndarray:
        """Per-example outputs [B, ...] on the host."""
        return np.asarray(outputs)

    def transform(self, function: Callable[..., Any], donate: tuple[int, ...], batch_argument: int) -> Any:
        """The function as this placement runs it; `donate` are the arguments whose memory it may reuse."""
        return jax.jit(function, donate_argnums=donate)

    def compiled(
        self, function: Callable[..., Any], *, donate: tuple[int, ...] = (), batch_argument: int
    ) -> "CompiledOnce":
        """The function, compiled when a shape of batch is first seen."""
        return CompiledOnce(self, self.transform(function, donate, batch_argument), batch_argument)


class Pmap(Placement):
    """All local devices, through `pmap`: parameters replicated once, the batch cut along its examples."""

    axis = AXIS

    def __init__(self) -> None:
        super().__init__()
        self.devices = jax.local_device_count()

    def replicate(self, tree: Any) -> Any:
        """Adds a leading device axis; done once, since pmap would otherwise copy at every call."""
        places = np.arange(self.devices)  # pmap wants an argument that has the axis
        return jax.pmap(lambda leaves, place: leaves, in_axes=(None, 0))(tree, places)

    def unreplicate(self, tree: Any) -> Any:
        """The first device's copy."""
        return jax.tree.map(lambda leaf: leaf[0], tree)

    def shard(self, batch: dict[str, np.ndarray], axis: int) -> dict[str, Any]:
        """[.., B, ..] -> [devices, .., B / devices, ..]."""

        def cut(leaf: np.ndarray) -> np.ndarray:
            return np.stack(np.split(leaf, self.devices, axis=axis))

        return {name: cut(leaf) for name, leaf in batch.items()}

    def gather(self, outputs: jax.Array) -> np.ndarray:
        """[devices, B / devices, ...] -> [B, ...]."""
        host = np.asarray(outputs)
        return host.reshape(-1, *host.shape[2:])

    def transform(self, function: Callable[..., Any], donate: tuple[int, ...], batch_argument: int) -> Any:
        """The step's number and the like are the same on every device; all else has a device axis."""
        arguments = function.__code__.co_argcount
        in_axes = tuple(None if index > batch_argument else 0 for index in range(arguments))
        return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, donate_argnums=donate)


class CompiledOnce:
    """A transformed function with one executable for each shape of its batch."""

    def __init__(self, placement: Placement, function: Any, batch_argument: int):
        self._placement, self._function, self._batch_argument = placement, function, batch_argument
        self._executables: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Runs it; the first call of a shape compiles, and the placement's clock counts that apart."""
        batch = arguments[self._batch_argument]
        shape = tuple(leaf.shape for leaf in batch.values())
        if shape not in self._executables:
            started = time.perf_counter()
            self._executables[shape] = self._function.lower(*arguments).compile()
            self._placement.compile_seconds += time.perf_counter() - started
            self._placement.compilations += 1
        return self._executables[shape](*arguments)


def placement(parallel: str, batch_sizes: tuple[int, ...]) -> Placement:
    """The placement that `config.parallel` names; auto is jit on one device and pmap on several.

    Raises InputError when a batch size does not divide over the devices.
    """
    devices = jax.local_device_count()
    chosen = Placement() if parallel == "jit" or (parallel == "auto" and devices == 1) else Pmap()
    uneven = [size for size in batch_sizes if size % chosen.devices]
    if uneven:
        raise InputError(
            f"batch size {uneven[0]} is not divisible by {chosen.devices} devices: change train.batch_size and "
            "train.eval_batch_size, or set parallel=jit for one device"
        )
    return chosen
