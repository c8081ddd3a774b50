"""Logits and scores of a split, by one road for training, evaluate and predict: so that they agree to the bit."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.data.batches import Batch, assemble, plan_evaluation
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Encoded, TextEncoder
from jaxpeft.errors import InputError
from jaxpeft.peft import Tree
from jaxpeft.tasks import sequence_classification as task
from jaxpeft.tasks.calibration import calibration_report
from jaxpeft.tasks.metrics import ClassificationScores, classification_scores
from jaxpeft.tasks.thresholds import threshold_report
from jaxpeft.training.parallel import Placement
from jaxpeft.training.step import forward_pass


@dataclasses.dataclass(frozen=True)
class Examples:
    """A split, ready for batches: rows, their tokens, and labels int32 [N] (-1 = unseen) where there are any."""

    rows: Rows
    encoded: Encoded
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.rows)


def prepare(rows: Rows, encoder: TextEncoder, classes: Sequence[str], cache: Path | None) -> Examples:
    """Tokenises a split, or takes its tokens from the cache folder, and numbers its labels. Raises InputError."""
    if rows.tags is not None:
        raise InputError("the data has words with tags, and task sequence_classification wants texts with a label")
    labels = None if rows.label is None else task.encode_labels(rows.label, classes)
    return Examples(rows, encoder.encode(rows, cache), labels)


class Evaluator:
    """The forward pass of one model on a placement: compiled once a length."""

    def __init__(self, graphdef: object, placement: Placement, buckets: Sequence[int], batch_size: int):
        self._placement, self._buckets, self._batch_size = placement, buckets, batch_size
        self._forward = placement.compiled(forward_pass(graphdef), batch_argument=2)

    def logits(self, trainable: Tree, frozen: Tree, examples: Examples) -> np.ndarray:
        """Logits float32 [N, C] in the order of the rows; the trees are placed already."""
        outputs = []
        plans = plan_evaluation(examples.encoded.lengths, self._buckets, self._batch_size)
        for plan in plans:
            batch = assemble(plan, examples.encoded, None, self._batch_size)
            inputs: Batch = {name: batch[name] for name in ("ids", "mask", "segments") if name in batch}
            outputs.append(self._forward(trainable, frozen, self._placement.shard(inputs, axis=0)))
        gathered = [self._placement.gather(output) for output in outputs]
        logits = np.empty((len(examples), gathered[0].shape[-1]), np.float32)
        for plan, rows in zip(plans, gathered, strict=True):
            logits[plan.examples] = rows[: len(plan.examples)]
        return logits


def score(
    logits: np.ndarray, examples: Examples, classes: Sequence[str], *, resamples: int = 1000
) -> ClassificationScores:
    """Scores of a split with intervals clustered by patient, else document, else row."""
    assert examples.labels is not None
    probabilities = task.probabilities(logits)
    return classification_scores(examples.labels, probabilities, classes, examples.rows.groups, resamples=resamples)


def probability_report(logits: Mapping[str, np.ndarray], examples: Mapping[str, Examples]) -> dict[str, Any]:
    """`calibration` and `thresholds` of result.json, fitted on validation and measured on test."""
    labels = {split: found for split in logits if (found := examples[split].labels) is not None}
    validation, test = ((labels[split], task.probabilities(logits[split])) for split in ("validation", "test"))
    return {
        "calibration": calibration_report(logits, labels),
        "thresholds": threshold_report(validation, test, examples["test"].rows.groups),
    }
