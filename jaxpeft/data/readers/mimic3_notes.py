"""Discharge summaries out of NOTEEVENTS, the table of 4 GB: one pass, and only the wanted notes in memory."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxpeft.data.readers.mimic3_tables import FLAGS, identifier, records
from jaxpeft.errors import InputError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_COLUMNS = ("SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "DESCRIPTION", "ISERROR", "TEXT")


class _Note(NamedTuple):
    admission: str
    addendum: bool
    order: tuple[str, str, int]  # CHARTDATE, CHARTTIME, place in the file
    digest: tuple[int, int]
    text: str


def discharge_notes(
    path: Path, patients: Mapping[str, str], report: Counter[str], addenda_last: bool
) -> dict[str, list[str]]:
    """HADM_ID -> texts of its discharge summaries by date; of the same date, or if `addenda_last`, addenda last.

    `patients` maps the admissions that are wanted to their SUBJECT_ID. Notes with ISERROR 1, without HADM_ID or
    text, or under another patient's number are dropped; of notes with the same text, whosever they are, only
    the one with the last date is kept.

    Raises:
        InputError: malformed records, by line, or not one discharge summary.
    """
    last: dict[tuple[int, int], tuple[str, str, int]] = {}
    notes = []
    for note in _summaries(path, patients, report):
        last[note.digest] = max(note.order, last.get(note.digest, note.order))
        if note.admission in patients:
            notes.append(note)
    kept = [note for note in notes if last[note.digest] == note.order]
    report["duplicate_notes"] = len(notes) - len(kept)
    kept.sort(key=lambda note: (addenda_last and note.addendum, note.order[0], note.addendum, note.order))
    texts: dict[str, list[str]] = {}
    for note in kept:
        texts.setdefault(note.admission, []).append(note.text)
    return texts


def _summaries(path: Path, patients: Mapping[str, str], report: Counter[str]) -> Iterator[_Note]:
    """Usable discharge summaries, in the order of the file; those of unwanted admissions without their text."""
    report.update(dict.fromkeys(("notes_in_error", "notes_without_admission", "notes_without_text"), 0))
    report["notes_of_another_patient"] = 0
    line = 0
    for line, record in records(path, _COLUMNS, only=("CATEGORY", _is_summary)):
        patient, admission, date, time, kind, error, text = record
        _refuse_shifted(date, error, f"{path}:{line}")
        if FLAGS[error.strip()]:
            report["notes_in_error"] += 1
        elif not admission.strip():
            report["notes_without_admission"] += 1
        elif not text or text.isspace():
            report["notes_without_text"] += 1
        else:
            admission = identifier(admission, "HADM_ID", path, line)
            patient = identifier(patient, "SUBJECT_ID", path, line)
            if patients.get(admission, patient) != patient:
                report["notes_of_another_patient"] += 1
                continue
            digest = hash(text), len(text)  # 64 bits for some ten thousand notes, a fifth of the time of hashlib's
            addendum = kind.strip().lower() == "addendum"
            order = (date[:10], time.strip(), line)
            yield _Note(admission, addendum, order, digest, text if admission in patients else "")
    if line == 0:
        raise InputError(
            f"{path}: no note has the CATEGORY Discharge summary (the demo of MIMIC-III has no notes at all)"
        )


def _refuse_shifted(date: str, error: str, where: str) -> None:
    if error.strip() not in FLAGS:
        raise InputError(f"{where}: ISERROR is neither 0, 1 nor empty: are the columns shifted?")
    if not _DATE.match(date):
        raise InputError(f"{where}: CHARTDATE is not a date like 2151-07-16: are the columns shifted?")


def _is_summary(category: str) -> bool:
    return category.strip().lower() == "discharge summary"  # some categories end in a space
