"""Where the step runs: on one device, on all local ones through `pmap`, or on a mesh that spans processes.

All compile a function ahead of time, once for each shape of batch, and say how long that took. The function is the
same object in each.
"""

import contextlib
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxpeft.config import MeshConfig
from jaxpeft.errors import InputError
from jaxpeft.peft import Tree
from jaxpeft.training.compiler import compiler_options, text_length
from jaxpeft.training.sharding import DATA, MODEL, partition_spec


class Placement:
    """One device, through `jit`. Subclasses place the same functions elsewhere."""

    parts = 1  # that a batch is cut into
    axis: str | None = None  # over which the step itself has to sum

    def __init__(self) -> None:
        self.compile_seconds = 0.0
        self.compilations = 0

    def replicate(self, tree: Any) -> Any:
        """Puts trained parameters or optimizer state on every device."""
        return jax.device_put(tree, jax.local_devices()[0])

    def place_frozen(self, tree: Tree) -> Any:
        """Puts the frozen base where every device finds it, or its part of it."""
        return self.replicate(tree)

    def unreplicate(self, tree: Any) -> Any:
        """The single copy of a replicated tree."""
        return tree

    def loading(self) -> contextlib.AbstractContextManager[Any]:
        """Within it a model is read into the memory that it is placed from."""
        return contextlib.nullcontext()

    def own_rows(self, size: int) -> np.ndarray:
        """Which rows of a batch of `size` this process reads, ascending."""
        return np.arange(size)

    def shard(self, batch: dict[str, np.ndarray], axis: int) -> dict[str, jax.Array]:
        """Puts this process's rows of a batch, which lie along `axis`."""
        return jax.device_put(batch, jax.local_devices()[0])

    def gather(self, outputs: jax.Array) -> np.ndarray:
        """Per-example outputs [B, ...] on the host."""
        return np.asarray(outputs)

    def transform(self, function: Callable[..., Any], donate: tuple[int, ...], batch_argument: int) -> Any:
        """The function as this placement runs it; `donate` are the arguments whose memory it may reuse."""
        return jax.jit(function, donate_argnums=donate)

    def compiled(
        self,
        function: Callable[..., Any],
        *,
        donate: tuple[int, ...] = (),
        batch_argument: int,
        deterministic: bool = False,
    ) -> "CompiledOnce":
        """The function, compiled when a shape of batch is first seen, see `compiler_options`."""
        return CompiledOnce(self, self.transform(function, donate, batch_argument), batch_argument, deterministic)


class Pmap(Placement):
    """All local devices, through `pmap`: parameters replicated once, the batch cut along its examples."""

    axis = DATA

    def __init__(self) -> None:
        super().__init__()
        self.parts = jax.local_device_count()

    def replicate(self, tree: Any) -> Any:
        """Adds a leading device axis; done once, since pmap would otherwise copy at every call."""
        places = np.arange(self.parts)  # pmap wants an argument that has the axis
        return jax.pmap(lambda leaves, place: leaves, in_axes=(None, 0))(tree, places)

    def unreplicate(self, tree: Any) -> Any:
        """The first device's copy."""
        return jax.tree.map(lambda leaf: leaf[0], tree)

    def shard(self, batch: dict[str, np.ndarray], axis: int) -> dict[str, Any]:
        """[.., B, ..] -> [devices, .., B / devices, ..]."""

        def cut(leaf: np.ndarray) -> np.ndarray:
            return np.stack(np.split(leaf, self.parts, axis=axis))

        return {name: cut(leaf) for name, leaf in batch.items()}

    def gather(self, outputs: jax.Array) -> np.ndarray:
        """[devices, B / devices, ...] -> [B, ...]."""
        host = np.asarray(outputs)
        return host.reshape(-1, *host.shape[2:])

    def transform(self, function: Callable[..., Any], donate: tuple[int, ...], batch_argument: int) -> Any:
        """The step's number and the like are the same on every device; all else has a device axis."""
        arguments = function.__code__.co_argcount
        in_axes = tuple(None if index > batch_argument else 0 for index in range(arguments))
        return jax.pmap(function, axis_name=DATA, in_axes=in_axes, donate_argnums=donate)


