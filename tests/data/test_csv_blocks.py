import gzip
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxpeft.data.readers import csv_blocks
from jaxpeft.data.readers.csv_blocks import matching_records
from jaxpeft.data.readers.text_files import csv_records
from jaxpeft.errors import InputError

SECRET = "Mrs Wickersham swallowed her wedding ring"
Found = tuple[list[tuple[int, list[str]]], str | None]


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def outcome(records) -> Found:
    """The records up to the end or the first error, and the error."""
    found = []
    try:
        found.extend(records)
    except InputError as error:
        return [], str(error)
    return found, None


def by_the_csv_module(path: Path, column: int, wanted, fields) -> Found:
    def records():
        rows = csv_records(path)
        next(rows)
        yield from ((line, [row[field] for field in fields]) for line, row in rows if wanted(row[column]))

    return outcome(records())


def quoted(field: str) -> str:
    return '"' + field.replace('"', '""') + '"'


PIECES = ['"', '""', ",", ";", "\n", "\r\n", "\r", "a", "é", "\0", "\ufeff", "\x85", " ", '"a"', '"b,c"', '"d\n""e"']
HEADERS = ["a,b,c\n", '"a","b","c"\r\n', "a;b\n", "a\tb\n", "a\n", "\ufeffa,b\n", '"a\nb",c\n']
LOOSE = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
FIELD = st.text(st.sampled_from('ab,"é\r\n; '), max_size=6)


@st.composite
def tidy(draw) -> str:
    """Records of three columns as a tool writes them, with one slip now and then."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    rows = draw(st.lists(st.lists(FIELD, min_size=3, max_size=3), max_size=8))
    bare = draw(st.booleans())
    body = end.join(",".join(x if bare and x.isalpha() else quoted(x) for x in row) for row in rows)
    body += draw(st.sampled_from(["", end, end + end]))
    place = draw(st.integers(0, 80))
    return body[:place] + draw(st.sampled_from(["", "", *PIECES])) + body[place:]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(st.tuples(st.sampled_from(HEADERS), LOOSE), st.tuples(st.sampled_from(HEADERS[:2]), tidy())),
    st.sampled_from([4, 7, 16, 1 << 16]),
    st.integers(0, 2),
    st.sampled_from(["", "a", "zz"]),
    st.sampled_from([(0,), (1, 0), (2, 2, 1), ()]),
    st.booleans(),
)
@example(("a\n", '\x85\r"x""y"'), 1 << 16, 0, "", (0,), False)  # nothing plain, not even the header's block
@example(("a,b,c\n", '"1","x\n""y""\r\nz","2"\r\n\r\n3,4,5'), 7, 0, "", (2, 1), False)
def test_records_are_those_of_the_csv_module(tmp_path, content, block, column, part, fields, damaged):
    text = "".join(content).encode()
    path = put(tmp_path / "x.csv", text.replace("é".encode(), b"\xe9") if damaged else text)
    width = len(content[0].replace(";", ",").replace("\t", ",").split(","))
    column, fields = column % width, [field % width for field in fields]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "BLOCK", block)
        found = outcome(matching_records(path, column, lambda field: part in field, fields))
    assert found == by_the_csv_module(path, column, lambda field: part in field, fields)


@pytest.mark.parametrize("name", ["x.csv", "x.csv.gz"])
def test_plain_files_never_need_the_csv_module(tmp_path, monkeypatch, name):
    notes = [f'No. {i}, "said" the\r\nnurse\n\n[**2151-8-4**] {SECRET} é\n' * (i % 7) for i in range(300)]
    rows = [f"{i},{quoted('ab'[i % 2])},,{quoted(note)}\n" for i, note in enumerate(notes)]
    path = put(tmp_path / name, ("row,kind,none,text\n" + "".join(rows)).encode())
    expected = by_the_csv_module(path, 1, "b".__eq__, range(4))
    monkeypatch.setattr(csv_blocks, "BLOCK", 1000)
    monkeypatch.setattr(csv_blocks, "csv_records", None)
    found = list(matching_records(path, 1, "b".__eq__, range(4)))
    assert (found, None) == expected
    assert [row[3] for _, row in found] == notes[1::2]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (f'3,"x","{SECRET}" ,1\n', "the CSV record that begins here is broken"),
        (f'3,"x","{SECRET}"\n', "3 fields where the header has 4"),
        (f'3,"x","{SECRET},1\n', "the CSV record that begins here is broken"),
        (f'3,x,"é{SECRET}",1\n', "not UTF-8"),
    ],
)
def test_broken_records_are_named_by_line_though_nobody_wants_them(tmp_path, monkeypatch, record, expected):
    before = "".join(f'{i},"y","two\nlines",\n' for i in range(50))
    path = put(tmp_path / "x.csv", ("a,b,c,d\n" + before + record + '4,"y","z",\n').encode("cp1252"))
    monkeypatch.setattr(csv_blocks, "BLOCK", 64)
    with pytest.raises(InputError) as caught:
        list(matching_records(path, 1, "y".__eq__, [0]))
    assert f"x.csv:102: {expected}" in str(caught.value)
    assert "Wickersham" not in str(caught.value)


def test_a_damaged_gzip_is_said_to_be_one(tmp_path):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 9999)[:-9])
    with pytest.raises(InputError, match="not a whole gzip file"):
        list(matching_records(path, 0, "1".__eq__, [0]))


def test_a_quote_that_never_closes_does_not_fill_the_memory(tmp_path, monkeypatch):
    path = put(tmp_path / "x.csv", b'a,b\n1,"' + b"word " * 2000)
    monkeypatch.setattr(csv_blocks, "BLOCK", 64)
    monkeypatch.setattr(csv_blocks, "_LONGEST_RECORD", 1000)
    sizes, block = [], csv_blocks._Scan._block
    monkeypatch.setattr(csv_blocks._Scan, "_block", lambda self, size: sizes.append(size) or block(self, size))
    with pytest.raises(InputError, match=r"x\.csv:2: the CSV record"):
        list(matching_records(path, 0, "1".__eq__, [0]))
    assert max(sizes) < 3000


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_reading_shows_how_far_it_is(tmp_path, monkeypatch, capsys, terminal):
    path = put(tmp_path / "x.csv", b"a,b\n" + f'"{SECRET}",2\n'.encode() * 100)
    monkeypatch.setattr(csv_blocks, "BLOCK", 64)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    list(matching_records(path, 1, "2".__eq__, [0]))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(csv_blocks, "_SECONDS", {terminal: (0.0, 0.0)})
    list(matching_records(path, 1, "2".__eq__, [0]))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "x.csv: 100%" in shown.err
    assert "Wickersham" not in shown.err
