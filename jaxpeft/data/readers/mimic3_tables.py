"""The raw tables of MIMIC-III: finding them, reading chosen columns, admissions and primary codes."""

import datetime
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxpeft.data.naming import listed_columns
from jaxpeft.data.readers.csv_blocks import matching_records
from jaxpeft.data.readers.text_files import csv_header, csv_records
from jaxpeft.errors import InputError

_MIMIC4_FILES = re.compile(r"(discharge|discharge_detail|radiology|radiology_detail|omr|hcpcsevents)\.csv(\.gz)?")
_MIMIC4_COLUMNS = frozenset({"NOTE_ID", "NOTE_TYPE", "ICD_VERSION", "ICD_CODE"})
_IDENTIFIER = re.compile(r"(\d+)(\.0)?")  # pandas writes 167853.0 in a column that has gaps
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2})?")
FLAGS = {"": False, "0": False, "0.0": False, "1": True, "1.0": True}


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


def records(
    path: Path, columns: Sequence[str], only: tuple[str, Callable[[str], bool]] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """The chosen columns of each record of a table, with the line that the record begins on.

    `only` names a column and says which of its values are wanted: the way to read a table of gigabytes.

    Raises:
        InputError: MIMIC-IV's columns, a column that is missing, or a broken record.
    """
    _, header = csv_header(path)
    names = [name.strip().upper() for name in header]
    if _MIMIC4_COLUMNS.intersection(names):
        raise InputError(_mimic4(path))
    needed = [*columns, *([only[0]] if only else [])]
    if missing := [column for column in needed if column not in names]:
        raise InputError(f"{path}:1: no column {', '.join(missing)}; columns: {listed_columns(header)}")
    places = [names.index(column) for column in columns]
    if only:
        yield from matching_records(path, names.index(only[0]), only[1], places)
    else:
        for line, record in itertools.islice(csv_records(path), 1, None):
            yield line, [record[place] for place in places]


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


class Admission(NamedTuple):
    """A row of ADMISSIONS: `stay` is the time from ADMITTIME to DISCHTIME."""

    patient: str
    newborn: bool
    died: bool
    stay: datetime.timedelta


def admissions(path: Path) -> dict[str, Admission]:
    """HADM_ID -> admission.

    Raises:
        InputError: times or flags that are none, or two different rows of one HADM_ID.
    """
    columns = ("SUBJECT_ID", "HADM_ID", "ADMISSION_TYPE", "HOSPITAL_EXPIRE_FLAG", "ADMITTIME", "DISCHTIME")
    found: dict[str, Admission] = {}
    for line, (patient, admission, kind, died, start, end) in records(path, columns):
        if not died.strip() or died.strip() not in FLAGS:
            raise InputError(f"{path}:{line}: HOSPITAL_EXPIRE_FLAG is neither 0 nor 1: are the columns shifted?")
        stay = _time(end, "DISCHTIME", path, line) - _time(start, "ADMITTIME", path, line)
        newborn = kind.strip().upper() == "NEWBORN"
        value = Admission(identifier(patient, "SUBJECT_ID", path, line), newborn, FLAGS[died.strip()], stay)
        if found.setdefault(identifier(admission, "HADM_ID", path, line), value) != value:
            raise InputError(f"{path}:{line}: a second, different row for one HADM_ID")
    return found


def _time(value: str, column: str, path: Path, line: int) -> datetime.datetime:
    try:
        if _TIME.fullmatch(value.strip()):
            return datetime.datetime.fromisoformat(value.strip())
    except ValueError:  # 2151-13-45
        pass
    raise InputError(f"{path}:{line}: {column} is not a time like 2151-07-16 14:29:00: are the columns shifted?")
