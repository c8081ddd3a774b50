"""BIO tags to spans and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import v1
from seqeval.scheme import IOB2, Entities

from jaxpeft.errors import InputError
from jaxpeft.tasks.entities import Span, spans_of_tags, tags_of_spans

TAGS = ["O", "B-A", "I-A", "B-B", "I-B", "B-LOCATION-OTHER", "I-LOCATION-OTHER"]
sequences = st.lists(st.sampled_from(TAGS), max_size=12)


@st.composite
def disjoint_spans(draw):
    spans, start = [], 0
    for _ in range(draw(st.integers(0, 5))):
        start += draw(st.integers(0, 2))
        end = start + draw(st.integers(1, 3))
        spans.append(Span(start, end, draw(st.sampled_from(["A", "B"]))))
        start = end
    return spans, start + draw(st.integers(0, 2))


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("", []),
        ("O B-A I-A O", [(1, 3, "A")]),
        ("B-A B-A I-A", [(0, 1, "A"), (1, 3, "A")]),
        ("I-A I-A O", []),  # a stray I- opens nothing
        ("B-A I-B I-A", [(0, 1, "A")]),  # nor does one of another type, and what follows it is stray
        ("B-A O I-A", [(0, 1, "A")]),
        ("O I-B B-B", [(2, 3, "B")]),
        ("B-A I-A", [(0, 2, "A")]),  # up to the last word
    ],
)
def test_only_b_opens_and_only_i_of_its_type_goes_on(tags, spans):
    assert spans_of_tags(tags.split()) == spans


@given(sequences)
def test_spans_are_those_of_seqeval_strict_iob2(tags):
    found = [(entity.start, entity.end, entity.tag) for entity in Entities([tags], IOB2).entities[0]]
    assert spans_of_tags(tags) == found


@given(disjoint_spans())
def test_spans_become_tags_and_spans_again(case):
    spans, words = case
    tags = tags_of_spans(reversed(spans), words)
    assert len(tags) == words
    assert spans_of_tags(tags) == spans


@pytest.mark.parametrize("tag", ["S-A", "B", "I-", "", "b-A", "A"])
def test_a_tag_of_another_scheme_is_refused(tag):
    with pytest.raises(InputError, match="expected O, B-TYPE or I-TYPE"):
        spans_of_tags(["O", tag])


@pytest.mark.parametrize("spans", [[(0, 0, "A")], [(2, 1, "A")], [(-1, 1, "A")], [(3, 5, "A")], [(0, 1, "")],
                                   [(0, 2, "A"), (1, 3, "B")], [(0, 2, "A"), (0, 2, "A")]])  # fmt: skip
def test_spans_that_bio_cannot_say_are_refused(spans):
    with pytest.raises(ValueError, match="of 4 words"):
        tags_of_spans([Span(*span) for span in spans], 4)


def test_seqeval_is_the_version_whose_strict_mode_is_meant():
    gold, predicted = [["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]
    arguments = {"average": "micro", "scheme": IOB2, "zero_division": 0}
    assert v1.precision_recall_fscore_support(gold, predicted, **arguments)[2] == 0.0
    assert np.isclose(v1.precision_recall_fscore_support(gold, gold, **arguments)[2], 1.0)
