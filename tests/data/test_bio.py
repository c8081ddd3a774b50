import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.bio import entity_types, is_tag, strict, tag_words

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
