import csv
import gzip
import json
import random
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxpeft.config import DataConfig
from jaxpeft.data import synthetic
from jaxpeft.data.readers import csv_blocks, read
from jaxpeft.data.readers.mimic3 import TARGETS
from jaxpeft.data.readers.mimic3_splits import hashed_split
from jaxpeft.data.readers.mimic3_triage import TRIAGE_CODES, clean
from jaxpeft.data.rows import Rows
from jaxpeft.data.splits import make_splits
from jaxpeft.errors import InputError
from tests.data import mimic3_folder
from tests.data.mimic3_folder import SECRET, USUAL, error, one_split, table

MIMIC3 = DataConfig(format="mimic3")
PAPER = DataConfig(format="mimic3", protocol="paper")


def folder(path: Path, notes: list[dict[str, str]], codes: list[dict[str, str]]) -> Path:
    return mimic3_folder.folder(path, NOTEEVENTS=notes, DIAGNOSES_ICD=codes)


@pytest.fixture(scope="module")
def twin(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("twin") / "tables"
    synthetic.write("mimic3", out, documents=200, seed=5)
    return out


def compress(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def lower_case(path: Path) -> None:
    header, rest = path.read_text().split("\n", 1)
    path.write_text(header.lower() + "\n" + rest)
    path.rename(path.with_name(path.name.lower()))


def windows_line_ends(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))


def other_column_order(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path.write_text(table(*({key: row[key] for key in sorted(row)} for row in rows)))


@pytest.mark.parametrize("change", [None, compress, lower_case, windows_line_ends, other_column_order])
def test_the_twin_is_read_as_its_truth_says(tmp_path, twin, change):
    for file in twin.iterdir():
        copy = tmp_path / file.name
        copy.write_bytes(file.read_bytes())
        if change and file.suffix == ".csv":
            change(copy)
    truth = [json.loads(line) for line in (twin / "truth.jsonl").read_text().splitlines()]
    for target in TARGETS:
        for split, rows in read(DataConfig(format="mimic3", target=target), str(tmp_path)).splits.items():
            wanted = [row for row in truth if (row["target"], row["split"]) == (target, split)]
            assert len(wanted) > 10
            assert rows.doc == rows.id == [row["hadm_id"] for row in wanted]
            assert rows.patient == [row["subject_id"] for row in wanted]
            assert rows.label == [row["label"] for row in wanted]
            marks = ("[**", "_", "#", "\n", "w/", "WRONG PATIENT") if target == "triage" else ("Discharge", "Course:")
            assert not any(mark in text for text in rows.text for mark in marks)


def test_the_twin_holds_what_a_reader_has_to_deal_with(twin):
    corpus = read(MIMIC3, str(twin))
    some = ("admissions_of_other_codes", "notes_in_error", "duplicate_notes", "admissions_without_summary")
    assert all(corpus.report[name] > 0 for name in some)
    assert sum(corpus.report.values()) == sum(corpus.report[name] for name in some)
    assert not corpus.published
    deaths = read(DataConfig(format="mimic3", target="mortality"), str(twin)).report
    some = (
        "newborns", "admissions_without_main_sections", "notes_with_a_death_taken_out", "notes_that_tell_of_a_death",
    )  # fmt: skip
    assert all(deaths[name] > 0 for name in some)


def test_neither_pandas_nor_the_csv_module_reads_the_notes(twin, monkeypatch):
    expected = read(MIMIC3, str(twin))
    monkeypatch.setitem(sys.modules, "pandas", None)  # its versions differ in what a replacement means
    monkeypatch.setattr(csv_blocks, "csv_records", None)
    assert read(MIMIC3, str(twin)) == expected


def test_classes_and_codes_are_the_papers():
    codes = "0389 5849 41401 41071 4241 4240 4280 41011 41041 5789 5770 431 430 V3001 V3000 V3101 1983 51881 486 5070"
    assert " ".join(code for name in sorted(TRIAGE_CODES) for code in TRIAGE_CODES[name]) == codes
    assert list(TRIAGE_CODES) == sorted(TRIAGE_CODES)


def test_patients_are_split_by_hash():
    assert [hashed_split(str(i), (0.6, 0.2, 0.2)) for i in range(1, 9)] == PATIENT_SPLITS
    found = [hashed_split(str(i), (0.6, 0.2, 0.2)) for i in range(20_000)]
    assert found.count("train") == pytest.approx(12_000, rel=0.03)
    assert found.count("validation") == pytest.approx(4_000, rel=0.06)


PATIENT_SPLITS = ["train", "test", "train", "train", "test", "test", "train", "train"]  # first 8 bytes of sha256


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("seen [**2151-7-16**] at [**Hospital1\n18**] by [**Name (NI) 5**]", "seen at by"),
        ("stable [sic] but [open\nand closed]", "stable but [open and closed]"),
        ("Meds:\n1. Aspirin 81 mg\n 2) Lasix 1.5 tabs\n10.\tPlavix", "Meds: Aspirin 81 mg Lasix 1.5 tabs Plavix"),
        ("given 2. Then 3) more", "given 2. Then 3) more"),
        ("pt w/ CHF w/o edema, W/u done, sw/ed", "pt with CHF without edema, with u done, sw/ed"),
        ("____\n# 1 CHF__#2", "1 CHF 2"),
        ("a\r\n\r\n  b\tc ", "a b c"),
    ],
)
def test_cleaning(note, expected):
    assert clean(note) == expected


