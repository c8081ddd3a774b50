"""Whatever a prediction file holds, it is read or refused with a message."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.errors import InputError
from jaxpeft.training.predictions import groups_of, paired, probabilities_of, read_predictions

values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text("nyO", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["no", "yes"]), inner, max_size=2),
    max_leaves=4,
)
good = st.fixed_dictionaries(
    {"label": st.sampled_from(["no", "yes"]), "probabilities": st.just({"no": 0.5, "yes": 0.5})},
    optional={"id": st.text(max_size=2) | st.just("a\u2028b"), "group": st.integers(0, 3)},
)
odd = st.dictionaries(
    st.sampled_from(["row", "id", "group", "label", "labels", "predictions", "probabilities"]), values, max_size=5
)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("predictions") / "test.jsonl"


@given(st.lists(good | odd | values, max_size=4))
def test_any_json_lines_pair_with_themselves_or_are_refused(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    with contextlib.suppress(InputError):
        found = read_predictions(path)
        assert paired(found, found, ("a", "b")) == found
        groups_of(found, found, ("a", "b"))
        if "labels" not in found[0]:
            assert probabilities_of(found, ["no", "yes"], "a").shape == (len(found), 2)


@given(st.lists(good, min_size=1, max_size=4))
def test_good_rows_are_read_as_they_were_written(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert read_predictions(path) == rows


@given(st.binary(max_size=60))
def test_any_bytes_are_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"test\.jsonl"):
        read_predictions(path)
