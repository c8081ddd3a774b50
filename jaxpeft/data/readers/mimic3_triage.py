"""ICD-9 triage (Taylor et al. 2024): which of seven classes the primary diagnosis of an admission belongs to."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from jaxpeft.data.readers.mimic3_notes import discharge_notes
from jaxpeft.data.readers.mimic3_tables import primary_codes
from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

TRIAGE_CODES: dict[str, tuple[str, ...]] = {
    "AcuteMedicine": ("0389", "5849"),
    "Cardiology": ("41401", "41071", "4241", "4240", "4280", "41011", "41041"),
    "Gastroenterology": ("5789", "5770"),
    "Neurology": ("431", "430"),
    "Obstetrics": ("V3001", "V3000", "V3101"),
    "Oncology": ("1983",),
    "Respiratory": ("51881", "486", "5070"),
}
_CLASS_OF = {code: name for name, codes in TRIAGE_CODES.items() for code in codes}
_PAPER_LOST = "0389"  # its list of codes has 389, which no admission has: septicaemia is in no class

_MARKS = re.compile(r"\[\*\*.*?\*\*\]|\[[^\[\]\n]*\]", re.DOTALL)  # [**2151-7-16**], which may wrap, and [sic]
# Patterns begin with the character that is rarest in notes: a search for one is many times faster than for a choice.
_LIST_NUMBER = re.compile(r"\n[ \t]*\d{1,3}[.)](?=\s)")  # "1. " and "2) ", but not "1.5 mg"
_WITH = [re.compile(letter + r"/(?<=\b..)([oO]\b)?") for letter in "wW"]


def rows(tables: Mapping[str, Path], protocol: str, report: Counter[str]) -> Rows:
    """Discharge summaries of the admissions, newborns' included, whose primary code belongs to a class.

    One row an admission, as prediction would meet it: its reports, then its addenda, each by date, joined by a
    blank line and cleaned.
    """
    codes = _triage_codes(tables["DIAGNOSES_ICD"], report)
    patients = {admission: patient for admission, (patient, _) in codes.items()}
    notes = discharge_notes(tables["NOTEEVENTS"], patients, report, addenda_last=True)
    report["admissions_without_summary"] = len(codes) - len(notes)
    texts = {admission: clean("\n\n".join(notes[admission])) for admission in sorted(notes, key=int)}
    admissions = [admission for admission, text in texts.items() if text]
    report["admissions_without_text"] = len(notes) - len(admissions)
    if protocol == "paper":
        kept = [admission for admission in admissions if codes[admission][1] != _PAPER_LOST]
        report["paper_rows_of_0389_left_out"] = len(admissions) - len(kept)
        admissions = kept
    return Rows(
        text=[texts[admission] for admission in admissions],
        label=[_class_of(codes[admission][1]) or "" for admission in admissions],
        patient=[patients[admission] for admission in admissions],
        doc=admissions,
        id=admissions,
    )


def clean(note: str) -> str:
    """A note as one line: without `[...]` marks, list numbers, underscores and `#`, and `w/` as "with"."""
    note = _LIST_NUMBER.sub("\n", "\n" + _MARKS.sub("", note))
    for pattern in _WITH:
        note = pattern.sub(lambda found: "without" if found[1] else "with ", note)
    return " ".join(note.replace("_", " ").replace("#", " ").split())


def _triage_codes(path: Path, report: Counter[str]) -> dict[str, tuple[str, str]]:
    """HADM_ID -> (SUBJECT_ID, primary code) of the admissions whose code belongs to a class."""
    primary = primary_codes(path, report)
    codes = {admission: value for admission, value in primary.items() if _class_of(value[1])}
    report["icd_codes_that_lost_their_zero"] = sum(code not in _CLASS_OF for _, code in codes.values())
    report["admissions_of_other_codes"] = len(primary) - len(codes)
    if not codes:
        raise InputError(f"{path}: no admission's primary code (SEQ_NUM 1) is one of triage's, such as 41401")
    return codes


def _class_of(code: str) -> str | None:
    """The class of an ICD-9 code, also of 389 for 0389: some tool has read it as a number."""
    return _CLASS_OF.get(code) or _CLASS_OF.get("0" + code)
