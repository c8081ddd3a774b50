"""Sequence classification: one label a text. How labels become numbers and logits become answers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpeft.data.batches import Targets
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples
from jaxpeft.errors import InputError
from jaxpeft.tasks.calibration import calibration_report
from jaxpeft.tasks.metrics import METRIC_NAMES, ClassificationScores, classification_scores, majority_scores
from jaxpeft.tasks.task import Task, numbered, row_weights
from jaxpeft.tasks.thresholds import threshold_report

UNSEEN = -1  # a label that training lacks: no answer to it is right
FALLING = ("ece", "brier")  # the lower, the better
POOLING = ("mean", "max", "attention")


class SequenceClassification(Task):
    """One label a text, or a pair of texts. Its answers are logits float32 [N, C], windows pooled."""

    head = "sequence_classification"
    fits_csv = True
    metric_names = tuple(name for name in METRIC_NAMES if name not in FALLING)
    default_metric = "f1_macro"

    @property
    def positive(self) -> int:
        """Which of two classes AUROC, average precision and thresholds are of."""
        return 1

    def check(self, rows: Rows) -> None:
        """Raises InputError for words with tags."""
        if rows.tags is not None:
            raise InputError(
                f"the data has words with tags, and task {self.config.task} wants texts with a label: set "
                "task=token_classification, or read something else with data.target"
            )

    def labels(self, examples: Examples) -> Targets:
        """The label of its row for each window, which weighs one over the windows of the row."""
        row_of = examples.encoded.row_of
        return Targets(self._numbers(examples.rows)[row_of], row_weights(examples.encoded))

    def answers(self, logits: np.ndarray, examples: Examples) -> np.ndarray:
        """The logits [N, C] of each row: those of its windows [E, C], pooled as `data.window_pooling` says."""
        return pool(logits, examples.encoded.row_of, self.config.data.window_pooling)

    def scores(self, answers: np.ndarray, examples: Examples, *, resamples: int = 1000) -> ClassificationScores:
        """Those of `metrics`."""
        rows = examples.rows
        return classification_scores(
            self._numbers(rows), probabilities(answers), self.classes, rows.groups, resamples=resamples
        )

    def majority(self, train: Rows, rows: Rows) -> dict[str, float | None]:
        """Of the most frequent label, at the frequencies of training."""
        return majority_scores(self._numbers(train), self._numbers(rows), self.classes)

    def report(self, answers: Mapping[str, np.ndarray], examples: Mapping[str, Examples]) -> dict[str, Any]:
        """`calibration` and `thresholds`."""
        labels = {split: self._numbers(examples[split].rows) for split in answers}
        validation, test = ((labels[split], probabilities(answers[split])) for split in ("validation", "test"))
        return {
            "calibration": calibration_report(answers, labels),
            "thresholds": threshold_report(
                validation, test, examples["test"].rows.groups, self.classes, positive=self.positive
            ),
        }

    def pictures(self, answers: np.ndarray, test: Examples, result: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """What is taken for what, and what the probabilities are worth."""
        labels, chances = self._numbers(test.rows), probabilities(answers)
        shown, temperature = {"as trained": chances}, result["calibration"]["temperature"]
        if temperature is not None:
            shown[f"at temperature {temperature:.2f}"] = probabilities(answers / temperature)
        return {
            "confusion": (np.array(result["confusion"]["test"]), self.classes),
            "roc": (labels, chances, self.classes, self.positive),
            "precision_recall": (labels, chances, self.classes, self.positive),
            "calibration": (labels, shown),
        }

    def said(self, answers: np.ndarray, rows: Rows) -> Iterator[dict[str, Any]]:
        """`prediction` and `probabilities` (label -> p)."""
        for values in probabilities(answers):
            chances = {name: float(value) for name, value in zip(self.classes, values, strict=True)}
            yield {"prediction": self.classes[int(values.argmax())], "probabilities": chances}

    def columns(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """`prediction`, and `probability_<label>` for each label."""
        chances = {f"probability_{name}": value for name, value in said["probabilities"].items()}
        return {"prediction": said["prediction"], **chances}

    def prediction_rows(self, answers: np.ndarray, rows: Rows) -> Iterator[dict[str, Any]]:
        """`row`, `id`, `group` and `label` where the data has them, `prediction` and `probabilities`."""
        for place, (row, said) in enumerate(zip(numbered(rows), self.said(answers, rows), strict=True)):
            label = {} if rows.label is None else {"label": rows.label[place]}
            yield row | label | said

    def _numbers(self, rows: Rows) -> np.ndarray:
        return encode_labels(rows.label or (), self.classes)


def encode_labels(labels: Sequence[str], names: Sequence[str]) -> np.ndarray:
    """The index in `names` of each label as int32 [N], `UNSEEN` where it is not among them."""
    index = {name: number for number, name in enumerate(names)}
    return np.array([index.get(label, UNSEEN) for label in labels], dtype=np.int32)


def pool(logits: np.ndarray, row_of: np.ndarray, how: str) -> np.ndarray:
    """The logits [N, C] of rows: the mean or the max, class by class, of those [E, C] of their windows.

    `attention` is the mean under a softmax over a row's windows of how far the largest logit of each stands above its
    average one: who decides nothing says little. None of it is trained.
    """
    first = np.flatnonzero(np.diff(row_of, prepend=-1))
    if len(first) == len(row_of):  # no row has two
        return logits
    if how == "max":
        return np.maximum.reduceat(logits, first)
    weights = np.ones(len(logits), logits.dtype)
    if how == "attention":
        decided = logits.max(axis=1) - logits.mean(axis=1)
        weights = np.exp(decided - np.maximum.reduceat(decided, first)[row_of])
    return np.add.reduceat(logits * weights[:, None], first) / np.add.reduceat(weights, first)[:, None]


def probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits [N, C] in float64, on the host: the same bits wherever the logits are the same."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)
