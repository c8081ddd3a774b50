"""Small folders of MIMIC-III tables: rows are given by what differs from a usual one."""

import csv
import io
from pathlib import Path

import pytest

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

SECRET = "Mrs Wickersham swallowed her wedding ring on the night of the storm"
USUAL = {
    "NOTEEVENTS": {
        "ROW_ID": "1", "SUBJECT_ID": "7", "HADM_ID": "100", "CHARTDATE": "2151-08-04", "CHARTTIME": "",
        "STORETIME": "", "CATEGORY": "Discharge summary", "DESCRIPTION": "Report", "CGID": "", "ISERROR": "",
        "TEXT": SECRET,
    },
    "DIAGNOSES_ICD": {"ROW_ID": "1", "SUBJECT_ID": "7", "HADM_ID": "100", "SEQ_NUM": "1", "ICD9_CODE": "41401"},
    "ADMISSIONS": {
        "ROW_ID": "1", "SUBJECT_ID": "7", "HADM_ID": "100", "ADMITTIME": "2151-07-30 10:00:00",
        "DISCHTIME": "2151-08-04 10:00:00", "ADMISSION_TYPE": "EMERGENCY", "HOSPITAL_EXPIRE_FLAG": "0",
    },
}  # fmt: skip


def table(*rows: dict[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def folder(path: Path, **tables: list[dict[str, str]]) -> Path:
    """Writes tables, named as in USUAL, and returns the folder."""
    for name, rows in tables.items():
        (path / f"{name}.csv").write_text(table(*({**USUAL[name], **row} for row in rows)))
    return path


def one_split(corpus: Corpus) -> Rows:
    full = [rows for rows in corpus.splits.values() if rows]
    assert len(full) == 1
    return full[0]


def error(path: Path, **changes) -> str:
    """The message that a folder is refused with; it never has text of a note."""
    with pytest.raises(InputError) as caught:
        read(DataConfig(format="mimic3", **changes), str(path))
    assert "Wickersham" not in str(caught.value)
    return str(caught.value)
