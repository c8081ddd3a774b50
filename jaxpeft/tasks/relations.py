"""Scores of relations: a classifier of pairs, most of which stand in no relation (the negative label).

- f1_positive_micro      F1 over the positive classes: 2 right / (predicted + gold), where only rows whose
                         label is positive are gold and only positive answers are predicted. A relation
                         that is missed, invented or taken for another one costs; a pair that is rightly
                         called negative earns nothing. precision_ and recall_positive_micro likewise.
- f1_micro_with_negative micro-F1 over all classes, the negative one included, as the paper reports: every row
                         has one label and one answer, so this is the share of right rows, and always answering
                         the negative label scores its frequency.
- f1_macro               mean F1 of the positive classes that occur as a label or an answer.

A label that training lacks is a positive one that nothing finds. accuracy, auroc_macro, auprc_macro (of two
classes, those of the one that is not negative), ece and brier are those of `metrics`.
"""

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from jaxpeft.data.naming import listed
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import cluster_of_rows, mean_of_defined, ratio, score_sums, sum_by_cluster
from jaxpeft.tasks.metrics import ClassificationScores, classification_scores

OVER_POSITIVES = ("f1_positive_micro", "precision_positive_micro", "recall_positive_micro", "f1_macro")
KEPT = ("accuracy", "auroc_macro", "auprc_macro", "ece", "brier")  # of the scores of any classifier
METRIC_NAMES = (*OVER_POSITIVES, "f1_micro_with_negative", *KEPT)


def relation_scores(
    labels: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
    groups: Sequence[Hashable] | None,
    *,
    negative_label: str,
    resamples: int = 1000,
    seed: int = 0,
) -> ClassificationScores:
    """`classification_scores` with the metrics of relations; `groups` are the documents.

    Raises InputError when `negative_label` is none of `names`.
    """
    negative = index_of_negative(negative_label, names)
    settings = {"resamples": resamples, "seed": seed, "positive": int(negative == 0)}
    scores = classification_scores(labels, probabilities, names, groups, **settings)
    labels, predictions = np.asarray(labels), np.asarray(probabilities).argmax(axis=1)
    sums = sum_by_cluster(_columns(labels, predictions, len(names), negative), cluster_of_rows(groups, len(labels)))
    own = score_sums(sums, _scores_of_sums, resamples=resamples, seed=seed)
    metrics, drawn = scores.metrics | own.metrics, scores.drawn | own.drawn
    return dataclasses.replace(
        scores,
        metrics={name: metrics[name] for name in METRIC_NAMES},
        drawn={name: drawn[name] for name in METRIC_NAMES if name in drawn},
    )


def always_negative_scores(labels: np.ndarray, names: Sequence[str], negative_label: str) -> dict[str, float | None]:
    """The metrics of the answer that there is no relation anywhere, given with certainty."""
    probabilities = np.zeros((len(labels), len(names)))
    probabilities[:, index_of_negative(negative_label, names)] = 1.0
    scores = relation_scores(labels, probabilities, names, None, negative_label=negative_label, resamples=0)
    return {name: score["value"] for name, score in scores.metrics.items()}


def index_of_negative(negative_label: str, names: Sequence[str]) -> int:
    """Where among `names` the label of pairs without a relation stands. Raises InputError where it does not."""
    if negative_label not in names:
        raise InputError(
            f"data.negative_label is {negative_label!r}, which is none of the labels {listed(names)}: "
            "name the label of pairs without a relation"
        )
    return list(names).index(negative_label)


def _columns(labels: np.ndarray, predictions: np.ndarray, classes: int, negative: int) -> list[np.ndarray]:
    """What the scores are sums of, columns [N].

    Rows, right rows, positive rows, positive answers; then support, predicted and right rows of each positive class.
    """
    right = labels == predictions
    positives = [index for index in range(classes) if index != negative]
    columns = [np.ones(len(labels)), right, labels != negative, predictions != negative]
    columns += [labels == index for index in positives]
    columns += [predictions == index for index in positives]
    return columns + [right & (labels == index) for index in positives]


def _scores_of_sums(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The scores [R] of the sums [columns, R] of `_columns`."""
    rows, right_rows, gold, predicted = sums[:4]
    support, answers, right = np.split(sums[4:], 3)
    found = right.sum(axis=0)
    return {
        "f1_positive_micro": ratio(2 * found, gold + predicted),
        "precision_positive_micro": ratio(found, predicted),
        "recall_positive_micro": ratio(found, gold),
        "f1_macro": mean_of_defined(ratio(2 * right, support + answers)),
        "f1_micro_with_negative": right_rows / rows,
    }
