"""MIMIC-III v1.4 from its raw tables (Johnson et al. 2016): discharge summaries and a label an admission.

Targets: `triage`, the seven ICD-9 classes of Taylor et al. 2024 (arXiv 2402.10597). The tables are read row by
row, so memory holds the notes that are kept and never the 4 GB of NOTEEVENTS.
"""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxpeft.config import DataConfig
from jaxpeft.data.readers.mimic3_tables import discharge_notes, find_tables, primary_codes
from jaxpeft.data.rows import Corpus, Rows
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

# In this order: list marks are known by standing at the start of a line, so lines are joined last.
_CLEANING = (
    (re.compile(r"\[\*\*.*?\*\*\]|\[[^\[\]\n]*\]", re.DOTALL), ""),  # [**2151-7-16**], which may wrap, and [sic]
    (re.compile(r"^[ \t]*\d{1,3}[.)](?=\s)", re.MULTILINE), ""),  # "1. " and "2) ", but not "1.5 mg"
    (re.compile(r"\bw/o\b", re.IGNORECASE), "without"),
    (re.compile(r"\bw/", re.IGNORECASE), "with "),
    (re.compile(r"[_#]"), " "),
    (re.compile(r"\s+"), " "),
)


@dataclasses.dataclass(frozen=True)
class Target:
    """What can be predicted from the tables: those it needs, how its rows are made, how patients are split."""

    tables: tuple[str, ...]
    rows: Callable[[Mapping[str, Path], Counter[str]], Rows]
    fractions: tuple[float, float, float]


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """One row an admission, split by patient. Downloads nothing, whatever is allowed.

    `path` is the folder of the tables: `.csv` or `.csv.gz`, names and headers in either case. Where a table is
    there in both forms the uncompressed one is read. `report` counts what was dropped or repaired.

    Raises:
        InputError: an unknown target, missing or MIMIC-IV tables, malformed records by file and line, or nothing
            left to learn from.
    """
    del allow_download
    if config.target not in TARGETS:
        raise InputError(f"data.target is {config.target!r}: mimic3 has {', '.join(TARGETS)}")
    target = TARGETS[config.target]
    report: Counter[str] = Counter()
    rows = target.rows(find_tables(Path(path).expanduser(), target.tables), report)
    if not rows:
        raise InputError(f"{path}: no admission has both a {config.target} label and a discharge summary")
    return Corpus(_split_by_patient(rows, target.fractions), dict(report), published=False)


def clean(note: str) -> str:
    """A note as one line: without `[...]` marks, list numbers, underscores and `#`, and `w/` as "with"."""
    for pattern, replacement in _CLEANING:
        note = pattern.sub(replacement, note)
    return note.strip()


def patient_split(subject_id: str, fractions: tuple[float, float, float] = (0.6, 0.2, 0.2)) -> str:
    """The split that a patient belongs to, by a hash of SUBJECT_ID: the same on every machine and for every seed."""
    place = int.from_bytes(hashlib.sha256(subject_id.encode()).digest()[:8], "big") / 2**64
    if place < fractions[0]:
        return "train"
    return "validation" if place < fractions[0] + fractions[1] else "test"


def _split_by_patient(rows: Rows, fractions: tuple[float, float, float]) -> dict[str, Rows]:
    assert rows.patient is not None
    indices: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, patient in enumerate(rows.patient):
        indices[patient_split(patient, fractions)].append(index)
    return {split: rows.take(chosen) for split, chosen in indices.items()}


def _triage(tables: Mapping[str, Path], report: Counter[str]) -> Rows:
    """Discharge summaries of the admissions, newborns' included, whose primary code belongs to a class.

    One row an admission, as prediction would meet it: its reports, then its addenda, each by date, joined by a
    blank line and cleaned.
    """
    classes, patients = _classes(tables["DIAGNOSES_ICD"], report)
    notes = discharge_notes(tables["NOTEEVENTS"], patients, report)
    report["admissions_without_summary"] = len(classes) - len(notes)
    admissions, texts = [], []
    for admission in sorted(notes, key=int):
        text = clean("\n\n".join(notes[admission]))
        if text:
            admissions.append(admission)
            texts.append(text)
    report["admissions_without_text"] = len(notes) - len(admissions)
    return Rows(
        text=texts,
        label=[classes[admission] for admission in admissions],
        patient=[patients[admission] for admission in admissions],
        doc=admissions,
        id=admissions,
    )


def _classes(path: Path, report: Counter[str]) -> tuple[dict[str, str], dict[str, str]]:
    """HADM_ID -> class, and HADM_ID -> SUBJECT_ID, of the admissions whose primary code belongs to a class."""
    codes = primary_codes(path, report)
    classes, patients = {}, {}
    report["icd_codes_that_lost_their_zero"] = 0
    for admission, (patient, code) in codes.items():
        if code not in _CLASS_OF and "0" + code in _CLASS_OF:  # 389 for 0389: read as a number somewhere on its way
            code = "0" + code
            report["icd_codes_that_lost_their_zero"] += 1
        if code in _CLASS_OF:
            classes[admission], patients[admission] = _CLASS_OF[code], patient
    report["admissions_of_other_codes"] = len(codes) - len(classes)
    if not classes:
        raise InputError(f"{path}: no admission's primary code (SEQ_NUM 1) is one of triage's, such as 41401")
    return classes, patients


TARGETS = {"triage": Target(("NOTEEVENTS", "DIAGNOSES_ICD"), _triage, (0.6, 0.2, 0.2))}