class Sharded(Placement):
    """All devices of all processes, through `jit`: batches cut over `data`, and the frozen base over `model`.

    Loss and gradients are sums over the whole batch, so XLA adds up what is on other devices: no code says so.
    """

    def __init__(self, config: MeshConfig) -> None:
        """Raises InputError when the devices do not divide into rows of `config.model`."""
        super().__init__()
        devices = jax.device_count()
        if devices % config.model:
            raise InputError(
                f"mesh.model is {config.model}, which does not divide {devices} devices: change mesh.model"
            )
        self.parts, self._config = devices // config.model, config
        self._mesh = jax.make_mesh((self.parts, config.model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)
        process = jax.process_index()
        self._own_parts = [
            part for part, row in enumerate(self._mesh.devices) if any(one.process_index == process for one in row)
        ]
        if jax.process_count() > 1:
            self._connect()

    def replicate(self, tree: Any) -> Any:
        """A whole copy on each device."""
        return jax.tree.map(lambda leaf: self._put(leaf, PartitionSpec()), tree)

    def unreplicate(self, tree: Any) -> Any:
        """The copy of this process's first device."""
        return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)

    def place_frozen(self, tree: Tree) -> Tree:
        """Each leaf as its role says, see `sharding`; codes and scales of a quantised one alike."""
        split = functools.partial(
            partition_spec, data=self.parts, model=self._config.model, fully_sharded=self._config.fully_sharded
        )

        def placed(path: str, leaf: Any) -> Any:
            return jax.tree.map(lambda part: self._put(part, split(path, part.shape)), leaf)

        return {path: placed(path, leaf) for path, leaf in tree.items()}

    def loading(self) -> contextlib.AbstractContextManager[Any]:
        """The host's memory: a base that is to be split need not fit on one device."""
        try:
            return jax.default_device(jax.local_devices(backend="cpu")[0])
        except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
            return contextlib.nullcontext()

    def own_rows(self, size: int) -> np.ndarray:
        """Those of the parts that a device of this process has."""
        return np.arange(size).reshape(self.parts, -1)[self._own_parts].ravel()

    def shard(self, batch: dict[str, np.ndarray], axis: int) -> dict[str, jax.Array]:
        """One array over all processes, of which each gives its own rows."""
        sharding = NamedSharding(self._mesh, PartitionSpec(*[None] * axis, DATA))

        def put(leaf: np.ndarray) -> jax.Array:
            shape = list(leaf.shape)
            shape[axis] = shape[axis] // len(self._own_parts) * self.parts
            return jax.make_array_from_process_local_data(sharding, leaf, tuple(shape))

        return {name: put(leaf) for name, leaf in batch.items()}

    def transform(self, function: Callable[..., Any], donate: tuple[int, ...], batch_argument: int) -> Any:
        """All that comes out is whole on every device: trained leaves, their optimizer's state, losses, logits."""
        whole = NamedSharding(self._mesh, PartitionSpec())
        return jax.jit(function, donate_argnums=donate, out_shardings=whole)

    def _connect(self) -> None:
        """Sums over either axis and both, while all processes are here: on CPUs none waits over 30 s for a first sum.

        Later ones wait as long as it takes; but by then one process may compile or tokenise far longer than another.
        """
        zeros = self._put(np.zeros(self._mesh.devices.shape, np.float32), PartitionSpec(DATA, MODEL))
        whole = NamedSharding(self._mesh, PartitionSpec())
        for axis in (0, 1, None):
            jax.block_until_ready(jax.jit(functools.partial(jnp.sum, axis=axis), out_shardings=whole)(zeros))

    def _put(self, leaf: Any, spec: PartitionSpec) -> jax.Array:
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, NamedSharding(self._mesh, spec), lambda index: host[index])


class CompiledOnce:
    """A transformed function with one executable for each shape of its batch."""

    def __init__(self, placement: Placement, function: Any, batch_argument: int, deterministic: bool):
        self._placement, self._function, self._batch_argument = placement, function, batch_argument
        self._deterministic = deterministic
        self._executables: dict[tuple[tuple[int, ...], ...], Any] = {}

    def __call__(self, *arguments: Any) -> Any:
        """Runs it; the first call of a shape compiles, and the placement's clock counts that apart."""
        batch = arguments[self._batch_argument]
        shape = tuple(leaf.shape for leaf in batch.values())
        if shape not in self._executables:
            started = time.perf_counter()
            options = compiler_options(text_length(batch), deterministic=self._deterministic)
            self._executables[shape] = self._function.lower(*arguments).compile(compiler_options=options)
            self._placement.compile_seconds += time.perf_counter() - started
            self._placement.compilations += 1
        return self._executables[shape](*arguments)


def placement(parallel: str, batch_sizes: tuple[int, ...], mesh: MeshConfig | None = None) -> Placement:
    """The placement that `config.parallel` names; auto is jit where there is one device, else sharded.

    Raises InputError when a batch size does not divide over the devices, or one of several processes would be alone.
    """
    if parallel in ("jit", "pmap") and jax.process_count() > 1:
        raise InputError(f"parallel={parallel} is for one process, and there are {jax.process_count()}: use sharded")
    mesh = mesh or MeshConfig()
    if parallel == "jit" or (parallel == "auto" and jax.device_count() == mesh.model == 1):
        return Placement()
    chosen = Pmap() if parallel == "pmap" else Sharded(mesh)
    uneven = [size for size in batch_sizes if size % chosen.parts]
    if uneven:
        raise InputError(
            f"batch size {uneven[0]} is not divisible by {chosen.parts} devices: change train.batch_size and "
            "train.eval_batch_size, or set parallel=jit for one device"
        )
    return chosen
