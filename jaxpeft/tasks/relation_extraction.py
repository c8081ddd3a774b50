"""Relation extraction: does a relation hold between two marked words of a text, and which?

The pairs are texts in which the reader has put a mark, such as `@problem$`, in place of each of the two; the answer
is the label of a relation, or the negative label. So it is classification, scored for what is not negative.
"""

from collections.abc import Sequence

import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples
from jaxpeft.tasks.clusters import with_interval
from jaxpeft.tasks.metrics import ClassificationScores
from jaxpeft.tasks.paper_protocol import micro_f1_with_negative
from jaxpeft.tasks.relations import METRIC_NAMES, always_negative_scores, index_of_negative, relation_scores
from jaxpeft.tasks.sequence_classification import FALLING, SequenceClassification, probabilities


class RelationExtraction(SequenceClassification):
    """One label a marked pair, most of which are `data.negative_label`."""

    metric_names = tuple(name for name in METRIC_NAMES if name not in FALLING)
    default_metric = "f1_positive_micro"

    def __init__(self, config: Config, classes: Sequence[str]):
        """Raises InputError when `data.negative_label` is none of the classes."""
        super().__init__(config, classes)
        index_of_negative(self._negative, self.classes)

    @property
    def positive(self) -> int:
        """Of two classes the one that is a relation."""
        return int(index_of_negative(self._negative, self.classes) == 0)

    @property
    def _negative(self) -> str:
        return self.config.data.negative_label

    def scores(self, answers: np.ndarray, examples: Examples, *, resamples: int = 1000) -> ClassificationScores:
        """Those of `relations`; under the paper's protocol `paper_f1_micro` as well."""
        rows, labels = examples.rows, self._numbers(examples.rows)
        scores = relation_scores(
            labels,
            probabilities(answers),
            self.classes,
            rows.groups,
            negative_label=self._negative,
            resamples=resamples,
        )
        if self.config.data.protocol != "paper":
            return scores
        return scores.beside({"paper_f1_micro": with_interval(micro_f1_with_negative(labels, answers.argmax(1)), None)})

    def majority(self, train: Rows, rows: Rows) -> dict[str, float | None]:
        """Of the answer that there is no relation anywhere."""
        return always_negative_scores(self._numbers(rows), self.classes, self._negative)
