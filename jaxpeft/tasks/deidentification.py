"""De-identification as i2b2 2014 (track 1) scores it: spans of characters, summed over documents.

- strict   start, end and type equal.
- relaxed  start and type equal, the ends at most two characters apart.
- *_hipaa  the same over the types that HIPAA protects, as the task lists them; gold and predicted
           spans of other types are left out first.

As in the official script a document's spans are a set, and each is matched once. Under `relaxed` that script
also takes two spans of one document for one when they begin together, are of one type and end within two
characters; here they are two. Its pattern for IDNUM ends in a blank and so matches nothing: published HIPAA
scores leave IDNUM out, and `hipaa=HIPAA_TYPES - {"IDNUM"}` gives theirs.

Stubbs, Kotfila, Uzuner 2015, "Automated systems for the de-identification of longitudinal clinical narratives".
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence, Set

import numpy as np

from jaxpeft.data.bio import Span
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import Scores, cluster_of_rows, ratio, score_sums, sum_by_cluster

NAMES = frozenset(("PATIENT",))
PLACES = frozenset(("CITY", "STREET", "ZIP", "ORGANIZATION"))
CONTACTS = frozenset(("PHONE", "FAX", "EMAIL"))
IDS = frozenset(("SSN", "MEDICALRECORD", "HEALTHPLAN", "ACCOUNT", "LICENSE", "VEHICLE", "DEVICE", "BIOID", "IDNUM"))
HIPAA_TYPES = NAMES | PLACES | CONTACTS | IDS | {"AGE", "DATE"}
RELAXED_END = 2  # characters


def deidentification_scores(
    gold: Sequence[Iterable[Span]],
    predicted: Sequence[Iterable[Span]],
    groups: Sequence[Hashable] | None,
    *,
    hipaa: Set[str] = HIPAA_TYPES,
    resamples: int = 1000,
    seed: int = 0,
) -> Scores:
    """f1, precision and recall, each `_strict`, `_relaxed`, `_strict_hipaa` and `_relaxed_hipaa`.

    Spans are of characters, one list a document; `groups` are the patients. Intervals as in `entity_scores`.
    """
    if len(gold) != len(predicted):
        raise ValueError(f"{len(gold)} documents of gold spans, {len(predicted)} of predicted ones")
    if not len(gold):
        raise InputError("there are no documents to score: the split is empty")
    counts = [_counts(set(ours), set(theirs), hipaa) for ours, theirs in zip(gold, predicted, strict=True)]
    sums = sum_by_cluster([*np.array(counts).T], cluster_of_rows(groups, len(gold)))
    return score_sums(sums, _scores_of_counts, resamples=resamples, seed=seed)


def _counts(gold: set[Span], predicted: set[Span], hipaa: Set[str]) -> list[int]:
    """Gold, predicted, strictly right and relaxedly right spans of a document, of all types and of HIPAA's."""
    counts = []
    for types in (None, hipaa):
        ours, theirs = ({span for span in spans if types is None or span.type in types} for spans in (gold, predicted))
        counts += [len(ours), len(theirs), len(ours & theirs), _relaxed_matches(ours, theirs)]
    return counts


def _relaxed_matches(gold: set[Span], predicted: set[Span]) -> int:
    """The most pairs of equal start and type whose ends are within `RELAXED_END`, none used twice."""
    wanted: dict[tuple[int, str], list[int]] = defaultdict(list)
    for span in sorted(gold):
        wanted[span.start, span.type].append(span.end)
    matches = 0
    for span in sorted(predicted):
        ends = wanted[span.start, span.type]
        while ends and ends[0] < span.end - RELAXED_END:  # out of reach of all that follow, too
            ends.pop(0)
        if ends and ends[0] <= span.end + RELAXED_END:
            ends.pop(0)
            matches += 1
    return matches


def _scores_of_counts(counts: np.ndarray) -> dict[str, np.ndarray]:
    """The scores [R] of counts [8, R] as `_counts` orders them."""
    scores = {}
    for suffix, (gold, predicted, strict, relaxed) in zip(("", "_hipaa"), np.split(counts, 2), strict=True):
        for scheme, right in (("strict", strict), ("relaxed", relaxed)):
            scores[f"f1_{scheme}{suffix}"] = ratio(2 * right, gold + predicted)
            scores[f"precision_{scheme}{suffix}"] = ratio(right, predicted)
            scores[f"recall_{scheme}{suffix}"] = ratio(right, gold)
    return scores
