import datetime
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.readers.mimic3_outcomes import stay_class
from jaxpeft.data.readers.mimic3_sections import SECTIONS, admission_sections, without_death
from jaxpeft.data.readers.mimic3_splits import hashed_split
from jaxpeft.data.rows import Corpus
from jaxpeft.data.synthetic import mimic3_outcomes
from jaxpeft.data.synthetic.mimic3_notes import say
from jaxpeft.errors import InputError
from tests.data import mimic3_folder
from tests.data.mimic3_folder import SECRET, error, one_split

NOTE = """Admission Date:  [**2151-7-30**]              Discharge Date:   [**2151-8-4**]

CHIEF COMPLAINT:
chest pain

Major Surgical or Invasive Procedure:
none

History of Present Illness:  81 yo with
pain since 8 a.m.: crushing.

No fever.

Past Medical History:
1. CHF

Social History:
lives alone
Family History:
none
Physical Exam:
VS: 98.4

Pertinent Results:
WBC 12

Medications on Admission:
Aspirin

Discharge Medications:
Lasix

Allergies:
Sulfa
"""
SHORT = "Chief Complaint: pain\n\nPhysical Exam: {}\n\nMedications on Admission: {}\n\nFamily History: {}"


def folder(path: Path, notes: list[dict[str, str]], stays: list[dict[str, str]]) -> Path:
    return mimic3_folder.folder(path, NOTEEVENTS=notes, ADMISSIONS=stays)


def outcome(path: Path, target: str = "mortality", **changes) -> Corpus:
    return read(DataConfig(format="mimic3", target=target, **changes), str(path))


def test_sections_known_on_admission():
    assert admission_sections(NOTE) == {
        "chief complaint": "chest pain",
        "present illness": "81 yo with pain since 8 a.m.: crushing. No fever.",
        "medical history": "1. CHF",
        "medications on admission": "Aspirin",
        "allergies": "Sulfa",
        "physical exam": "VS: 98.4",
        "family history": "none Physical Exam: VS: 98.4",  # no blank line before the next header
        "social history": "lives alone Family History: none Physical Exam: VS: 98.4",
    }


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("Chief Complaint:\n\nFamily History: none", None),
        ("Allergies: Sulfa\n\nSocial History: smokes", None),
        ("chief complaint : pain", None),  # no header
        ("PAST MEDICAL HISTORY:\r\n\r\nCHF\r\n \r\nPlan:\r\nnone", {"medical history": "CHF"}),
        ("Chief Complaint: a\n\n(b) c: d\n\n1. e: f\n\n4 g: h\n\nX:", {"chief complaint": "a (b) c: d 1. e: f 4 g: h"}),
        ("Chief Complaint: a\n\nX: b\n\nChief Complaint: c", {"chief complaint": "a"}),
        ("Past Medical History:\n\nCardiac: CAD\n\nPlan: none", {"medical history": "Cardiac: CAD"}),
        (
            "Chief Complaint: a\n\nPhysical Exam:\n\nADMISSION PHYSICAL EXAM:\n\nVS: 98\n\nDischarge Physical Exam: b",
            {"chief complaint": "a", "physical exam": "VS: 98"},
        ),
        ("Chief Complaint: a\n\nX: b\nDischarge\nPhysical Exam:\nno pulse", {"chief complaint": "a"}),
        ("Chief Complaint: a\n\nPhysical Exam:\n\nDischarge Physical Exam: b", {"chief complaint": "a"}),
        ("Chief Complaint:\n\nMajor Surgical or Invasive Procedure:\nnone", None),
        ("İİ Present Illness: é\n\nZ: ü", {"present illness": "é"}),
        ("", None),
    ],
)  # fmt: skip
def test_where_sections_end(note, expected):
    assert admission_sections(note) == expected


