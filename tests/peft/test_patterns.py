"""Which modules a pattern means, and which entries are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.peft import patterns


@pytest.mark.parametrize(
    ("pattern", "matching"),
    [
        ("query", True),
        ("self.query", True),
        ("uery", False),
        ("self", False),
        (r"layer\.0\..*", True),
        (r"layer\.1\..*", False),
        ("key|query", True),
        (r".*\.\d{1,2}\.attention\.self\.query", True),
        ("bert.encoder.layer.0.attention.self.query", True),
    ],
)
def test_a_pattern_means_a_whole_name_or_its_end_after_a_dot(pattern, matching):
    assert patterns.matches(pattern, "bert.encoder.layer.0.attention.self.query") is matching


def test_the_first_pattern_that_matches_counts():
    entries = patterns.parse(("self.key=1", "query=2", r".*=3", r"(?=v)value=4"))
    names = ("self.key", "self.query", "self.value")
    assert [patterns.value_of(name, entries, 9.0) for name in names] == [1.0, 2.0, 3.0]
    assert patterns.value_of("", {}, 9.0) == 9.0
    assert patterns.parse(("(?=v)value=4",)) == {"(?=v)value": 4.0}


@given(st.lists(st.text(max_size=12), max_size=3), st.booleans())
def test_any_entries_are_refused_or_can_be_used(entries, whole):
    if not list(patterns.problems("peft.lora.rank_pattern", entries, whole=whole)):
        for pattern, value in patterns.parse(entries).items():
            assert 0 < value < float("inf")
            patterns.matches(pattern, "layer.0.query")
