"""Entity scores against seqeval, against nervaluate, against resamples scored one by one, and by hand."""

import json

import numpy as np
import pytest
from nervaluate import Evaluator
from seqeval.metrics import v1
from seqeval.scheme import IOB2

from jaxpeft.data.bio import Span, spans_of_tags
from jaxpeft.errors import InputError
from jaxpeft.tasks.entity_scores import METRIC_NAMES, SCHEMES, entity_scores

TYPES = ("A", "B", "C")
UNDEFINED = {"value": None, "low": None, "high": None}


def values(gold, predicted, groups=None):
    scores = entity_scores(gold, predicted, groups, resamples=0)
    return {name: score["value"] for name, score in scores.metrics.items()}


def spans(*triples):
    return [Span(*triple) for triple in triples]


def random_tags(rng, words):
    """A valid BIO sequence."""
    tags: list[str] = []
    while len(tags) < words:
        kind, length = rng.choice(TYPES), rng.integers(1, 4)
        tags += ["O"] * int(rng.integers(0, 3)) + [f"B-{kind}"] + [f"I-{kind}"] * int(length - 1)
    return tags[:words]


def random_spans(rng, most):
    """Spans that overlap, nest and repeat as they please; now and then long ones, for the 1 % of an overlap."""
    found = []
    for _ in range(rng.integers(0, most + 1)):
        start, length = rng.integers(0, 8), rng.integers(1, 4) if rng.random() < 0.9 else rng.integers(90, 320)
        found.append(Span(int(start), int(start + length), str(rng.choice(TYPES))))
    return found


def nervaluates(gold, predicted):
    """nervaluate's report of one document, its spans sorted and each once, as we define a row."""
    loaded = [
        [{"label": span.type, "start": span.start, "end": span.end - 1} for span in sorted(set(one))]
        for one in (gold, predicted)
    ]
    return Evaluator([loaded[0]], [loaded[1]], tags=list(TYPES), loader="dict").evaluate()


def test_strict_is_seqevals_strict_mode_on_valid_tags():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        gold, predicted = ([random_tags(rng, words) for words in (5, 9)] for _ in range(2))
        precision, recall, f1, _ = v1.precision_recall_fscore_support(
            gold, predicted, average="micro", scheme=IOB2, zero_division=0
        )
        found = values([spans_of_tags(tags) for tags in gold], [spans_of_tags(tags) for tags in predicted])
        assert found["f1_strict"] == pytest.approx(f1)
        assert found["precision_strict"] == pytest.approx(precision)
        assert found["recall_strict"] == pytest.approx(recall)


def test_partial_and_type_are_nervaluates_on_ten_thousand_documents():
    rng = np.random.default_rng(1)
    names = {"partial": "partial", "type": "ent_type"}
    for _ in range(10_000):
        gold, predicted = random_spans(rng, 5), random_spans(rng, 5)
        theirs, ours = nervaluates(gold, predicted), entity_scores([gold], [predicted], None, resamples=0)
        for scheme, name in names.items():
            for quantity in ("f1", "precision", "recall"):
                value = ours.metrics[f"{quantity}_{scheme}"]["value"]
                assert (value or 0.0) == pytest.approx(getattr(theirs["overall"][name], quantity))
            for row in ours.per_class:
                expected = theirs["entities"][row["name"]][name].f1
                assert row[f"f1_{scheme}"] == pytest.approx(expected)


def test_strict_is_nervaluates_too_where_spans_do_not_overlap_their_own_kind():
    rng = np.random.default_rng(2)
    for _ in range(1000):
        gold, predicted = (spans_of_tags(random_tags(rng, 9)) for _ in range(2))
        theirs = nervaluates(gold, predicted)
        assert (values([gold], [predicted])["f1_strict"] or 0.0) == pytest.approx(theirs["overall"]["strict"].f1)


def test_overlapping_predictions_cost_no_strict_hit():
    # nervaluate's strict lets the first span use the gold one up for nothing, so that the exact one comes too late.
    gold, predicted = spans((0, 3, "A")), spans((0, 2, "A"), (0, 3, "A"))
    assert nervaluates(gold, predicted)["overall"]["strict"].correct == 0
    assert values([gold], [predicted])["f1_strict"] == pytest.approx(2 / 3)


def test_credits_by_hand():
    gold = [spans((0, 2, "A"), (4, 6, "B"), (8, 9, "A"), (12, 14, "C")), []]
    predicted = [spans((0, 2, "A"), (4, 6, "A"), (8, 10, "A"), (20, 21, "C")), spans((0, 1, "A"))]
    found = values(gold, predicted)
    # exact; boundaries without the type; an overlap with the type; nothing; nothing
    assert found["f1_strict"] == pytest.approx(2 * 1 / 9)
    assert found["f1_partial"] == pytest.approx(2 * (1 + 1 + 0.5) / 9)
    assert found["f1_type"] == pytest.approx(2 * (1 + 1) / 9)
    assert (found["precision_strict"], found["recall_strict"]) == (1 / 5, 1 / 4)


