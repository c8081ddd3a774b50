import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.data import near_duplicates as module
from jaxpeft.data.near_duplicates import near_duplicates

PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))
NOTE = "the patient was seen in clinic for follow up of a left lower lobe pneumonia and felt well"


def runs(text: str) -> set[tuple[str, ...]]:
    words = [*text.split(), "", ""]
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def slowly(first: list[str], second: list[str]) -> int:
    """By the definition: each text with each other."""
    near = 0
    for text in second:
        alike = (10 * len(runs(text) & runs(other)) >= 7 * len(runs(text) | runs(other)) for other in first)
        near += text not in first and any(alike)
    return near


def between(first: list[str], second: list[str]) -> int:
    return near_duplicates({"a": first, "b": second}, [("a", "b")])["a_b_near"]


TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "e", "f"]), min_size=1, max_size=14).map(" ".join), max_size=12
)


@given(TEXTS, TEXTS)
def test_the_search_adds_nothing(first, second):
    assert between(first, second) <= slowly(first, second)


def test_the_search_misses_almost_nothing():
    rng = np.random.default_rng(0)
    first = [" ".join(rng.choice(["a", "b", "c", "d"], 60)) for _ in range(300)]
    second = []
    for text in first:  # one to four words of sixty are others: from nine tenths of the runs in both to under seven
        words = text.split()
        for place in rng.choice(60, rng.integers(1, 5), replace=False):
            words[place] = "z"
        second.append(" ".join(words))
    near = slowly(first, second)
    assert 150 < near < 300
    assert between(first, second) >= 0.99 * near


@pytest.mark.parametrize(
    ("other", "near"),
    [
        (NOTE, False),  # counted as exact
        (NOTE.replace("left", "right"), True),
        (NOTE + " today", True),
        (NOTE.replace("patient", "man").replace("felt well", "is ill"), False),
        ("the patient was seen in clinic for chest pain and sent home after a normal stress test", False),
    ],
)
def test_an_edit_of_a_note_is_near_and_another_note_is_not(other, near):
    assert between([NOTE, "something else"], ["a", other, "b"]) == near


def test_each_pair_of_splits_is_counted_by_rows_of_the_second():
    splits = {
        "train": [NOTE, NOTE + " x"],
        "validation": [NOTE + " y", NOTE + " z", "no"],
        "test": [NOTE + " z", "yes"],
    }
    assert near_duplicates(splits, PAIRS) == {
        "train_test_near": 1,
        "train_validation_near": 2,
        "validation_test_near": 0,  # it is there exactly
    }


def test_of_many_runs_a_sample_is_looked_at_and_said_so(monkeypatch):
    words = [f"w{i}" for i in range(400)]
    first = [" ".join(words[i:] + words[:i]) for i in range(0, 400, 20)]
    second = [text + " more" for text in first] + [" ".join(words[::-1])]
    monkeypatch.setattr(module, "MOST_RUNS", 2000)
    report = near_duplicates({"a": first, "b": second}, [("a", "b")])
    assert report == {"a_b_near": 20, "near_runs_sampled": 9}


def test_texts_of_one_template_are_compared_a_bounded_number_of_times_and_copies_once(monkeypatch):
    compared = []
    monkeypatch.setattr(module, "MOST_COMPARED", 5)
    monkeypatch.setattr(module, "_alike", lambda first, second: compared.append(first) or False)
    template = " ".join(f"w{i}" for i in range(60))
    first = [template + f" a{i} b{i} c{i}" for i in range(40)] + [template] * 40
    assert near_duplicates({"a": first, "b": [template + " x", template + " x"]}, [("a", "b")]) == {"a_b_near": 0}
    assert len(compared) == 5


def test_copies_in_the_second_split_count_each():
    assert near_duplicates({"a": [NOTE], "b": [NOTE + " x"] * 3}, [("a", "b")]) == {"a_b_near": 3}


def test_empty_splits_and_texts():
    assert near_duplicates({"a": [""], "b": ["", "x"], "c": []}, itertools.permutations("abc", 2)) == {
        f"{a}_{b}_near": 0 for a, b in itertools.permutations("abc", 2)
    }