MARKS = re.compile(r"\[\*\*.*?\*\*\]|\[[^\[\]\n]*\]", re.DOTALL)
LIST_NUMBER = re.compile(r"^[ \t]*\d{1,3}[.)](?=\s)", re.MULTILINE)
WITH = re.compile(r"\b[wW]/([oO]\b)?")
NOTE = st.lists(
    st.sampled_from([*"wWoO/ \n\t\r12.)[]*_#aé\xa0", "w/", "W/", "w/o", "\n1. ", "[**", "**]"]), max_size=30
)


@settings(max_examples=500)
@given(NOTE.map("".join))
@example("1. a\n2)\n3.\n\n 4) b")
@example("w/W/w/oW/o w/ow/o/W/")
def test_cleaning_is_as_by_the_plain_patterns(note):
    """The patterns of `clean` are written for speed; these say the same."""
    text = LIST_NUMBER.sub("", MARKS.sub("", note))
    text = WITH.sub(lambda found: "without" if found[1] else "with ", text)
    assert clean(note) == " ".join(text.replace("_", " ").replace("#", " ").split())


def test_reports_and_addenda_of_an_admission_are_one_example(tmp_path):
    notes = [
        {"CHARTDATE": "2151-08-09", "DESCRIPTION": "Addendum", "TEXT": "fourth"},
        {"CHARTDATE": "2151-08-06", "DESCRIPTION": "Addendum", "TEXT": "third"},
        {"CHARTDATE": "2151-08-08", "TEXT": "second"},
        {"CHARTDATE": "2151-08-07", "TEXT": "first"},
    ]
    rows = one_split(read(MIMIC3, str(folder(tmp_path, notes, [{}]))))
    assert rows == Rows(
        text=["first second third fourth"], label=["Cardiology"], patient=["7"], doc=["100"], id=["100"]
    )


def test_of_the_same_text_the_last_is_kept_whosever_it_is(tmp_path):
    notes = [
        {"TEXT": "copied", "CHARTDATE": "2151-08-05"},
        {"TEXT": "copied", "CHARTDATE": "2151-08-06", "HADM_ID": "999"},
        {"TEXT": "twice", "CHARTDATE": "2151-08-08"},
        {"TEXT": "twice", "CHARTDATE": "2151-08-07"},
        {"TEXT": "own", "CHARTDATE": "2151-08-07"},
    ]
    corpus = read(MIMIC3, str(folder(tmp_path, notes, [{}, {"HADM_ID": "999", "ICD9_CODE": "7746"}])))
    assert one_split(corpus).text == ["own twice"]
    assert corpus.report["duplicate_notes"] == 2
    assert corpus.report["admissions_of_other_codes"] == 1


