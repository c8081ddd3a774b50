"""Attention alone, forward and backward, as work for `turns`: ours by XLA and by cuDNN, and torch's.

A quarter of the texts are shorter, so that there is a padding mask, as in any batch of notes.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.random_models import Case, memory
from benchmarks.turns import LeftOutError, Work
from jaxpeft.models.attention import attention, flash_problems
from jaxpeft.models.layout import Layout


def sizes(case: Case) -> tuple[tuple[int, int, int, int], bool]:
    """[B, T, N, H], and whether it is causal."""
    said = case.sizes()
    heads = said.get("num_attention_heads") or said["n_heads"]
    width = 128 if said["model_type"] == "mobilebert" else said.get("hidden_size") or said["dim"]
    return (case.batch, case.length, heads, width // heads), said["model_type"] == "llama"


def arrays(case: Case) -> tuple[list[np.ndarray], np.ndarray]:
    """Query, key, value and the gradient of the output, float32; and the mask [B, T]."""
    shape, _ = sizes(case)
    generator = np.random.default_rng(0)
    mask = np.arange(case.length) < case.texts().lengths[: case.batch, None]
    return [generator.standard_normal(shape, np.float32) for _ in range(4)], mask


def ours(case: Case) -> Work:
    """By `case.attention`; reports how far it is from XLA's in float32, relative to the largest number."""
    given, mask = arrays(case)
    shape, causal = sizes(case)
    if case.attention == "cudnn" and (problems := flash_problems(case.dtype, shape[-1])):
        raise LeftOutError(f"cuDNN's flash attention cannot compute this: {'; '.join(problems)}")

    def whole(implementation: str) -> Any:
        def run(query: jax.Array, key: jax.Array, value: jax.Array, gradient: jax.Array) -> Any:
            def one(*inputs: jax.Array) -> jax.Array:
                layout = Layout.one_a_row(jnp.asarray(mask))
                return attention(*inputs, layout, causal=causal, implementation=implementation)

            output, back = jax.vjp(one, query, key, value)
            return output, *back(gradient)

        return jax.jit(run)

    function, inputs = whole(case.attention), [jnp.asarray(one, case.dtype) for one in given]
    last = function(*inputs)

    def run(steps: int) -> None:
        nonlocal last
        for _ in range(steps):
            last = function(*inputs)
        jax.block_until_ready(last)

    def report() -> dict[str, Any]:
        used = memory()  # before the reference takes more
        with jax.default_matmul_precision("highest"):
            truth = whole("xla")(*[one.astype(jnp.float32) for one in inputs])
        seen = jnp.asarray(mask)[:, :, None, None]  # what a padding token gets nobody reads
        differences = {
            name: float(jnp.abs((found.astype(jnp.float32) - true) * seen).max() / jnp.abs(true * seen).max())
            for name, found, true in zip(("output", "query", "key", "value"), last, truth, strict=True)
        }
        return {**used, "differences": differences}

    return Work(run, case.batch, report=report)


def torchs(case: Case) -> Work:
    """`scaled_dot_product_attention`, with the mask as transformers gives it."""
    import torch

    from benchmarks.random_peer import DEVICE, wait
    from benchmarks.random_peer import memory as torch_memory

    given, mask = arrays(case)
    _, causal = sizes(case)
    dtype = getattr(torch, case.dtype)
    query, key, value, gradient = (
        torch.from_numpy(one).transpose(1, 2).contiguous().to(DEVICE, dtype) for one in given
    )  # [B, N, T, H]
    visible = torch.from_numpy(mask).to(DEVICE)[:, None, None, :].expand(-1, 1, case.length, -1)
    if causal:
        visible = visible & torch.ones(case.length, case.length, dtype=torch.bool, device=DEVICE).tril()
    for one in (query, key, value):
        one.requires_grad_()

    def run(steps: int) -> None:
        for _ in range(steps):
            output = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
            torch.autograd.grad(output, (query, key, value), gradient)
        wait()

    return Work(run, case.batch, report=torch_memory)
