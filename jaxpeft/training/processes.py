"""One run on several processes: how they find each other, what they tell each other, and how one leaves.

Every process runs the same program on its share of each batch. The first alone reads and writes the workdir.
"""

import contextlib
import functools
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxpeft.errors import InputError

START_SECONDS = 3600  # until the last one is there: a cluster may have no room for it yet
HEARTBEAT_SECONDS = 20  # after which the others take a silent process for dead, and end
SHUTDOWN_SECONDS = 3600  # the first may still score, draw and export while the others are done


@contextlib.contextmanager
def joined(
    coordinator: str | None, processes: int | None, process: int | None, report: Callable[[BaseException], int]
) -> Iterator[None]:
    """Makes this process one of several for the time of a `with`; call it before JAX computes anything.

    Without arguments it is one of several where Slurm, Open MPI or Kubernetes started it as such, else alone. Where
    it is one of several an error ends it at once, with the exit code that `report` returns: at a normal exit it would
    wait for the others, and they for it.

    Raises InputError for arguments that do not fit together.
    """
    if not _initialize(coordinator, processes, process):
        yield
        return
    try:
        yield
        jax.distributed.shutdown()
    except BaseException as error:
        code = report(error)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _initialize(coordinator: str | None, processes: int | None, process: int | None) -> bool:
    """Whether there are several; waits until all are there."""
    detected = coordinator is None and processes is None and process is None
    if processes == 1 or (detected and not in_cluster()):
        return False
    initialize = functools.partial(
        jax.distributed.initialize,
        initialization_timeout=START_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=SHUTDOWN_SECONDS,
    )
    if detected:
        initialize()
        return True
    if coordinator is None or processes is None or process is None:
        raise InputError("--coordinator=HOST:PORT, --processes=N and --process=I belong together: give all three")
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--coordinator={coordinator}: expected HOST:PORT, where process 0 runs")
    if processes < 1:
        raise InputError(f"--processes={processes}: expected 1 or more")
    if not 0 <= process < processes:
        raise InputError(f"--process={process}: expected a number from 0 to {processes - 1}, one below --processes")
    initialize(coordinator, processes, process, cluster_detection_method="deactivate")
    return True


def in_cluster() -> bool:
    """Whether Slurm, Open MPI or Kubernetes started this process as one of several, so that JAX finds the others.

    Raises InputError where Open MPI did and JAX cannot find them: each would train alone, in the same workdir.
    """
    found = os.environ
    if "SLURM_STEP_NODELIST" in found and "SLURM_PROCID" in found:  # of a step: `sbatch` alone sets neither
        # A shell that `salloc` opened is a step of one task, in a job of many.
        return int(found.get("SLURM_STEP_NUM_TASKS", found.get("SLURM_NTASKS", "1"))) > 1
    if int(found.get("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        if "OMPI_MCA_orte_hnp_uri" not in found:
            raise InputError(
                "this Open MPI (5 or later) does not say where process 0 runs: give --coordinator=HOST:PORT, "
                "--processes=$OMPI_COMM_WORLD_SIZE and --process=$OMPI_COMM_WORLD_RANK, or --processes=1"
            )
        return True
    indexed = "KUBERNETES_SERVICE_HOST" in found and "JOB_COMPLETION_INDEX" in found
    return indexed and importlib.util.find_spec("kubernetes") is not None  # JAX asks the cluster through it


def several() -> bool:
    """Whether this process is one of several."""
    return jax.process_count() > 1


def is_first() -> bool:
    """Whether this process is the one that reads and writes the workdir."""
    return jax.process_index() == 0


def shared(value: Any) -> Any:
    """The first process's `value` on every process; anything that JSON can hold. All must call it."""
    if not several():
        return value
    text = np.frombuffer(json.dumps(value if is_first() else None).encode(), np.uint8)
    length = int(shared_tree({"length": np.array(len(text), np.int32)})["length"])
    padded = np.zeros(length, np.uint8)
    if is_first():
        padded[:] = text
    return json.loads(np.asarray(shared_tree({"text": padded})["text"]).tobytes())


def shared_tree(tree: Any) -> Any:
    """The first process's arrays on every process; shapes and types are the same on all. All must call it."""
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree)) if several() else tree