def test_admissions_become_texts_of_their_sections(tmp_path):
    rows = one_split(outcome(folder(tmp_path, [{"TEXT": NOTE}], [{}])))
    assert rows.text[0].startswith("CHIEF COMPLAINT: chest pain\n\nPRESENT ILLNESS: 81 yo with")
    titles = [part.split(":")[0] for part in rows.text[0].split("\n\n")]
    assert titles == [name.upper() for name in SECTIONS]
    assert (rows.label, rows.patient, rows.doc, rows.id) == (["0"], ["7"], ["100"], ["100"])
    assert "Lasix" not in rows.text[0]
    assert "WBC" not in rows.text[0]


PHRASES = (
    "patient expired", "Pt  had\ndied", "PT. passed away", "the patient has deceased",
    "pt expired [**2150-3-4**]", "The patient died on\n[**Month 3**]",
)  # fmt: skip
TOLD = ("she expired", "was pronounced  expired", "Time of death 4:10")


@pytest.mark.parametrize("phrase", PHRASES)
def test_mentions_of_a_death_go_where_they_are_terse_and_take_the_note_elsewhere(phrase):
    found = admission_sections(SHORT.format(f"soft, {phrase}.", phrase, "none"))
    assert without_death(found) == {"chief complaint": "pain", "physical exam": "soft, .", "family history": "none"}
    assert without_death(admission_sections(SHORT.format("soft", "none", f"well, {phrase}"))) is None


@pytest.mark.parametrize("phrase", mimic3_outcomes.DEATHS_MENTIONED)
def test_nothing_is_left_of_a_made_up_mention(phrase):
    found = admission_sections(SHORT.format(say(Random(0), phrase), "none", "none"))
    assert without_death(found) == {
        "chief complaint": "pain",
        "medications on admission": "none",
        "family history": "none",
    }


@pytest.mark.parametrize("phrase", TOLD)
@pytest.mark.parametrize("place", range(3))
def test_told_deaths_take_the_note_wherever_they_stand(phrase, place):
    contents = ["", "", ""]
    contents[place] = phrase
    assert without_death(admission_sections(SHORT.format(*contents))) is None


@pytest.mark.parametrize("phrase", ["the expired drug", "outpatient died", "patient is well, mother died", "patients"])
def test_other_deaths_stay(phrase):
    found = admission_sections(SHORT.format(phrase, phrase, phrase))
    assert without_death(found) == found
    assert found["family history"] == phrase


def test_deaths_are_labels_and_what_tells_of_them_is_counted(tmp_path):
    notes = [
        {"HADM_ID": "100", "TEXT": "Chief Complaint: a"},
        {"HADM_ID": "101", "TEXT": SHORT.format("pt expired", "", "b")},
        {"HADM_ID": "102", "TEXT": SHORT.format("", "", "pt expired")},
        {"HADM_ID": "103", "TEXT": "Chief Complaint: born"},
        {"HADM_ID": "104", "TEXT": "Discharge Diagnosis: pain"},
    ]
    stays = [{"HADM_ID": str(number), "HOSPITAL_EXPIRE_FLAG": str(number % 2)} for number in range(100, 106)]
    stays[3]["ADMISSION_TYPE"] = "NEWBORN"
    corpus = outcome(folder(tmp_path, notes, stays))
    rows = one_split(corpus)
    assert rows.text == ["CHIEF COMPLAINT: a", "CHIEF COMPLAINT: pain\n\nFAMILY HISTORY: b"]
    assert rows.label == ["0", "1"]
    assert corpus.report == {
        "newborns": 1,
        "notes_in_error": 0,
        "notes_without_admission": 0,
        "notes_without_text": 0,
        "notes_of_another_patient": 0,
        "duplicate_notes": 0,
        "admissions_without_summary": 1,
        "admissions_without_main_sections": 1,
        "notes_with_a_death_taken_out": 1,
        "notes_that_tell_of_a_death": 1,
    }
    assert outcome(tmp_path, protocol="paper") == corpus


