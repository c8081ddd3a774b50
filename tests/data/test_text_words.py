"""Words of a text and where they stand."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.rows import Rows
from jaxpeft.data.words import with_words, words_of


def test_words_are_runs_of_letters_runs_of_digits_and_single_others():
    rows = with_words(Rows(text=["A 63yo man: pain, naïve_x"]))
    assert rows.tokens == [["A", "63", "yo", "man", ":", "pain", ",", "naïve", "_", "x"]]
    assert rows.starts == [[0, 2, 4, 7, 10, 12, 16, 18, 23, 24]]


@given(st.text())
def test_all_but_spaces_is_in_one_word(text):
    places = words_of(text)
    assert "".join(text[start:end] for start, end in places) == "".join(text.split())
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(places))


def test_rows_that_have_words_keep_them():
    rows = Rows(text=["a b"], tokens=[["a b"]])
    assert with_words(rows) is rows
