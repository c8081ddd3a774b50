"""What a task is to the rest of the house: all that training asks for where tasks differ."""

import abc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.batches import Targets
from jaxpeft.data.rows import Rows
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Encoded, Examples
from jaxpeft.tasks.clusters import Scores, cluster_of_rows
from jaxpeft.tasks.losses import balanced, loss_sum

Answers = Any  # what a task makes of the logits of a split; it alone looks inside


class Task(abc.ABC):
    """One task in one run. `classes` are the names of the logits, in their order.

    Attributes of the class:
        head: the classifier that it needs, a key of `MODELS[...].heads`.
        reads_words: whether an example is words with an answer each, rather than a text.
        fits_csv: whether what it answers fits into columns.
        metric_names: those of its scores by which training may select, higher being better. default_metric: one.
    """

    head: ClassVar[str]
    reads_words: ClassVar[bool] = False
    fits_csv: ClassVar[bool] = False
    metric_names: ClassVar[tuple[str, ...]]
    default_metric: ClassVar[str]

    def __init__(self, config: Config, classes: Sequence[str]):
        """Raises InputError for classes that the task cannot work with."""
        self.config, self.classes = config, tuple(classes)

    @staticmethod
    def classes_of(labels: Sequence[str]) -> tuple[str, ...]:
        """The classes of a model for the labels of the data."""
        return tuple(labels)

    @property
    def select_metric(self) -> str:
        """The score on validation that decides which step is best."""
        return self.config.train.select_metric or self.default_metric

    # Training

    @abc.abstractmethod
    def check(self, rows: Rows) -> None:
        """Raises InputError for rows that are another task's."""

    @abc.abstractmethod
    def labels(self, examples: Examples) -> Targets:
        """The labels of a split that the loss sees, each weighing what it does before classes are balanced."""

    def targets(self, examples: Examples) -> Targets:
        """The labels of the training split and their weights, as `train.class_weights` says."""
        found = self.labels(examples)
        if self.config.train.class_weights == "none":
            return found
        return Targets(found.label, balanced(found.label, found.weight, len(self.classes)), found.of_tokens)

    def loss_sum(self, logits: jax.Array, batch: Mapping[str, jax.Array]) -> jax.Array:
        """The loss of a batch, summed under its weights."""
        return loss_sum(logits, batch, focal_gamma=self.config.train.focal_gamma)

    # Answers and scores

    @abc.abstractmethod
    def answers(self, logits: np.ndarray, examples: Examples) -> Answers:
        """What the model says to each row, of logits [E, C], or [words with a token, C] where the task reads words."""

    @abc.abstractmethod
    def scores(self, answers: Answers, examples: Examples, *, resamples: int = 1000) -> Scores:
        """How good the answers are; intervals resample patients, else documents, else rows."""

    def known(self, splits: Splits) -> Rows:
        """The training rows that `majority` goes by: all, of which few may be trained on, for how often a label is."""
        return splits.undrawn

    @abc.abstractmethod
    def majority(self, train: Rows, rows: Rows) -> dict[str, float | None]:
        """The same scores of the answer that knows the labels of the training rows and not the model."""

    def report(self, answers: Mapping[str, Answers], examples: Mapping[str, Examples]) -> dict[str, Any]:
        """What result.json has beside the scores, fitted on validation and measured on test."""
        return {}

    @abc.abstractmethod
    def pictures(self, answers: Answers, test: Examples, result: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """What to draw of the test split: a name of `training.plots.PICTURES` -> what that function wants."""

    # Rows

    def readable(self, rows: Rows) -> Rows:
        """Rows to predict on in the form that the task reads. Raises InputError where they cannot be."""
        return rows

    @abc.abstractmethod
    def said(self, answers: Answers, rows: Rows) -> Iterator[dict[str, Any]]:
        """What predict returns for each row."""

    def columns(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """What `said` of a row, as columns of a CSV file: only where `fits_csv`."""
        raise NotImplementedError

    @abc.abstractmethod
    def prediction_rows(self, answers: Answers, rows: Rows) -> Iterator[dict[str, Any]]:
        """The objects of predictions/<split>.jsonl, in the order of the data; the text never leaves `rows`."""


def numbered(rows: Rows) -> Iterator[dict[str, Any]]:
    """`row` (from 0), and `id` and `group` where the data has them, of each row.

    `group` numbers the patients or documents in order of appearance: which rows belong together, never whose they are.
    """
    groups = None if rows.groups is None else cluster_of_rows(rows.groups, len(rows))
    for row in range(len(rows)):
        found: dict[str, Any] = {"row": row}
        if rows.id is not None:
            found["id"] = rows.id[row]
        if groups is not None:
            found["group"] = int(groups[row])
        yield found


def row_weights(encoded: Encoded) -> np.ndarray:
    """What each example [E] weighs so that its row weighs 1: one over the windows that the row is read in."""
    return (1 / np.bincount(encoded.row_of)[encoded.row_of]).astype(np.float32)
