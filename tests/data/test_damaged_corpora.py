"""Damaged files of every corpus: rows that hold together and counts of what was repaired, or one clear error."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpeft.config import DataConfig, SyntheticConfig
from jaxpeft.data import synthetic
from jaxpeft.data.bio import strict
from jaxpeft.data.readers import TARGETS, read
from jaxpeft.errors import InputError

CORPORA = [
    (corpus, target)
    for corpus in ("i2b2_2010", "i2b2_2012", "i2b2_2014", "mednli")
    for target in TARGETS.get(corpus, (None,))
]
READ = {".txt", ".con", ".rel", ".xml", ".jsonl"}
NUMBERS = st.integers(0, 10**6)
DAMAGE = st.one_of(
    st.tuples(st.just("flip"), NUMBERS, st.integers(0, 255)),
    st.tuples(st.just("drop"), NUMBERS, NUMBERS),
    st.tuples(st.just("double"), NUMBERS, NUMBERS),
    st.tuples(st.just("shift"), NUMBERS, st.integers(0, 9)),
    st.tuples(st.just("cut"), NUMBERS, NUMBERS),
)


def damaged(content: bytes, kind: str, place: int, value: int) -> bytes:
    if kind in ("drop", "double"):
        lines = content.splitlines(keepends=True)
        place %= max(1, len(lines))
        return b"".join(lines[:place] + lines[place : place + 1] * 2 * (kind == "double") + lines[place + 1 :])
    if kind == "cut":
        return content[: place % (len(content) + 1)]
    digits = [at for at, byte in enumerate(content) if kind == "flip" or 48 <= byte <= 57]
    if not digits:
        return content
    at = digits[place % len(digits)]
    return content[:at] + bytes([value if kind == "flip" else 48 + value]) + content[at + 1 :]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("damaged")
    for corpus in {corpus for corpus, _ in CORPORA}:
        synthetic.write(corpus, folder / corpus, 4, 0)
    return folder


@pytest.mark.parametrize(("corpus", "target"), CORPORA)
@settings(max_examples=120)
@given(data=st.data())
def test_rows_that_hold_together_or_one_clear_error(folders, corpus, target, data):
    files = [path for path in (folders / corpus).rglob("*.*") if path.suffix in READ and path.name != "truth.jsonl"]
    path = data.draw(st.sampled_from(sorted(files)))
    whole = path.read_bytes()
    content = whole
    for damage in data.draw(st.lists(DAMAGE, min_size=1, max_size=4)):
        content = damaged(content, *damage)
    unit, protocol = (
        data.draw(st.sampled_from(["sentence", "document"])),
        data.draw(st.sampled_from(["fixed", "paper"])),
    )
    config = DataConfig(
        format="synthetic", synthetic=SyntheticConfig(corpus=corpus), target=target, unit=unit, protocol=protocol
    )
    path.write_bytes(content)
    try:
        found = read(config, str(folders / corpus))
    except InputError as problem:
        assert_says_nothing_of(whole.decode().splitlines(), str(problem))
        return
    finally:
        path.write_bytes(whole)
    assert all(count >= 0 for count in found.report.values())
    for rows in found.splits.values():
        for row in range(len(rows)):
            check_row(rows.take([row]), unit)


def assert_says_nothing_of(notes, message):
    for line in notes:
        words = line.split()
        for start in range(len(words)):
            piece = " ".join(words[start : start + 3])
            assert len(piece) < 12 or "<" in piece or piece not in message


def check_row(row, unit):
    assert row.text[0].strip()
    if row.tokens is None:
        return
    assert strict(row.tags[0]) == (row.tags[0], 0)
    assert row.starts[0] == sorted(set(row.starts[0]))
    if unit == "document":
        assert all(
            row.text[0].startswith(word, start) for word, start in zip(row.tokens[0], row.starts[0], strict=True)
        )
        assert all(row.text[0][start:end].strip() for start, end, _ in (row.spans or [[]])[0])
    else:
        assert row.text[0] == " ".join(row.tokens[0])
