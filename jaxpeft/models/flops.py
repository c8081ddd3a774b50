"""Floating-point operations of a training step by formula: what the matrices need, whatever the compiler does.

A matrix takes 2 a weight and row forward, 2 for the gradient of its input, and 2 more for its own gradient if
it trains. XLA's own count of a compiled step sees the body of a scan once, so it cannot serve here. Left out is
the second product with a target's kernel that DoRA takes where it drops.
"""

from collections.abc import Mapping
from typing import Any

MATRICES = ("kernel", "lora_a", "lora_b")


def step_flops(
    model: Any,
    sizes: Mapping[str, int],
    trained: Mapping[str, bool],
    texts: int,
    length: int,
    tokens: int | None = None,
) -> int:
    """Operations of one forward and backward pass over B texts of T tokens each, and of what the pass recomputes.

    Args:
        model: says `reads_embeddings`, `head_layers`, `pools` and `virtual` (see `Classifier`).
        sizes: parameters of each leaf, by dotted path; adapters included.
        trained: whether each leaf trains. texts, length: B and T, without virtual tokens.
        tokens: those of all packed rows, virtual ones and padding included, which only attention sees as B x T.
    """
    needed = _needed(model, sizes, trained, texts, length, tokens)
    if not model.config.remat:
        return needed
    return needed + _needed(model, sizes, dict.fromkeys(sizes, False), texts, length, tokens)


def _needed(
    model: Any, sizes: Mapping[str, int], trained: Mapping[str, bool], texts: int, length: int, tokens: int | None
) -> int:
    config, virtual = model.config, model.virtual
    states = length + virtual.prompt_length
    in_layers, in_head = (texts * states, texts * length) if tokens is None else (tokens, tokens)
    below_head = any(trained[path] for path in sizes if path.split(".")[0] not in model.head_layers)
    below_layers = ("embeddings.", "virtual.") if virtual.prompt_length else "embeddings."
    embeddings_train = any(trained[path] for path in sizes if path.startswith(below_layers))
    total = 0
    for path, size in sizes.items():
        if path.rsplit(".", 1)[-1] not in MATRICES or path.startswith("virtual."):  # a network over a few tokens
            continue
        rows = in_layers
        if path.split(".")[0] in model.head_layers:
            rows = texts if model.pools else in_head
        total += 2 * rows * size * (1 + trained[path])
        if below_head:
            total += 2 * rows * size
            if path.startswith(model.reads_embeddings) and not embeddings_train and not path.endswith("lora_b"):
                layers = config.num_hidden_layers if path.startswith("layers.") else 1
                total -= 2 * rows * size // layers  # nothing below the first layer wants a gradient
    products = 2 + 5 * below_head  # scores and weighted values; backward the scores again, and both factors of each
    keys = states + virtual.prefix_length
    return total + products * 2 * texts * states * keys * config.attention_size * config.num_hidden_layers
