import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxpeft.config import ColumnsConfig, DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.readers.jsonl_csv import read_rows
from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

SECRET = "Mrs Wickersham swallowed her wedding ring on the night of the storm"
COLUMNS = ColumnsConfig()


def lines(*rows: dict) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def error(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_rows(path, COLUMNS, require_label=True)
    assert "Wickersham" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["validation", "valid", "val", "dev"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "jsonl.gz", "csv.gz"])
def test_a_folder_with_splits(tmp_path, name, ending):
    for split in ("train", name, "test"):
        content = f"text,label\nnote of {split},yes\n".encode()
        if "jsonl" in ending:
            content = lines({"text": f"note of {split}", "label": "yes"})
        put(tmp_path / f"{split}.{ending}", content)
    corpus = read(DataConfig(format=ending.split(".")[0]), str(tmp_path))
    assert corpus.published
    assert {split: rows.text for split, rows in corpus.splits.items()} == {
        "train": ["note of train"],
        "validation": [f"note of {name}"],
        "test": ["note of test"],
    }


def test_a_folder_may_lack_validation_but_not_test(tmp_path):
    put(tmp_path / "train.jsonl", lines({"text": "a", "label": "b"}))
    with pytest.raises(InputError, match=r"no test file: looked for test\.jsonl, test\.jsonl\.gz.*has train\.jsonl"):
        read(DataConfig(format="jsonl"), str(tmp_path))
    put(tmp_path / "test.jsonl", lines({"text": "a", "label": "b"}))
    assert set(read(DataConfig(format="jsonl"), str(tmp_path)).splits) == {"train", "test"}


def test_two_files_for_one_split_are_refused(tmp_path):
    for name in ("train.csv", "train.csv.gz", "test.csv"):
        put(tmp_path / name, b"text,label\na,b\n")
    with pytest.raises(InputError, match=r"several files for train: train\.csv, train\.csv\.gz"):
        read(DataConfig(format="csv"), str(tmp_path))


def test_one_file_is_left_to_be_split(tmp_path):
    path = put(tmp_path / "notes.jsonl", lines({"text": "a", "label": "b"}))
    corpus = read(DataConfig(format="jsonl"), str(path))
    assert set(corpus.splits) == {"all"}
    assert not corpus.published


def test_missing_path_and_wrong_format_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere: no such file or folder: expected a csv file"):
        read(DataConfig(format="csv"), str(tmp_path / "nowhere"))
    path = put(tmp_path / "notes.csv", b"text,label\na,b\n")
    with pytest.raises(InputError, match=r"a \.csv file, but data\.format is 'jsonl': set data\.format=csv"):
        read(DataConfig(format="jsonl"), str(path))
    with pytest.raises(InputError, match="expected one of jsonl, csv"):
        read(DataConfig(format="xml"), str(path))
    assert "cannot tell JSON lines from CSV" in error(put(tmp_path / "notes.txt", b"a"))
    assert "cannot be read: No such file" in error(tmp_path / "gone.csv")


def test_named_columns_and_every_field(tmp_path):
    row = {"note": "a", "next": "b", "code": "c", "subject": 7, "stay": "s1", "key": 0, "other": [1]}
    columns = ColumnsConfig(text="note", text_pair="next", label="code", patient="subject", doc="stay", id="key")
    rows, raw = read_rows(put(tmp_path / "x.jsonl", lines(row)), columns, require_label=True)
    assert rows == Rows(text=["a"], text_pair=["b"], label=["c"], patient=["7"], doc=["s1"], id=["0"])
    assert raw == [row]
    assert list(raw[0]) == list(row)


def test_labels_become_text(tmp_path):
    content = lines(*({"text": "a", "label": label} for label in ("x", 3, True)))
    assert read_rows(put(tmp_path / "x.jsonl", content), COLUMNS, True)[0].label == ["x", "3", "True"]


@pytest.mark.parametrize("label", [None, "", " ", 1.0, ["a"], {}, "\ud800"])
def test_labels_of_other_kinds_are_refused(tmp_path, label):
    path = put(tmp_path / "x.jsonl", lines({"text": "a", "label": "b"}, {"text": SECRET, "label": label}))
    assert "column 'label' (label) should hold text or a whole number, and does not in 1 row (line 2)" in error(path)


@pytest.mark.parametrize("content", [lines({"text": "a"}), lines({"text": "a", "label": 1}, {"text": "b"})])
def test_labels_are_optional_for_prediction(tmp_path, content):
    path = put(tmp_path / "x.jsonl", content)
    rows, raw = read_rows(path, COLUMNS, require_label=False)
    assert rows.label is None
    assert raw[0]["text"] == "a"
    assert "label" in error(path)


