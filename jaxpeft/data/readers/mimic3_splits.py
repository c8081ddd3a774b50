"""Which split a patient of MIMIC-III belongs to: by a hash of SUBJECT_ID, or by the lists of a published split."""

import hashlib
import re
from pathlib import Path

from jaxpeft.data.readers.mimic3_tables import identifier, records
from jaxpeft.data.readers.split_files import SPLIT_NAMES
from jaxpeft.errors import InputError


def hashed_split(identifier: str, fractions: tuple[float, float, float]) -> str:
    """The split of a SUBJECT_ID (or, in the paper's split, a HADM_ID): the same on every machine, for every seed."""
    place = int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8], "big") / 2**64
    if place < fractions[0]:
        return "train"
    return "validation" if place < fractions[0] + fractions[1] else "test"


def listed_patients(folder: Path) -> dict[str, str]:
    """SUBJECT_ID -> split, from a folder of three CSV files with a column SUBJECT_ID.

    One file's name has the word train, one's validation (or valid, val, dev), one's test, such as those of van Aken
    et al. 2021: mimic_train.csv, mimic_val.csv and mimic_test.csv. A patient may be in a list several times.

    Raises:
        InputError: missing, ambiguous or malformed files, or a patient in two of the lists.
    """
    if not folder.is_dir():
        raise InputError(f"data.split_lists {folder}: no such folder: expected one with lists of SUBJECT_ID")
    patients: dict[str, str] = {}
    for split, words in SPLIT_NAMES.items():
        path = _list_file(folder, words)
        for line, (patient,) in records(path, ("SUBJECT_ID",)):
            known = patients.setdefault(identifier(patient, "SUBJECT_ID", path, line), split)
            if known != split:
                raise InputError(f"{path}:{line}: this patient is in the list for {known} too")
    return patients


def _list_file(folder: Path, words: tuple[str, ...]) -> Path:
    files = [path for path in sorted(folder.iterdir()) if path.name.lower().endswith((".csv", ".csv.gz"))]
    found = [path for path in files if set(words) & set(re.split(r"[^a-z]+", path.name.lower()))]
    if len(found) != 1:
        listing = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{folder}: expected one CSV file with {' or '.join(words)} in its name, found {listing}")
    return found[0]