def test_what_is_dropped_is_counted(tmp_path):
    notes = [
        {"TEXT": "kept"},
        {"TEXT": "wrong", "ISERROR": "1"},
        {"TEXT": "nobody's", "HADM_ID": ""},
        {"TEXT": "  \n"},
        {"TEXT": ""},
        {"TEXT": "another's", "SUBJECT_ID": "8"},
        {"TEXT": "nurse", "CATEGORY": "Nursing/other"},
        {"TEXT": "[**2151-7-16**]\n____", "HADM_ID": "101"},
    ]
    codes = [{}, {"HADM_ID": "101"}, {"HADM_ID": "102"}, {"ICD9_CODE": "4280", "SEQ_NUM": "2"}, {"SEQ_NUM": ""}]
    corpus = read(MIMIC3, str(folder(tmp_path, notes, codes)))
    assert one_split(corpus).text == ["kept"]
    assert corpus.report == {
        "notes_in_error": 1,
        "notes_without_admission": 1,
        "notes_without_text": 2,
        "notes_of_another_patient": 1,
        "duplicate_notes": 0,
        "admissions_without_summary": 1,
        "admissions_without_text": 1,
        "admissions_of_other_codes": 0,
        "diagnoses_without_rank_or_code": 1,
        "icd_codes_that_lost_their_zero": 0,
    }


def test_codes_are_text_and_a_lost_zero_is_reported(tmp_path):
    notes = [{"HADM_ID": "100", "TEXT": "a"}, {"HADM_ID": "101", "TEXT": "b"}]
    codes = [{"ICD9_CODE": "0389"}, {"HADM_ID": "101", "ICD9_CODE": "389"}]
    corpus = read(MIMIC3, str(folder(tmp_path, notes, codes)))
    assert one_split(corpus).label == ["AcuteMedicine", "AcuteMedicine"]
    assert corpus.report["icd_codes_that_lost_their_zero"] == 1


def test_the_papers_triage_loses_septicaemia_and_splits_admissions(tmp_path):
    codes = ("0389", "389", "5849", "0389", *["41401"] * 60)
    stays = {str(100 + i): code for i, code in enumerate(codes)}
    notes = [{"HADM_ID": number, "TEXT": f"note {number}", "SUBJECT_ID": "7"} for number in stays]
    path = folder(tmp_path, notes, [{"HADM_ID": number, "ICD9_CODE": code} for number, code in stays.items()])
    fixed, paper = read(MIMIC3, str(path)), read(PAPER, str(path))
    assert one_split(fixed).label.count("AcuteMedicine") == 4
    kept = {doc: label for rows in paper.splits.values() for doc, label in zip(rows.doc, rows.label, strict=True)}
    assert kept.keys() == stays.keys() - {"100", "103"}
    assert (kept["101"], kept["102"]) == ("AcuteMedicine", "AcuteMedicine")
    for split, rows in paper.splits.items():
        assert {hashed_split(doc, (0.6, 0.2, 0.2)) for doc in rows.doc} == {split}
    home = next(split for split, rows in fixed.splits.items() if rows)
    assert paper.report["paper_rows_of_0389_left_out"] == 2
    assert paper.report["paper_rows_in_another_split"] == len(kept) - len(paper.splits[home]) > 10
    changed = {"paper_rows_of_0389_left_out", "paper_rows_in_another_split"}
    assert {name: count for name, count in paper.report.items() if name not in changed} == fixed.report