def test_rows_without_text_are_counted(tmp_path):
    bad: list[dict] = [
        {"text": ""},
        {"text": "  \n"},
        {"text": None},
        {},
        {"text": 5},
        {"text": [SECRET]},
        {"text": "\ud800"},
    ]
    content = lines(*({"label": "x", **row} for row in [*bad, {"text": SECRET}]))
    message = error(put(tmp_path / "x.jsonl", content))
    assert "column 'text' (text) should hold non-empty text" in message
    assert message.endswith("7 rows (line 1, 2, 3, 4, 5, ...)")


def test_an_optional_column_is_all_or_nothing(tmp_path):
    content = b"text,label,patient,doc\na,x,1,\nb,x,,\n"
    assert "column 'patient' (patient)" in error(put(tmp_path / "x.csv", content))
    rows, _ = read_rows(put(tmp_path / "y.csv", content.replace(b"b,x,,", b"b,x,2,")), COLUMNS, True)
    assert rows.patient == ["1", "2"]
    assert rows.doc is None


def test_all_problems_of_a_file_come_together(tmp_path):
    message = error(put(tmp_path / "x.csv", b"Note Text,id\na,1\nb,\n"))
    assert message.startswith("3 problems:")
    assert "no column 'text' for the text; columns: Note Text, id. Set data.columns.text" in message
    assert "no column 'label' for the label" in message
    assert "column 'id' (id)" in message


def test_a_file_without_a_header_does_not_show_its_notes(tmp_path):
    message = error(put(tmp_path / "x.csv", f"{SECRET},yes\n{SECRET},no\n".encode()))
    assert "columns: 2 that are not shown" in message


@pytest.mark.parametrize("record", ["Smith,x,normal", "Smith,1955-03-02,y"])
def test_a_first_record_without_a_header_is_not_shown_even_where_it_is_short(tmp_path, record):
    message = error(put(tmp_path / "x.csv", f"{record}\nother,z,normal\n".encode()))
    assert "columns: 3 that are not shown, since they read like a record: is the header missing?" in message
    assert "Smith" not in message


def test_columns_are_found_in_any_case_and_one_that_is_named_and_absent_is_told(tmp_path):
    file = put(tmp_path / "x.csv", b"TEXT,Label, Patient \na,x,7\nb,y,8\n")
    rows, _ = read_rows(file, COLUMNS, True)
    assert (rows.text, rows.label, rows.patient) == (["a", "b"], ["x", "y"], ["7", "8"])
    for field in ("patient", "doc", "text_pair"):
        with pytest.raises(InputError, match=f"no column 'MRN' for the {field}"):
            read_rows(file, ColumnsConfig(**{field: "MRN"}), True)
    assert read_rows(file, ColumnsConfig(patient="MRN"), False)[0].patient is None  # to predict it is not needed
    two = put(tmp_path / "y.csv", b"text,label,Patient,PATIENT\na,x,7,7\n")
    with pytest.raises(InputError, match=r"Patient, PATIENT may all be the patient: set data\.columns\.patient"):
        read_rows(two, COLUMNS, True)
    assert read_rows(two, ColumnsConfig(patient="PATIENT"), True)[0].patient == ["7"]


def test_one_patient_is_one_however_a_spreadsheet_writes_it_and_blanks_make_no_label(tmp_path):
    content = b"text,label,patient\na,yes,12345\nb,yes ,12345.0\nc,no,12345 \nd,no,007\n"
    rows, _ = read_rows(put(tmp_path / "x.csv", content), COLUMNS, True)
    assert rows.patient == ["12345", "12345", "12345", "007"]
    assert rows.label == ["yes", "yes", "no", "no"]
    content = lines({"text": "a", "label": "x", "patient": 5.0}, {"text": "b", "label": "y", "patient": 5})
    assert read_rows(put(tmp_path / "x.jsonl", content), COLUMNS, True)[0].patient == ["5", "5"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv"])
def test_a_byte_order_mark_is_skipped(tmp_path, name):
    content = lines({"text": "é", "label": "b"}) if name == "x.jsonl" else "text,label\né,b\n".encode()
    assert read_rows(put(tmp_path / name, b"\xef\xbb\xbf" + content), COLUMNS, True)[0].text == ["é"]


@pytest.mark.parametrize("name", ["x.jsonl", "x.csv", "x.csv.gz"])
def test_other_encodings_are_refused_by_line(tmp_path, name):
    rows = [{"text": f"{SECRET} é", "label": "b"}] * 3
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if "csv" in name:
        content = f"text,label\n{SECRET},a\n{SECRET} é,b\n"
    encoded = put(tmp_path / name, content.encode("cp1252"))
    line = 3 if "csv" in name else 1
    assert f"{name}:{line}: not UTF-8" in error(encoded)
    assert "iconv -f CP1252 -t UTF-8" in error(encoded)
    as_exported = error(put(tmp_path / name, content.encode("utf-16")))
    assert f"{name}:1: not UTF-8" in as_exported
    assert "iconv -f UTF-16 -t UTF-8" in as_exported


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f'{{"text": "{SECRET}" "label": 1}}', "x.jsonl:2: column 80: broken JSON: Expecting ',' delimiter"),
        (f'{{"text": "{SECRET}', "column 10: broken JSON: Unterminated string starting at"),
        (f'{{"text": "\\x {SECRET}"}}', "broken JSON: Invalid \\escape"),
        (f'["{SECRET}"]', 'expected an object such as {"text": ..., "label": ...}, found list'),
        ("9" * 5000, "a number or a nesting too long"),
        ("[" * 200_000, "a number or a nesting too long"),
    ],
)
def test_broken_json_is_named_by_line_and_column(tmp_path, line, expected):
    message = error(put(tmp_path / "x.jsonl", lines({"text": "a", "label": "b"}) + line.encode() + b"\n"))
    assert expected in message
    assert "x.jsonl:2: " in message


