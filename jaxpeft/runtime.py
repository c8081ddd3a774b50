"""What the process runs on: compilation cache, memory in use, versions, device."""

import ctypes
import importlib.metadata
import os
import platform
import tempfile
from pathlib import Path

import jax

from jaxpeft import __version__

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tokenizers", "numpy", "scikit-learn", "qwix")


def keep_freed_memory() -> None:
    """Makes glibc keep what a step frees for the next one; before the first thread starts, for CPU runs.

    By default every large array is mapped afresh and each of its pages faulted in again, which took a quarter of
    a training step. Elsewhere than on glibc it does nothing.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    m_trim_threshold, m_mmap_max, m_arena_max = -1, -4, -8  # from malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(m_mmap_max, 0)
    mallopt(m_trim_threshold, 2**31 - 1)
    mallopt(m_arena_max, 1)


def set_compilation_cache(workdir: Path) -> Path:
    """Keeps compiled steps for the next start; returns the folder. matplotlib's list of fonts is kept there too."""
    folder = cache_folder(workdir)
    os.environ.setdefault("MPLCONFIGDIR", str(folder / "matplotlib"))  # else below HOME; read when it is imported
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


def cache_folder(workdir: Path) -> Path:
    """`JAX_COMPILATION_CACHE_DIR` if set, else the user's cache folder, else (no HOME to write to) the workdir."""
    if chosen := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(chosen)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "jaxpeft" / "xla"
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            return home
    except (OSError, RuntimeError):  # the latter for a user without a home, as containers may have
        return workdir / "cache" / "xla"


class PeakMemory:
    """The most memory seen in use: the device's own count, else resident memory over what imports took.

    Resident memory is the process's anonymous pages (mapped files do not count), looked at by `sample`. It tells of
    a process of its own: memory that something before it freed, and the process kept, is used again without a trace.
    """

    def __init__(self) -> None:
        self._baseline = _anonymous_bytes()
        self._peak = 0

    def sample(self) -> None:
        """Looks now; a few microseconds."""
        now = _anonymous_bytes()
        self._baseline = min(self._baseline, now)  # what was there before went: it must not hide what came
        self._peak = max(self._peak, now - self._baseline)

    def report(self) -> dict[str, str | int]:
        """`peak_bytes`, `device` and `how` it was measured."""
        device = jax.local_devices()[0]
        name = f"{device.device_kind} x {jax.local_device_count()}"
        statistics = device.memory_stats()
        if statistics and "peak_bytes_in_use" in statistics:
            peak = statistics["peak_bytes_in_use"]
            return {"peak_bytes": peak, "device": name, "how": "device allocator, one device"}
        self.sample()
        how = "anonymous resident memory above that after imports, sampled at every step"
        return {"peak_bytes": self._peak, "device": name, "how": how}


def _anonymous_bytes() -> int:
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))
    except (OSError, StopIteration):  # not Linux: the peak of all resident memory must do
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if platform.system() == "Darwin" else 1024)


def versions() -> dict[str, str]:
    """Versions of what numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "jaxpeft": __version__, **found}


def device() -> dict[str, str | int]:
    """Kind and count of the devices of all processes: what equality to the bit is relative to."""
    return {"kind": jax.local_devices()[0].device_kind, "count": jax.device_count()}
