"""i2b2 2012 (Sun et al. 2013): the clinical events of a discharge summary, tagged by type.

Times, sections and temporal links are not read. A sentence is a line of a document. No validation split is
published: one is cut from training, by patient, when splits are made.
"""

from collections import Counter

from jaxpeft.config import DataConfig, expanded
from jaxpeft.data.readers.character_spans import Layout
from jaxpeft.data.readers.marked_corpus import read_folders
from jaxpeft.data.rows import Corpus

TYPES = ("PROBLEM", "TEST", "TREATMENT", "CLINICAL_DEPT", "EVIDENTIAL", "OCCURRENCE")
FOLDERS = {
    "train": ("2012-07-15.original-annotation.release",),
    "test": ("2012-08-08.test-data.event-timex-groundtruth/xml",),
}
LAYOUT = Layout("ClinicalNarrativeTemporalAnnotation", "EVENT", "type", frozenset(TYPES))


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The training and test documents of the corpus folder; a file's stem is its patient. Downloads nothing.

    `report` counts what was repaired or left out, and the rows that the paper's protocol changed.

    Raises:
        InputError: missing folders or files, files that cannot be read or whose annotations belong elsewhere.
    """
    del allow_download
    report: Counter[str] = Counter()
    return read_folders(expanded(path), FOLDERS, LAYOUT, lambda stem: stem, config, report)
