"""i2b2 2014 (Stubbs and Uzuner 2015): what identifies a patient, tagged by type, in longitudinal records.

A sentence is a line of a document. No validation split is published: one is cut from training, by patient, when
splits are made.
"""

from collections import Counter

from jaxpeft.config import DataConfig, expanded
from jaxpeft.data.readers.character_spans import Layout
from jaxpeft.data.readers.marked_corpus import read_folders
from jaxpeft.data.rows import Corpus

TYPES: dict[str, tuple[str, ...]] = {  # by the element that they stand in
    "NAME": ("PATIENT", "DOCTOR", "USERNAME"),
    "PROFESSION": ("PROFESSION",),
    "LOCATION": (
        "ROOM", "DEPARTMENT", "HOSPITAL", "ORGANIZATION", "STREET", "CITY", "STATE", "COUNTRY", "ZIP", "LOCATION-OTHER",
    ),
    "AGE": ("AGE",),
    "DATE": ("DATE",),
    "CONTACT": ("PHONE", "FAX", "EMAIL", "URL", "IPADDR"),
    "ID": ("SSN", "MEDICALRECORD", "HEALTHPLAN", "ACCOUNT", "LICENSE", "VEHICLE", "DEVICE", "BIOID", "IDNUM"),
}  # fmt: skip
FOLDERS = {"train": ("training-PHI-Gold-Set1", "training-PHI-Gold-Set2"), "test": ("testing-PHI-Gold-fixed",)}
LAYOUT = Layout("deIdi2b2", None, "TYPE", frozenset(name for names in TYPES.values() for name in names))


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The training and test documents of the corpus folder; `XXX-YY.xml` is of patient XXX. Downloads nothing.

    `report` counts what was repaired or left out, and the rows that the paper's protocol changed.

    Raises:
        InputError: missing folders or files, files that cannot be read or whose annotations belong elsewhere.
    """
    del allow_download
    report: Counter[str] = Counter()
    return read_folders(expanded(path), FOLDERS, LAYOUT, lambda stem: stem.partition("-")[0], config, report)
