"""Scores of predicted entities: exact, by overlap, and by type, each with a 95 % interval.

A row is a sentence or a document; entities are spans within it, as a set: a span given twice counts
once. Precision is credit / predicted spans, recall is credit / gold spans, F1 is 2 credit / (predicted
+ gold), summed over all rows (micro). The credit is

- strict   1 for a predicted span that is gold: same start, same end, same type.
- partial  1 for the same start and end, 1/2 for an overlap, whatever the types.
- type     1 for an overlap with a gold span of the same type.

strict is a set's intersection, so it is seqeval's and CoNLL's score. partial and type are those of
SemEval 2013 task 9 as nervaluate 1.x counts them: predicted spans take gold ones in the order of
their start, end and type, and none is taken twice. Under partial, a span takes the gold one with its very
boundaries, else the first that it overlaps. Under type, it takes the one of its type whose boundaries are
nearest; failing that it takes the first of another type, for no credit. An overlap counts from 1 % of the
gold span. Spans of one row may overlap one another: strict does not mind, and partial and type then
depend on that order. Scores of a type are those of the rows without all other types.

With nothing predicted precision is undefined (None), with nothing gold recall is, and with neither F1
is. F1 is 0 where only one of the two is empty.
"""

import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from jaxpeft.data.bio import Span
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import Score, Scores, cluster_of_rows, defined, ratio, resampled, with_interval

SCHEMES = ("strict", "partial", "type")
METRIC_NAMES = tuple(f"{quantity}_{scheme}" for scheme in SCHEMES for quantity in ("f1", "precision", "recall"))

TypeRow = dict[str, str | int | float | None]
SpanPair = tuple[list[Span], list[Span]]  # gold and predicted spans of a row, sorted, each once


@dataclasses.dataclass(frozen=True)
class EntityScores(Scores):
    """The scores of one split; `metrics` are over all types together."""

    # name, support (gold), predicted, precision, recall, f1, f1_low, f1_high (all strict), f1_partial, f1_type
    per_class: list[TypeRow]

    def report(self) -> dict[str, Any]:
        """Those of `Scores`, and `per_class`."""
        return super().report() | {"per_class": self.per_class}


def entity_scores(
    gold: Sequence[Iterable[Span]],
    predicted: Sequence[Iterable[Span]],
    groups: Sequence[Hashable] | None,
    *,
    types: Sequence[str] = (),
    resamples: int = 1000,
    seed: int = 0,
) -> EntityScores:
    """Score the predicted spans of each row against its gold ones.

    Intervals resample `groups` (each row on its own when None) as in `classification_scores`. Types that occur
    in neither get a row of their own if `types` names them. Raises InputError when there are no rows.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} rows of gold spans, {len(predicted)} of predicted ones")
    if not len(gold):
        raise InputError("there are no rows to score: the split is empty")
    rows = [(sorted(set(ours)), sorted(set(theirs))) for ours, theirs in zip(gold, predicted, strict=True)]
    names = sorted({*types, *(span.type for pair in rows for spans in pair for span in spans)})
    counts = _counts_by_cluster(rows, names, cluster_of_rows(groups, len(rows)))
    totals = counts.sum(axis=-1, keepdims=True)
    values = _scores_of_counts(totals)
    drawn = resampled(counts, _scores_of_counts, resamples=resamples, seed=seed)
    return EntityScores(
        metrics=_metrics(values, drawn, slot=0),
        drawn={name: value[0] for name, value in drawn.items()},
        clusters=counts.shape[-1],
        per_class=[
            _type_row(name, int(totals[0, slot, 0]), int(totals[1, slot, 0]), _metrics(values, drawn, slot))
            for slot, name in enumerate(names, start=1)
        ],
    )


def _metrics(values: dict[str, np.ndarray], drawn: dict[str, np.ndarray], slot: int) -> dict[str, Score]:
    """The scores of all types (slot 0) or of one."""
    return {
        name: with_interval(defined(value[slot, 0]), drawn[name][slot] if drawn else None)
        for name, value in values.items()
    }


def _type_row(name: str, gold: int, predicted: int, metrics: dict[str, Score]) -> TypeRow:
    """What `per_class` says of a type."""
    strict = metrics["f1_strict"]
    return {
        "name": name,
        "support": gold,
        "predicted": predicted,
        "precision": metrics["precision_strict"]["value"],
        "recall": metrics["recall_strict"]["value"],
        "f1": strict["value"],
        "f1_low": strict["low"],
        "f1_high": strict["high"],
        "f1_partial": metrics["f1_partial"]["value"],
        "f1_type": metrics["f1_type"]["value"],
    }


def _counts_by_cluster(rows: Sequence[SpanPair], names: Sequence[str], cluster: np.ndarray) -> np.ndarray:
    """Gold spans, predicted spans, and twice the credit of each scheme: [5, 1 + types, clusters], all types first."""
    slots = {name: slot for slot, name in enumerate(names, start=1)}
    counts = np.zeros((2 + len(SCHEMES), 1 + len(names), int(cluster.max()) + 1))
    for number, (gold, predicted) in zip(cluster, rows, strict=True):
        counts[:, 0, number] += _counts(gold, predicted)
        for kind in {span.type for span in (*gold, *predicted)}:
            own = [[span for span in spans if span.type == kind] for spans in (gold, predicted)]
            counts[:, slots[kind], number] += _counts(*own)
    return counts


def _counts(gold: list[Span], predicted: list[Span]) -> tuple[int, ...]:
    """Gold and predicted spans of a row, and twice its credits."""
    strict = 2 * len(set(gold) & set(predicted))
    return (
        len(gold),
        len(predicted),
        strict,
        _twice_partial_credit(gold, predicted),
        _twice_type_credit(gold, predicted),
    )


def _twice_partial_credit(gold: list[Span], predicted: list[Span]) -> int:
    credit, free = 0, list(gold)
    for span in predicted:
        reached = [other for other in free if _overlap(span, other)]
        same = [other for other in reached if other[:2] == span[:2]]
        credit += 2 * bool(same) or 1 * bool(reached)
        if reached:
            free.remove((same or reached)[0])
    return credit


def _twice_type_credit(gold: list[Span], predicted: list[Span]) -> int:
    credit, free = 0, list(gold)
    for span in predicted:
        reached = [other for other in free if _overlap(span, other)]
        same = [other for other in reached if other.type == span.type]
        if same:
            credit += 2
            free.remove(min(same, key=lambda other: abs(other.start - span.start) + abs(other.end - span.end)))
        elif reached:
            free.remove(reached[0])
    return credit


def _overlap(predicted: Span, gold: Span) -> bool:
    """Whether the two share at least 1 % of the gold span."""
    shared = min(predicted.end, gold.end) - max(predicted.start, gold.start)
    return shared > 0 and 100 * shared >= gold.end - gold.start


def _scores_of_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The scores [slots, R] of counts [5, slots, R] as `_counts_by_cluster` orders them."""
    gold, predicted, *credits = counts
    scores = {}
    for scheme, twice in zip(SCHEMES, credits, strict=True):
        scores[f"f1_{scheme}"] = ratio(twice, gold + predicted)
        scores[f"precision_{scheme}"] = ratio(twice, 2 * predicted)
        scores[f"recall_{scheme}"] = ratio(twice, 2 * gold)
    return scores
