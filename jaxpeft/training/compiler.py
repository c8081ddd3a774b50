"""What XLA is told about a program: where its defaults cost speed, or the same bits in every process."""

import functools
from collections.abc import Mapping
from typing import Any

import jax

SHORT_TEXT = 64  # tokens, up to which attention's products are too small for Eigen
_YNNPACK = "xla_cpu_experimental_ynn_fusion_type"  # what of a CPU's program YNNPACK computes; Eigen has the rest


def text_length(batch: Mapping[str, Any]) -> int:
    """Tokens of a text, padding included, of a batch as models take it."""
    return batch["grid" if "grid" in batch else "ids"].shape[-1]


def compiler_options(length: int, *, deterministic: bool = False) -> dict[str, Any] | None:
    """XLA's options for a program over texts of so many tokens, None for its defaults.

    On a CPU Eigen multiplies with weights faster than YNNPACK, which XLA prefers, while YNNPACK has less to do around
    the many small products of attention in short texts; and YNNPACK's sums over tokens are slow.
    `deterministic`: a GPU, which else times its kernels anew in each process and takes the fastest, and may add in any
    order, gives the same bits each time.
    """
    backend = jax.default_backend()
    if backend == "gpu":
        return {"xla_gpu_deterministic_ops": True} if deterministic else None
    if backend != "cpu" or not _knows_ynnpack():
        return None
    return {_YNNPACK: "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT" if length <= SHORT_TEXT else ""}


@functools.cache
def _knows_ynnpack() -> bool:
    """Whether this XLA has the option: it is called experimental, and may go."""
    try:
        jax.jit(lambda: 0).lower().compile(compiler_options={_YNNPACK: ""})
    except jax.errors.JaxRuntimeError:
        return False
    return True
