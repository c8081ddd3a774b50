"""Sequence classification: one label a text. How labels become numbers and probabilities become answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from jaxpeft.data.rows import Rows
from jaxpeft.tasks.clusters import cluster_of_rows

UNSEEN = -1  # a label that training lacks: no answer to it is right


def encode_labels(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The index in `names` of each label as int32 [N], `UNSEEN` where it is not among them."""
    index = {name: number for number, name in enumerate(names)}
    return np.array([index.get(label, UNSEEN) for label in labels], dtype=np.int32)


def prediction_rows(rows: Rows, probabilities: np.ndarray, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The objects of predictions/<split>.jsonl, in the order of the data; the text never leaves `rows`.

    probabilities [N, C], C = len(names). Each object has `row` (from 0), `id`, `group` and `label` where
    the data has them, `prediction` and `probabilities` (label -> p). `group` numbers the patients or documents
    in order of appearance: which rows belong together, never whose they are.
    """
    if probabilities.shape != (len(rows), len(names)):
        raise ValueError(f"probabilities are {probabilities.shape}, expected {(len(rows), len(names))}")
    groups = None if rows.groups is None else cluster_of_rows(rows.groups, len(rows))
    for row, values in enumerate(probabilities):
        found: dict[str, Any] = {"row": row}
        if rows.id is not None:
            found["id"] = rows.id[row]
        if groups is not None:
            found["group"] = int(groups[row])
        if rows.label is not None:
            found["label"] = rows.label[row]
        found["prediction"] = names[int(values.argmax())]
        found["probabilities"] = {name: float(value) for name, value in zip(names, values, strict=True)}
        yield found


def loss_sum(logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
    """Cross-entropy of logits [B, C] against `label` [B], summed under `weight` [B] (padding weighs 0)."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return (losses * batch["weight"]).sum()


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [N, C] in float64, on the host: the same bits wherever the logits are the same."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
