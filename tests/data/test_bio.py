"""BIO tags, and spans of words as tags and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import v1
from seqeval.scheme import IOB2, Entities

from jaxpeft.data.bio import Span, entity_types, is_tag, spans_of_tags, strict, tag_words, tags_of_types
from jaxpeft.errors import InputError

TAGS = st.sampled_from(["O", "B-x", "I-x", "B-y", "I-y"])


@pytest.mark.parametrize("tag", ["O", "B-x", "I-LOCATION-OTHER"])
def test_tags(tag):
    assert is_tag(tag)


@pytest.mark.parametrize("tag", ["", "o", "B-", "I", "S-x", "E-x", "B_x", "x", "B- x", "b-x"])
def test_what_is_no_tag(tag):
    assert not is_tag(tag)


@pytest.mark.parametrize(
    ("tags", "expected", "stray"),
    [
        (["I-x", "I-x"], ["B-x", "I-x"], 1),
        (["B-x", "I-y", "I-y"], ["B-x", "B-y", "I-y"], 1),
        (["O", "I-x", "O", "I-x"], ["O", "B-x", "O", "B-x"], 2),
        (["B-x", "I-x", "B-x", "O"], ["B-x", "I-x", "B-x", "O"], 0),
        ([], [], 0),
    ],
)
def test_a_stray_inside_tag_begins_an_entity(tags, expected, stray):
    assert strict(tags) == (expected, stray)


@given(st.lists(TAGS))
def test_strict_tags_are_strict_and_stay_as_they_are(tags):
    repaired, stray = strict(tags)
    assert strict(repaired) == (repaired, 0)
    assert sum(a != b for a, b in zip(tags, repaired, strict=True)) == stray
    assert [tag[1:] for tag in repaired] == [tag[1:] for tag in tags]


@pytest.mark.parametrize(
    ("entities", "expected", "left_out"),
    [
        ([(0, 1, "x"), (1, 3, "y")], "B-x B-y I-y O", 0),
        ([(0, 1, "x"), (0, 2, "y")], "B-y I-y O O", 1),  # the longer one, in whichever order
        ([(0, 3, "x"), (2, 4, "y")], "B-x I-x I-x O", 1),
        ([(1, 2, "x"), (1, 2, "y")], "O B-x O O", 1),  # the first of equals
        ([(0, 2, "x"), (2, 4, "x")], "B-x I-x B-x I-x", 0),
        ([], "O O O O", 0),
    ],
)
def test_entities_become_tags(entities, expected, left_out):
    assert tag_words(4, entities) == (expected.split(), left_out)


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 4), st.sampled_from("xyz")), max_size=6))
def test_every_entity_is_tagged_or_counted(drawn):
    entities = [(first, first + length, name) for first, length, name in drawn]
    tags, left_out = tag_words(12, entities)
    assert strict(tags) == (tags, 0)
    assert sum(tag.startswith("B-") for tag in tags) == len(entities) - left_out
    assert entity_types(tags) <= {name for _, _, name in entities}


def test_the_tags_of_types_are_outside_first_then_by_type():
    assert tags_of_types(["y", "x"]) == ("O", "B-y", "I-y", "B-x", "I-x")


SEQEVAL_TAGS = ["O", "B-A", "I-A", "B-B", "I-B", "B-LOCATION-OTHER", "I-LOCATION-OTHER"]


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


@given(st.lists(st.sampled_from(SEQEVAL_TAGS), max_size=12))
def test_spans_are_those_of_seqeval_strict_iob2(tags):
    found = [(entity.start, entity.end, entity.tag) for entity in Entities([tags], IOB2).entities[0]]
    assert spans_of_tags(tags) == found


@given(disjoint_spans())
def test_spans_become_tags_and_spans_again(case):
    spans, words = case
    tags, left_out = tag_words(words, spans[::-1])
    assert (len(tags), left_out) == (words, 0)
    assert spans_of_tags(tags) == spans


@pytest.mark.parametrize("tag", ["S-A", "B", "I-", "", "b-A", "A"])
def test_a_tag_of_another_scheme_is_refused(tag):
    with pytest.raises(InputError, match="expected O, B-TYPE or I-TYPE"):
        spans_of_tags(["O", tag])


def test_seqeval_is_the_version_whose_strict_mode_is_meant():
    gold, predicted = [["B-A", "I-A", "O"]], [["I-A", "I-A", "O"]]
    arguments = {"average": "micro", "scheme": IOB2, "zero_division": 0}
    assert v1.precision_recall_fscore_support(gold, predicted, **arguments)[2] == 0.0
    assert np.isclose(v1.precision_recall_fscore_support(gold, gold, **arguments)[2], 1.0)
