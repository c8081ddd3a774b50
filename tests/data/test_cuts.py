"""Long texts cut: nothing lost or doubled that should not be, and words answered for where they are seen best."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data.cuts import cut, leads


@st.composite
def texts_in_windows(draw):
    """The word of each token of a text (words without a token are skipped), room and stride of its windows."""
    room = draw(st.integers(1, 12))
    sizes = draw(st.lists(st.integers(0, 5), max_size=20))
    return np.repeat(np.arange(len(sizes)), sizes), room, draw(st.integers(1, room))


def test_the_parts_of_a_long_text():
    assert [list(one) for one in cut(10, 4, "head", 0)] == [[0, 1, 2, 3]]
    assert [list(one) for one in cut(10, 4, "tail", 0)] == [[6, 7, 8, 9]]
    assert [list(one) for one in cut(10, 5, "head_tail", 0)] == [[0, 1, 2, 8, 9]]
    assert [list(one) for one in cut(10, 4, "windows", 3)] == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert [one[0] for one in cut(11, 4, "windows", 3)] == [0, 3, 6, 7]  # the last ends with the text


@pytest.mark.parametrize("long_text", ["head", "tail", "head_tail", "windows"])
@given(st.integers(0, 12))
def test_a_text_that_fits_is_whole(long_text, length):
    assert [list(one) for one in cut(length, 12, long_text, 5)] == [list(range(length))]


@given(texts_in_windows())
def test_windows_hold_every_token_each_full_and_in_order(case):
    words, room, stride = case
    windows = cut(len(words), room, "windows", stride)
    assert set(np.concatenate(windows)) == set(range(len(words)))
    for window in windows:
        assert len(window) == min(room, len(words))
        assert (np.diff(window) == 1).all()
    starts = [window[0] for window in windows if len(window)]
    assert starts == sorted(set(starts))
    assert all(b - a <= stride for a, b in itertools.pairwise(starts))


@given(texts_in_windows())
def test_every_word_of_a_text_in_windows_is_answered_for_once_by_its_first_token(case):
    words, room, stride = case
    windows = cut(len(words), room, "windows", stride)
    found = np.concatenate([window[lead] for window, lead in zip(windows, leads(words, windows), strict=True)])
    assert sorted(found) == [np.flatnonzero(words == word)[0] for word in np.unique(words)]


@given(texts_in_windows())
def test_it_is_in_the_window_with_the_most_context_on_the_poorer_side(case):
    words, room, stride = case
    windows = cut(len(words), room, "windows", stride)
    far = len(words)

    def context(window, word):
        places = np.flatnonzero(words == word)
        if places[0] not in window:
            return -far
        before = places[0] - window[0] if window[0] else far
        return min(before, window[-1] - places[-1] if window[-1] < len(words) - 1 else far)

    for window, lead in zip(windows, leads(words, windows), strict=True):
        for word in words[window[lead]]:
            assert context(window, word) == max(context(other, word) for other in windows)


@pytest.mark.parametrize("long_text", ["head", "tail", "head_tail"])
@given(texts_in_windows())
def test_of_a_text_cut_short_the_words_whose_first_token_is_kept_are_answered_for(long_text, case):
    words, room, _ = case
    (kept,) = cut(len(words), room, long_text, 1)
    (lead,) = leads(words, [kept])
    assert len(kept) == min(room, len(words))
    expected = {word for word in np.unique(words) if np.flatnonzero(words == word)[0] in kept}
    assert len(words[kept][lead]) == len(expected)
    assert set(words[kept][lead]) == expected