def test_patients_that_the_papers_split_divides_are_counted_and_not_refused(twin):
    report = make_splits(read(PAPER, str(twin))).report
    assert report["train_test_patients"] > 0
    assert make_splits(read(MIMIC3, str(twin))).report["train_test_patients"] == 0


def lists(path: Path, **patients: str) -> str:
    path.mkdir(exist_ok=True)
    for name, numbers in patients.items():
        (path / f"{name}.csv").write_text("SUBJECT_ID\n" + numbers.replace(" ", "\n") + "\n")
    return str(path)


def test_published_lists_decide_the_split(tmp_path):
    notes = [{"SUBJECT_ID": str(i), "HADM_ID": str(100 + i), "TEXT": f"note {i}"} for i in range(1, 9)]
    path = folder(tmp_path, notes, [{"SUBJECT_ID": str(i), "HADM_ID": str(100 + i)} for i in range(1, 9)])
    split_lists = lists(tmp_path / "lists", mimic_train="1 2 2 3.0 99", mimic_val="5", mimic_test="7 8")
    corpus = read(DataConfig(format="mimic3", split_lists=split_lists), str(path))
    assert {split: rows.patient for split, rows in corpus.splits.items()} == {
        "train": ["1", "2", "3"],
        "validation": ["5"],
        "test": ["7", "8"],
    }
    assert corpus.report["rows_of_unlisted_patients"] == 2
    assert not corpus.published


def test_lists_that_cannot_be_used_are_refused(tmp_path):
    path = folder(tmp_path, [{}], [{}])
    assert "lists: no such folder" in error(path, split_lists=str(tmp_path / "lists"))
    split_lists = lists(tmp_path / "lists", train="1 2", test="7")
    assert "lists: expected one CSV file with validation or valid or val or dev in its name, found none" in error(
        path, split_lists=split_lists
    )
    lists(tmp_path / "lists", dev="3", valid="4")
    assert "found dev.csv, valid.csv" in error(path, split_lists=split_lists)
    (tmp_path / "lists" / "dev.csv").unlink()
    lists(tmp_path / "lists", test="7 4")
    assert "test.csv:3: this patient is in the list for validation too" in error(path, split_lists=split_lists)
    lists(tmp_path / "lists", test="7 x")
    assert "test.csv:3: SUBJECT_ID is not a whole number" in error(path, split_lists=split_lists)
    assert "data.protocol paper splits triage by admission" in error(path, split_lists=split_lists, protocol="paper")


def test_numbers_and_categories_as_other_tools_write_them(tmp_path):
    changed = {"HADM_ID": "100.0", "SUBJECT_ID": "7.0", "CATEGORY": "Discharge summary ", "ISERROR": "0.0"}
    rows = one_split(read(MIMIC3, str(folder(tmp_path, [changed], [{"SEQ_NUM": "1.0"}]))))
    assert rows.doc == ["100"]


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({"HADM_ID": SECRET}, "NOTEEVENTS.csv:3: HADM_ID is not a whole number"),
        ({"SUBJECT_ID": ""}, "NOTEEVENTS.csv:3: SUBJECT_ID is not a whole number"),
        ({"CHARTDATE": SECRET}, "NOTEEVENTS.csv:3: CHARTDATE is not a date like 2151-07-16"),
        ({"ISERROR": SECRET}, "NOTEEVENTS.csv:3: ISERROR is neither 0, 1 nor empty"),
    ],
)
def test_malformed_notes_are_named_by_line(tmp_path, note, expected):
    assert expected in error(folder(tmp_path, [{}, note], [{}]))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ({"SEQ_NUM": "first"}, "DIAGNOSES_ICD.csv:3: SEQ_NUM is not a whole number"),
        ({"HADM_ID": "x"}, "DIAGNOSES_ICD.csv:3: HADM_ID is not a whole number"),
        ({"ICD9_CODE": "4280"}, "DIAGNOSES_ICD.csv:3: a second, different diagnosis with SEQ_NUM 1"),
    ],
)
def test_malformed_diagnoses_are_named_by_line(tmp_path, code, expected):
    assert expected in error(folder(tmp_path, [{}], [{}, code]))


