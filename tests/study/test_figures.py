"""Drawings as a page needs them, and the Pareto front."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.study import chart
from jaxpeft.study.scatter import pareto

POINTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12)


@given(POINTS)
def test_nothing_beats_the_front_and_something_beats_all_else(points):
    front = pareto(points)

    def beats(one, other):
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    assert [points[place] for place in front] == sorted({points[place] for place in front})
    for place, point in enumerate(points):
        beaten = any(beats(other, point) for other in points)
        assert beaten == (point not in [points[one] for one in front])
        assert not (beaten and place in front)


def test_a_drawing_is_an_element_with_its_own_names_and_the_page_s_colours():
    with chart.drawing("size-a", "A < B", "Rises & falls.") as made:
        made.axes.plot([1, 2], [3, 4], "o", color=chart.SERIES[9], label="x")
        made.axes.set_title("a $title$ of text")
    assert made.svg.startswith('<svg class="chart" role="img"')
    assert made.svg.endswith("</svg>")
    assert '<title id="size-a-title">A &lt; B</title><desc id="size-a-about">Rises &amp; falls.</desc>' in made.svg
    assert "var(--c10)" in made.svg
    assert "a $title$ of text" in made.svg
    assert all(name.startswith("size-a-") for name in re.findall(r'\bid="([^"]+)"', made.svg))
    assert "<metadata" not in made.svg
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", made.svg)


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (chart.count, 22_715_911, "22.7M"),
        (chart.count, 999, "999"),
        (chart.operations, 3.2e15, "3.2 PFLOP"),
        (chart.operations, 12, "12 FLOP"),
        (chart.seconds, 59, "59 s"),
        (chart.seconds, 90, "1.5 min"),
        (chart.seconds, 7200, "2 h"),
        (chart.size, 310_343, "303 KiB"),
        (chart.size, 12, "12 B"),
    ],
)
def test_numbers_are_said_shortly(show, value, text):
    assert show(value) == text


def test_an_axis_has_few_words_on_it():
    assert chart.few([1, 2, 3]) == [1, 2, 3]
    assert chart.few(range(12), 5) == [0, 3, 6, 9]
    assert chart.few([]) == []
    assert chart.round_between(800, 2e7, chart.ROUND_COUNTS) == [1e3, 1e4, 1e5, 1e6, 1e7]
    assert chart.round_between(40, 400, chart.ROUND_SECONDS) == [60, 120, 300]
