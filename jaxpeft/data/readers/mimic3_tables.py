"""The raw tables of MIMIC-III: finding them, reading chosen columns, discharge summaries and primary codes."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from operator import itemgetter
from pathlib import Path

from jaxpeft.data.naming import listed
from jaxpeft.data.readers.text_files import csv_records
from jaxpeft.errors import InputError

_MIMIC4_FILES = re.compile(r"(discharge|discharge_detail|radiology|radiology_detail|omr|hcpcsevents)\.csv(\.gz)?")
_MIMIC4_COLUMNS = frozenset({"NOTE_ID", "NOTE_TYPE", "ICD_VERSION", "ICD_CODE"})
_IDENTIFIER = re.compile(r"(\d+)(\.0)?")  # pandas writes 167853.0 in a column that has gaps
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_ERROR_FLAGS = {"": False, "0": False, "0.0": False, "1": True, "1.0": True}
_NOTE_COLUMNS = (
    "SUBJECT_ID", "HADM_ID", "CHARTDATE", "CHARTTIME", "CATEGORY", "DESCRIPTION", "ISERROR", "TEXT"
)  # fmt: skip


def find_tables(folder: Path, names: tuple[str, ...]) -> dict[str, Path]:
    """The file of each table, in either case, `.csv` before `.csv.gz`.

    Raises:
        InputError: no such folder, MIMIC-IV files, or tables that are missing, all of them at once.
    """
    if not folder.is_dir():
        raise InputError(f"data.path {folder}: no such folder: expected the folder of MIMIC-III's CSV tables")
    files = {entry.name.lower(): entry for entry in sorted(folder.iterdir()) if entry.is_file()}
    tables, missing = {}, []
    for name in names:
        wanted = [f"{name.lower()}.csv", f"{name.lower()}.csv.gz"]
        if found := next((files[file] for file in wanted if file in files), None):
            tables[name] = found
        else:
            missing.append(f"{folder}: no table {name}: looked for {name}.csv and {name}.csv.gz")
    if missing:
        if four := next(filter(_MIMIC4_FILES.fullmatch, files), None):
            raise InputError(_mimic4(folder / files[four].name))
        raise InputError(*missing)
    return tables


def _mimic4(path: Path) -> str:
    return f"{path}: a MIMIC-IV table: data.format mimic3 reads MIMIC-III, whose ICD-9 codes the classes are made of"


def records(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The chosen columns of each record of a table, with the line that the record begins on.

    Raises:
        InputError: MIMIC-IV's columns, a column that is missing, or a broken record.
    """
    rows = csv_records(path)
    _, header = next(rows)
    names = [name.strip().upper() for name in header]
    if _MIMIC4_COLUMNS.intersection(names):
        raise InputError(_mimic4(path))
    if missing := [column for column in columns if column not in names]:
        raise InputError(f"{path}:1: no column {', '.join(missing)}; columns: {listed(header)}")
    pick = itemgetter(*(names.index(column) for column in columns))
    for line, record in rows:
        yield line, pick(record)


def identifier(value: str, column: str, path: Path, line: int) -> str:
    """SUBJECT_ID or HADM_ID as plain digits. The value stays out of the message: it may be a shifted note."""
    if match := _IDENTIFIER.fullmatch(value.strip()):
        return match[1]
    raise InputError(f"{path}:{line}: {column} is not a whole number: are the columns of this record shifted?")


def primary_codes(path: Path, report: Counter[str]) -> dict[str, tuple[str, str]]:
    """HADM_ID -> (SUBJECT_ID, ICD-9 code as text) of the diagnosis with SEQ_NUM 1.

    Raises:
        InputError: a SEQ_NUM that is no number, or two different primary codes of one admission.
    """
    found: dict[str, tuple[str, str]] = {}
    report["diagnoses_without_rank_or_code"] = 0
    for line, (patient, admission, rank, code) in records(path, ("SUBJECT_ID", "HADM_ID", "SEQ_NUM", "ICD9_CODE")):
        rank, code = rank.strip(), code.strip()
        if not rank or not code:
            report["diagnoses_without_rank_or_code"] += 1
            continue
        if identifier(rank, "SEQ_NUM", path, line) != "1":
            continue
        admission = identifier(admission, "HADM_ID", path, line)
        value = (identifier(patient, "SUBJECT_ID", path, line), code)
        if found.setdefault(admission, value) != value:
            raise InputError(f"{path}:{line}: a second, different diagnosis with SEQ_NUM 1 for one HADM_ID")
    return found


@dataclasses.dataclass(frozen=True, slots=True)
class _Note:
    admission: str
    addendum: bool
    order: tuple[str, str, int]  # CHARTDATE, CHARTTIME, place in the file
    digest: bytes
    text: str


def discharge_notes(path: Path, patients: Mapping[str, str], report: Counter[str]) -> dict[str, list[str]]:
    """HADM_ID -> texts of its discharge summaries, reports before addenda, each by date.

    `patients` maps the admissions that are wanted to their SUBJECT_ID. Notes with ISERROR 1, without HADM_ID or
    text, or under another patient's number are dropped; of notes with the same text, whosever they are, only
    the one with the last date is kept.

    Raises:
        InputError: malformed records, by line.
    """
    last: dict[bytes, tuple[str, str, int]] = {}
    notes = []
    for note in _summaries(path, patients, report):
        last[note.digest] = max(note.order, last.get(note.digest, note.order))
        if note.admission in patients:
            notes.append(note)
    kept = [note for note in notes if last[note.digest] == note.order]
    report["duplicate_notes"] = len(notes) - len(kept)
    texts: dict[str, list[str]] = {}
    for note in sorted(kept, key=lambda note: (note.addendum, note.order)):
        texts.setdefault(note.admission, []).append(note.text)
    return texts


def _summaries(path: Path, patients: Mapping[str, str], report: Counter[str]) -> Iterator[_Note]:
    """Usable discharge summaries, in the order of the file; those of unwanted admissions without their text."""
    report.update(dict.fromkeys(("notes_in_error", "notes_without_admission", "notes_without_text"), 0))
    report["notes_of_another_patient"] = 0
    for line, (patient, admission, date, time, category, kind, error, text) in records(path, _NOTE_COLUMNS):
        if category.strip().lower() != "discharge summary":  # some categories end in a space
            continue
        if error.strip() not in _ERROR_FLAGS:
            raise InputError(f"{path}:{line}: ISERROR is neither 0, 1 nor empty: are the columns shifted?")
        if not _DATE.match(date):
            raise InputError(f"{path}:{line}: CHARTDATE is not a date like 2151-07-16: are the columns shifted?")
        if _ERROR_FLAGS[error.strip()]:
            report["notes_in_error"] += 1
        elif not admission.strip():
            report["notes_without_admission"] += 1
        elif not text.strip():
            report["notes_without_text"] += 1
        else:
            admission = identifier(admission, "HADM_ID", path, line)
            patient = identifier(patient, "SUBJECT_ID", path, line)
            if patients.get(admission, patient) != patient:
                report["notes_of_another_patient"] += 1
                continue
            digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
            addendum = kind.strip().lower() == "addendum"
            order = (date[:10], time.strip(), line)
            yield _Note(admission, addendum, order, digest, text if admission in patients else "")