def test_stays_drop_deaths_and_newborns_and_keep_the_words(tmp_path):
    notes = [
        {"HADM_ID": str(number), "TEXT": f"Chief Complaint: the patient died {number}"} for number in range(100, 105)
    ]
    stays = [
        {"HADM_ID": "100", "DISCHTIME": "2151-08-01 09:00:00"},
        {"HADM_ID": "101", "DISCHTIME": "2151-08-14 10:00:00", "HOSPITAL_EXPIRE_FLAG": "1"},
        {"HADM_ID": "102", "DISCHTIME": "2151-08-14 10:00:00", "ADMISSION_TYPE": "NEWBORN"},
        {"HADM_ID": "103", "DISCHTIME": "2151-08-14 10:00:00"},
        {"HADM_ID": "104", "DISCHTIME": "2151-07-29 10:00:00"},
    ]
    corpus = outcome(folder(tmp_path, notes, stays), "length_of_stay")
    rows = one_split(corpus)
    assert list(zip(rows.doc, rows.label, strict=True)) == [("100", "0"), ("103", "3"), ("104", "0")]
    assert rows.text[0] == "CHIEF COMPLAINT: the patient died 100"
    found = {name: corpus.report[name] for name in ("deaths", "newborns", "stays_that_end_before_they_begin")}
    assert found == {"deaths": 1, "newborns": 1, "stays_that_end_before_they_begin": 1}


@pytest.mark.parametrize(
    ("days", "expected"),
    [(-1, 0), (0, 0), (3, 0), (3.04, 0), (3.06, 1), (7.04, 1), (7.06, 2), (14.04, 2), (14.06, 3), (400, 3)],
)
def test_classes_of_stays(days, expected):
    assert stay_class(datetime.timedelta(days=days)) == str(expected)


@given(st.integers(-(10**6), 10**8))
@example(3 * 86400 + 4320)  # ties, which go to even
@example(7 * 86400 + 4320)
@example(14 * 86400 + 4320)
def test_rounding_is_numpys(minutes):
    days = np.round(minutes * 60 / 86400, 1)
    expected = sum(float(days) > limit for limit in (3, 7, 14))
    assert stay_class(datetime.timedelta(minutes=minutes)) == str(expected)


def test_notes_of_an_admission_are_joined_by_date(tmp_path):
    notes = [
        {"CHARTDATE": "2151-08-06", "TEXT": "Allergies: late\n\nSocial History: late"},
        {"CHARTDATE": "2151-08-05", "DESCRIPTION": "Addendum", "TEXT": "Allergies: second\n\nFamily History: second"},
        {"CHARTDATE": "2151-08-05", "TEXT": "Chief Complaint: first"},
        {"CHARTDATE": "2151-08-07", "CATEGORY": "Nursing", "TEXT": "Physical Exam: none"},
    ]
    text = one_split(outcome(folder(tmp_path, notes, [{}]))).text
    expected = ("CHIEF COMPLAINT: first", "ALLERGIES: second", "FAMILY HISTORY: second", "SOCIAL HISTORY: late")
    assert text == ["\n\n".join(expected)]


def test_of_the_same_text_the_last_is_kept(tmp_path):
    same = {"TEXT": "Chief Complaint: pain"}
    notes = [{**same, "CHARTDATE": "2151-08-05"}, {**same, "HADM_ID": "101"}]
    corpus = outcome(folder(tmp_path, notes, [{}, {"HADM_ID": "101"}]))
    assert one_split(corpus).doc == ["100"]
    assert (corpus.report["duplicate_notes"], corpus.report["admissions_without_summary"]) == (1, 1)


