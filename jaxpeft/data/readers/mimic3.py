"""MIMIC-III v1.4 from its raw tables (Johnson et al. 2016): discharge summaries and a label an admission.

Targets, as in Taylor et al. 2024 (arXiv 2402.10597): `triage`, seven classes of ICD-9 codes, from the whole summary;
`mortality`, death in hospital (0, 1), and `length_of_stay`, up to 3, 7 and 14 days and longer (0 to 3), both from
the sections that were known on admission. The tables are read row by row, so memory holds the notes that are kept
and never the 4 GB of NOTEEVENTS.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxpeft.config import DataConfig, expanded
from jaxpeft.data.readers import mimic3_outcomes, mimic3_triage
from jaxpeft.data.readers.mimic3_splits import hashed_split, listed_patients
from jaxpeft.data.readers.mimic3_tables import find_tables
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError


@dataclasses.dataclass(frozen=True)
class Target:
    """What can be predicted from the tables: those it needs, how its rows are made, how they are split."""

    tables: tuple[str, ...]
    rows: Callable[[Mapping[str, Path], str, Counter[str]], Rows]  # tables, protocol, report
    fractions: tuple[float, float, float]
    paper_splits_admissions: bool = False  # the paper's split, which puts a patient on both sides


TARGETS = {
    "triage": Target(("NOTEEVENTS", "DIAGNOSES_ICD"), mimic3_triage.rows, (0.6, 0.2, 0.2), True),
    "mortality": Target(("NOTEEVENTS", "ADMISSIONS"), mimic3_outcomes.mortality, (0.7, 0.1, 0.2)),
    "length_of_stay": Target(("NOTEEVENTS", "ADMISSIONS"), mimic3_outcomes.length_of_stay, (0.7, 0.1, 0.2)),
}


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """One row an admission, split by patient. Downloads nothing, whatever is allowed.

    `path` is the folder of the tables: `.csv` or `.csv.gz`, names and headers in either case. Where a table is
    there in both forms the uncompressed one is read. Patients are split by a hash of SUBJECT_ID or, if
    `config.split_lists` names a folder, by the lists in it (see `listed_patients`). `report` counts what was dropped
    or repaired.

    `config.protocol` paper makes triage as the paper did: the class of code 0389 has 389 in its place, and the split
    is by admission. `report` then has the rows that either changes, `paper_rows_of_0389_left_out` and
    `paper_rows_in_another_split`. The other targets are the same.

    Raises:
        InputError: missing or MIMIC-IV tables, malformed records by file and line, or nothing
            left to learn from.
    """
    del allow_download
    name = config.target or next(iter(TARGETS))
    target = TARGETS[name]
    by_admission = target.paper_splits_admissions and config.protocol == "paper"
    if by_admission and config.split_lists is not None:
        raise InputError("data.split_lists holds patients; data.protocol paper splits triage by admission: unset one")
    tables = find_tables(expanded(path), target.tables)
    lists = None if config.split_lists is None else listed_patients(expanded(config.split_lists))
    report: Counter[str] = Counter()
    rows = target.rows(tables, config.protocol, report)
    if not rows:
        raise InputError(f"{path}: no admission has both a {name} label and a discharge summary")
    if lists is not None:
        splits = _by_list(rows, lists, report)
    else:
        splits = _by_hash(rows, target.fractions, by_admission, report)
    # As if published: the paper's split has patients on both sides, which is to be counted and not refused.
    return Corpus(splits, dict(report), published=by_admission)


def _by_hash(
    rows: Rows, fractions: tuple[float, float, float], by_admission: bool, report: Counter[str]
) -> dict[str, Rows]:
    assert rows.patient is not None
    assert rows.doc is not None
    places = [hashed_split(patient, fractions) for patient in rows.patient]
    if by_admission:
        by_patient, places = places, [hashed_split(admission, fractions) for admission in rows.doc]
        report["paper_rows_in_another_split"] = sum(map(str.__ne__, by_patient, places))
    return _divide(rows, places)


def _by_list(rows: Rows, lists: Mapping[str, str], report: Counter[str]) -> dict[str, Rows]:
    assert rows.patient is not None
    report["rows_of_unlisted_patients"] = sum(patient not in lists for patient in rows.patient)
    return _divide(rows, [lists.get(patient, "") for patient in rows.patient])


def _divide(rows: Rows, places: list[str]) -> dict[str, Rows]:
    """Each split's rows; `places` names the split of each row."""
    return {
        split: rows.take([index for index, place in enumerate(places) if place == split])
        for split in ("train", "validation", "test")
    }