def test_missing_tables_columns_and_targets(tmp_path):
    message = error(tmp_path)
    assert "no table NOTEEVENTS: looked for NOTEEVENTS.csv and NOTEEVENTS.csv.gz" in message
    assert "no table DIAGNOSES_ICD" in message
    assert "no such folder" in error(tmp_path / "nowhere")
    folder(tmp_path, [{}], [{}])
    (tmp_path / "DIAGNOSES_ICD.csv").write_text("ROW_ID,HADM_ID\n")
    message = error(tmp_path)
    assert "DIAGNOSES_ICD.csv:1: no column SUBJECT_ID, SEQ_NUM, ICD9_CODE; columns: ROW_ID, HADM_ID" in message
    (tmp_path / "DIAGNOSES_ICD.csv").write_text("1,10006,142345,3,99591\n")
    assert "columns: 5 that are not shown, since they read like a record: is the header missing?" in error(tmp_path)
    with pytest.raises(InputError, match=r"data\.target is 'weather': mimic3 has triage, mortality, length_of_stay"):
        read(DataConfig(format="mimic3", target="weather"), str(tmp_path))


def test_nothing_to_learn_from(tmp_path):
    assert "primary code (SEQ_NUM 1)" in error(folder(tmp_path, [{}], [{"ICD9_CODE": "7746"}]))
    assert "no admission has both a triage label and a discharge" in error(folder(tmp_path, [{"HADM_ID": "5"}], [{}]))
    notes = [{"CATEGORY": "Nursing"}]
    expected = "NOTEEVENTS.csv: no note has the CATEGORY Discharge summary"
    assert expected in error(folder(tmp_path, notes, [{}]))
    header = (tmp_path / "NOTEEVENTS.csv").read_text().split("\n")[0]
    (tmp_path / "NOTEEVENTS.csv").write_text(header.lower())
    assert expected in error(tmp_path)


def test_mimic4_is_refused_by_name(tmp_path):
    (tmp_path / "discharge.csv").write_text("note_id,subject_id,hadm_id,note_type,note_seq,charttime,storetime,text\n")
    assert "discharge.csv: a MIMIC-IV table" in error(tmp_path)
    folder(tmp_path, [{}], [{}])
    (tmp_path / "DIAGNOSES_ICD.csv").write_text("subject_id,hadm_id,seq_num,icd_code,icd_version\n")
    assert "DIAGNOSES_ICD.csv: a MIMIC-IV table" in error(tmp_path)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> dict[str, bytes]:
    rng = random.Random(0)
    notes = [
        {**USUAL["NOTEEVENTS"], "HADM_ID": str(100 + i), "TEXT": f"{SECRET}.\nNo. {rng.random()}"} for i in range(6)
    ]
    path = folder(tmp_path_factory.mktemp("small"), notes, [{"HADM_ID": str(100 + i)} for i in range(6)])
    return {file.name: file.read_bytes() for file in path.iterdir()}


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["NOTEEVENTS.csv", "DIAGNOSES_ICD.csv"]),
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4),
    st.sets(st.integers(0, 14)),
)
def test_damaged_tables_give_rows_or_one_clear_error(tmp_path, small, name, flips, dropped):
    for file, content in small.items():
        (tmp_path / file).write_bytes(content)
    kept = [line for i, line in enumerate(small[name].splitlines(keepends=True)) if i not in dropped]
    content = bytearray(b"".join(kept))
    for place, value in flips:
        if content:
            content[place % len(content)] = value
    (tmp_path / name).write_bytes(content)
    message = ""
    try:
        corpus = read(MIMIC3, str(tmp_path))
        assert sum(map(len, corpus.splits.values())) > 0
    except InputError as problem:
        message = str(problem)
    assert "Wickersham" not in message
    assert "storm" not in message