def test_blank_lines_and_windows_line_ends(tmp_path):
    content = b'{"text": "a", "label": "b"}\r\n\r\n{"text": "c", "label": "d"}'
    assert read_rows(put(tmp_path / "x.jsonl", content), COLUMNS, True)[0].text == ["a", "c"]
    content = b'text,label\r\n"a\r\nb",c\r\n\r\nd,e'
    assert read_rows(put(tmp_path / "x.csv", content), COLUMNS, True)[0].text == ["a\r\nb", "d"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_delimiters_and_quoting(tmp_path, delimiter):
    content = f'text{delimiter}label\n"a {delimiter} ""quoted""\nnote, with; all\t"{delimiter}yes\n'
    rows, raw = read_rows(put(tmp_path / "x.csv", content.encode()), COLUMNS, True)
    assert rows.text == [f'a {delimiter} "quoted"\nnote, with; all\t']
    assert raw == [{"text": rows.text[0], "label": "yes"}]


def test_a_long_note_is_no_error(tmp_path):
    content = f'text,label\n"{"word " * 60_000}",yes\n'
    assert len(read_rows(put(tmp_path / "x.csv", content.encode()), COLUMNS, True)[0].text[0]) == 300_000


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f'text,label\n"a\nb",c\n{SECRET},d,e\n', "x.csv:4: 3 fields where the header has 2"),
        (f'text,label\na,b\n"{SECRET}\nno end,c\n', "x.csv:3: the CSV record that begins here is broken"),
        (f'text,label\n"{SECRET}" x,b\n', "x.csv:2: the CSV record that begins here is broken"),
        (f"text,text\n{SECRET},b\n", "x.csv:1: column 2 of the header: a name is empty or comes twice"),
        (f"text,,\n{SECRET},b,c\n", "x.csv:1: columns 2, 3 of the header: a name is empty or comes twice"),
        (f"{SECRET},1955-03-02,,pain\na,b,c,d\n", "column 3 of the header: a name is empty or comes twice; is the hea"),
        ("", "empty file"),
        ("text,label\n", "no rows: expected at least one example"),
    ],
)
def test_broken_csv_is_named_by_line(tmp_path, content, expected):
    assert expected in error(put(tmp_path / "x.csv", content.encode()))


def test_empty_json_lines(tmp_path):
    assert "no rows" in error(put(tmp_path / "x.jsonl", b"\n"))


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: b"text,label\na,b\n", lambda data: data[:4]])
def test_a_damaged_gzip_is_said_to_be_one(tmp_path, damage):
    path = tmp_path / "x.csv.gz"
    path.write_bytes(damage(gzip.compress(b"text,label\n" + b"a,b\n" * 999)))
    assert "not a whole gzip file" in error(path)


ROWS = [{"text": f"{SECRET} {i}, café", "label": f"l{i % 2}", "patient": i} for i in range(4)]
FILES = {
    "x.jsonl": "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode(),
    "x.csv": ("text,label,patient\n" + "".join(f'"{r["text"]}",{r["label"]},{r["patient"]}\n' for r in ROWS)).encode(),
}


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4), st.sets(st.integers(0, 5)))
@example([], {0})
def test_damaged_files_give_rows_or_one_clear_error(tmp_path, name, flips, dropped):
    kept = [line for i, line in enumerate(FILES[name].splitlines(keepends=True)) if i not in dropped]
    content = bytearray(b"".join(kept))
    for place, value in flips:
        if content:
            content[place % len(content)] = value
    path = put(tmp_path / name, bytes(content))
    message = ""
    try:
        rows, raw = read_rows(path, COLUMNS, require_label=True)
        assert len(rows) == len(raw) > 0
    except InputError as problem:
        message = str(problem)
    assert "Wickersham" not in message
    assert "storm" not in message


def test_rows_to_predict_on_may_lack_a_patient_here_and_there(tmp_path):
    path = put(tmp_path / "new.csv", b"text,patient,id\nfirst,7,a\nsecond,,b\n")
    rows, _ = read_rows(path, COLUMNS, require_label=False)
    assert (rows.patient, rows.id) == (None, ["a", "b"])