def test_patients_are_split_by_other_shares_than_in_triage(tmp_path):
    numbers = range(1000, 1400)
    notes = [{"SUBJECT_ID": str(i), "HADM_ID": str(i), "TEXT": f"Chief Complaint: {i}"} for i in numbers]
    stays = [{"SUBJECT_ID": str(i), "HADM_ID": str(i), "HOSPITAL_EXPIRE_FLAG": str(i % 2)} for i in numbers]
    splits = outcome(folder(tmp_path, notes, stays)).splits
    for split, rows in splits.items():
        assert {hashed_split(patient, (0.7, 0.1, 0.2)) for patient in rows.patient} == {split}
    assert len(splits["validation"]) < len(splits["test"]) < len(splits["train"])


@pytest.mark.parametrize(
    ("stay", "expected"),
    [
        ({"HOSPITAL_EXPIRE_FLAG": ""}, "HOSPITAL_EXPIRE_FLAG is neither 0 nor 1"),
        ({"HOSPITAL_EXPIRE_FLAG": SECRET}, "HOSPITAL_EXPIRE_FLAG is neither 0 nor 1"),
        ({"DISCHTIME": SECRET}, "DISCHTIME is not a time like 2151-07-16 14:29:00"),
        ({"ADMITTIME": "2151-13-01 10:00:00"}, "ADMITTIME is not a time"),
        ({"ADMITTIME": ""}, "ADMITTIME is not a time"),
        ({"HADM_ID": "x"}, "HADM_ID is not a whole number"),
        ({"DISCHTIME": "2151-08-09 10:00:00"}, "a second, different row for one HADM_ID"),
    ],
)
def test_malformed_admissions_are_named_by_line(tmp_path, stay, expected):
    folder(tmp_path, [{"TEXT": "Chief Complaint: a"}], [{}, stay])
    for target in ("mortality", "length_of_stay"):
        assert f"ADMISSIONS.csv:3: {expected}" in error(tmp_path, target=target)


def test_times_as_other_tools_write_them(tmp_path):
    stays = [{"ADMITTIME": "2151-07-30", "DISCHTIME": "2151-08-10T08:00:00", "HOSPITAL_EXPIRE_FLAG": "0.0"}]
    path = folder(tmp_path, [{"TEXT": "Chief Complaint: a"}], stays)
    assert one_split(outcome(path, "length_of_stay")).label == ["2"]


def test_missing_tables_and_nothing_to_learn_from(tmp_path):
    assert "no table ADMISSIONS" in error(folder(tmp_path, [{}], [{}]) / "..", target="mortality")
    assert "no admission has both a mortality label and a discharge summary" in error(tmp_path, target="mortality")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), max_size=4), st.sets(st.integers(0, 7)))
def test_damaged_admissions_give_rows_or_one_clear_error(tmp_path, flips, dropped):
    notes = [{"HADM_ID": str(100 + i), "TEXT": f"Chief Complaint: {SECRET}"[: 40 + i]} for i in range(6)]
    folder(tmp_path, notes, [{"HADM_ID": str(100 + i)} for i in range(6)])
    stays = (tmp_path / "ADMISSIONS.csv").read_bytes().splitlines(keepends=True)
    content = bytearray(b"".join(line for i, line in enumerate(stays) if i not in dropped))
    for place, value in flips:
        if content:
            content[place % len(content)] = value
    (tmp_path / "ADMISSIONS.csv").write_bytes(content)
    message = ""
    try:
        assert sum(map(len, outcome(tmp_path, "length_of_stay").splits.values())) > 0
    except InputError as problem:
        message = str(problem)
    assert "Wickersham" not in message


@given(st.text(st.sampled_from("aB:.\n \r1(é"), max_size=60), st.sampled_from(SECTIONS), st.text(max_size=20))
def test_any_note_gives_sections_or_none(before, name, after):
    found = admission_sections(f"{before}{name}:{after}")
    if found is not None:
        assert list(found) == [section for section in SECTIONS if section in found]
        assert all(content == " ".join(content.split()) for content in found.values())
        assert without_death(found) is None or set(without_death(found)) <= set(found)