def test_spans_are_found_in_their_own_row_alone():
    assert values([spans((0, 1, "A")), []], [[], spans((0, 1, "A"))])["f1_partial"] == 0.0


def test_a_span_given_twice_counts_once():
    once, twice = spans((0, 2, "A"), (1, 3, "B")), spans((0, 2, "A"), (0, 2, "A"), (1, 3, "B"))
    assert values([twice], [once]) == values([once], [twice]) == values([once], [once])


@pytest.mark.parametrize(
    ("gold", "predicted", "precision", "recall", "f1"),
    [([], [], None, None, None), ([(0, 1, "A")], [], None, 0.0, 0.0), ([], [(0, 1, "A")], 0.0, None, 0.0)],
)
def test_what_nothing_defines_is_none(gold, predicted, precision, recall, f1):
    scores = entity_scores([spans(*gold)] * 3, [spans(*predicted)] * 3, None, resamples=20)
    for scheme in SCHEMES:
        found = [scores.metrics[f"{quantity}_{scheme}"]["value"] for quantity in ("precision", "recall", "f1")]
        assert found == [precision, recall, f1]
    if f1 is None:
        assert scores.metrics["f1_strict"] == UNDEFINED


def test_types_have_rows_of_their_own_even_where_they_do_not_occur():
    gold, predicted = [spans((0, 1, "A"), (3, 5, "B"))], [spans((0, 1, "A"), (3, 4, "B"), (6, 7, "Z"))]
    scores = entity_scores(gold, predicted, None, types=["C", "A"], resamples=0)
    rows = {row["name"]: row for row in scores.per_class}
    assert list(rows) == ["A", "B", "C", "Z"]
    assert (rows["A"]["f1"], rows["B"]["f1"], rows["Z"]["f1"], rows["C"]["f1"]) == (1.0, 0.0, 0.0, None)
    assert (rows["B"]["f1_partial"], rows["B"]["f1_type"]) == (0.5, 1.0)
    assert (rows["Z"]["support"], rows["Z"]["predicted"], rows["Z"]["recall"]) == (0, 1, None)
    json.dumps([scores.metrics, scores.per_class, scores.clusters, scores.few_clusters], allow_nan=False)
    assert tuple(scores.metrics) == METRIC_NAMES


def test_resamples_score_as_their_gathered_rows():
    rng = np.random.default_rng(3)
    gold, predicted = ([random_spans(rng, 3) for _ in range(12)] for _ in range(2))
    patients = rng.permutation([0, 0, 0, 1, 1, 2, 2, 3, 3, 3, 3, 4]).tolist()
    order = list(dict.fromkeys(patients))
    scores = entity_scores(gold, predicted, patients, resamples=30, seed=7)
    for resample, drawn in enumerate(np.random.default_rng(7).integers(0, 5, size=(30, 5))):
        rows = [row for number in drawn for row in range(12) if patients[row] == order[number]]
        slow = values([gold[row] for row in rows], [predicted[row] for row in rows])
        for name in METRIC_NAMES:
            assert scores.drawn[name][resample] == pytest.approx(slow[name]), name
    low, high = np.percentile(scores.drawn["f1_strict"], [2.5, 97.5])
    assert scores.metrics["f1_strict"] == {"value": pytest.approx(values(gold, predicted)["f1_strict"]), "low": low,
                                           "high": high}  # fmt: skip


def test_a_types_interval_is_that_of_its_spans_alone():
    rng = np.random.default_rng(4)
    gold, predicted = ([random_spans(rng, 4) for _ in range(40)] for _ in range(2))
    together = {row["name"]: row for row in entity_scores(gold, predicted, None, resamples=50).per_class}
    own = [[[span for span in row if span.type == "A"] for row in side] for side in (gold, predicted)]
    alone = entity_scores(*own, None, resamples=50).metrics["f1_strict"]
    assert (together["A"]["f1_low"], together["A"]["f1_high"]) == (alone["low"], alone["high"])


def test_clusters_are_groups_else_rows_and_few_below_a_hundred():
    rows = [spans((0, 1, "A"))] * 200
    assert entity_scores(rows, rows, None, resamples=2).few_clusters is False
    grouped = entity_scores(rows, rows, [row // 3 for row in range(200)], resamples=2)
    assert (grouped.clusters, grouped.few_clusters) == (67, True)


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="no rows"):
        entity_scores([], [], None)
    with pytest.raises(ValueError, match="1 rows of gold spans, 2"):
        entity_scores([[]], [[], []], None)
    with pytest.raises(ValueError, match="1 groups for 2 rows"):
        entity_scores([[], []], [[], []], ["p"])
