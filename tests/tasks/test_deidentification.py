"""The i2b2 2014 counts, by hand, by sets, and by trying every matching."""

import itertools

import numpy as np
import pytest

from jaxpeft.data.bio import Span
from jaxpeft.errors import InputError
from jaxpeft.tasks.deidentification import HIPAA_TYPES, _relaxed_matches, deidentification_scores


def spans(*triples):
    return [Span(*triple) for triple in triples]


def values(gold, predicted, **settings):
    scores = deidentification_scores(gold, predicted, None, resamples=0, **settings)
    return {name: score["value"] for name, score in scores.metrics.items()}


def test_strict_relaxed_and_hipaa_by_hand():
    gold = [
        spans((0, 10, "DATE"), (20, 30, "PATIENT"), (40, 50, "DOCTOR"), (60, 64, "AGE")),
        spans((5, 9, "HOSPITAL"), (12, 20, "IDNUM")),
    ]
    predicted = [
        # exact; end within two; end three off; start one off
        spans((0, 10, "DATE"), (20, 28, "PATIENT"), (40, 53, "DOCTOR"), (61, 64, "AGE")),
        # exact, but the type; a false alarm of a type that HIPAA does not list
        spans((5, 9, "CITY"), (12, 20, "IDNUM"), (30, 33, "STATE")),
    ]
    found = values(gold, predicted)
    assert (found["precision_strict"], found["recall_strict"]) == (2 / 7, 2 / 6)
    assert found["f1_strict"] == pytest.approx(2 * 2 / 13)
    assert (found["precision_relaxed"], found["recall_relaxed"]) == (3 / 7, 3 / 6)
    # HIPAA: gold DATE, PATIENT, AGE, IDNUM; predicted DATE, PATIENT, AGE, CITY, IDNUM
    assert (found["precision_strict_hipaa"], found["recall_strict_hipaa"]) == (2 / 5, 2 / 4)
    assert (found["precision_relaxed_hipaa"], found["recall_relaxed_hipaa"]) == (3 / 5, 3 / 4)


def test_idnum_can_be_left_out_as_in_the_published_hipaa_scores():
    gold, predicted = [spans((0, 4, "IDNUM"), (6, 9, "DATE"))], [spans((0, 4, "IDNUM"))]
    assert values(gold, predicted)["recall_strict_hipaa"] == 0.5
    assert values(gold, predicted, hipaa=HIPAA_TYPES - {"IDNUM"})["recall_strict_hipaa"] == 0.0


def test_hipaa_types_are_the_nineteen_of_the_task():
    assert len(HIPAA_TYPES) == 19
    assert not HIPAA_TYPES & {"DOCTOR", "USERNAME", "PROFESSION", "HOSPITAL", "STATE", "COUNTRY", "URL", "IPADDR"}


def test_spans_are_a_set_and_stay_in_their_document():
    date = (0, 4, "DATE")
    assert values([spans(date, date)], [spans(date)])["f1_strict"] == 1.0
    assert values([spans(date), []], [[], spans(date)])["f1_relaxed"] == 0.0


@pytest.mark.parametrize(("end", "right"), [(8, 1), (12, 1), (7, 0), (13, 0)])
def test_relaxed_is_an_end_at_most_two_characters_off(end, right):
    assert values([spans((3, 10, "DATE"))], [spans((3, end, "DATE"))])["f1_relaxed"] == right


def test_relaxed_finds_the_most_matches_without_using_a_span_twice():
    rng = np.random.default_rng(0)
    for _ in range(300):
        gold, predicted = (
            {Span(0, int(end), "DATE") for end in rng.integers(4, 13, rng.integers(0, 5))} for _ in range(2)
        )
        fewer, more = sorted((gold, predicted), key=len)
        best = max(
            sum(abs(one.end - other.end) <= 2 for one, other in zip(fewer, chosen, strict=True))
            for chosen in itertools.permutations(more, len(fewer))
        )
        assert _relaxed_matches(gold, predicted) == best


def test_intervals_resample_patients():
    rng = np.random.default_rng(1)
    gold = [spans(*((10 * place, 10 * place + 4, "DATE") for place in range(5))) for _ in range(40)]
    predicted = [[span for span in document if rng.random() < 0.7] for document in gold]
    patients = [document // 4 for document in range(40)]
    scores = deidentification_scores(gold, predicted, patients)
    assert (scores.clusters, scores.few_clusters) == (10, True)
    score = scores.metrics["recall_strict"]
    assert score["low"] < score["value"] < score["high"]
    by_patient = [sum(len(one) for one in predicted[4 * patient : 4 * patient + 4]) / 20 for patient in range(10)]
    drawn = np.random.default_rng(0).integers(0, 10, size=(1000, 10))
    assert np.allclose(scores.drawn["recall_strict"], np.array(by_patient)[drawn].mean(axis=1))


def test_nothing_is_undefined_and_misfits_are_refused():
    assert set(values([[]], [[]]).values()) == {None}
    assert values([spans((0, 2, "STATE"))], [[]])["f1_strict_hipaa"] is None
    with pytest.raises(InputError, match="no documents"):
        deidentification_scores([], [], None)
    with pytest.raises(ValueError, match="1 documents of gold spans, 0"):
        deidentification_scores([[]], [], None)
