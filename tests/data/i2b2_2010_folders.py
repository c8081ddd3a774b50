"""Small i2b2 2010 corpora in the owner's folders, for tests to write and read."""

from pathlib import Path

import pytest

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

SECRET = "wickersham"
TEXT = "Admission Date :\n Chest pain &apos;s relieved by Aspirin\n\nno Fever on CT of the head\n"
CONCEPTS = """c="chest pain" 2:1 2:2||t="problem"
c="aspirin" 2:6 2:6||t="treatment"
c="fever" 4:1 4:1||t="problem"
c="ct of the head" 4:3 4:6||t="test"
"""
RELATIONS = 'c="aspirin" 2:6 2:6||r="TrAP"||c="chest pain" 2:1 2:2\n'
TAGS = [
    ["O", "O", "O"],
    ["B-problem", "I-problem", "O", "O", "O", "B-treatment"],
    ["O", "B-problem", "O", "B-test", "I-test", "I-test", "I-test"],
]


PAIRS = [
    ("@problem$ &apos;s relieved by @treatment$", "TrAP"),
    ("no @problem$ on @test$", "false"),
]


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def folders(part: str) -> dict[str, str]:
    if part == "test":
        reference = "reference_standard_for_test_data"
        return {"txt": "test_data", "con": f"{reference}/concepts", "rel": f"{reference}/rel"}
    train = "concept_assertion_relation_training_data" + ("" if part == "train" else f"/{part}")
    return {"txt": f"{train}/txt", "con": f"{train}/concept", "rel": f"{train}/rel"}


def write(
    root: Path, part: str, stem: str, text=TEXT, concepts=CONCEPTS, relations=RELATIONS, endings=str.lower
) -> None:
    for ending, content in {"txt": text, "con": concepts, "rel": relations}.items():
        put(root / folders(part)[ending] / f"{stem}.{endings(ending)}", content)


def corpus(root: Path, **beth) -> Path:
    """One document a part; `beth` changes the first."""
    write(root, "beth", "record-1", **beth)
    write(root, "partners", "017")
    write(root, "test", "0001")
    return root


def entities(root: Path, **settings) -> Corpus:
    return read(DataConfig(format="i2b2_2010", **settings), str(root))


def relations(root: Path, **settings) -> Corpus:
    return entities(root, target="relations", **settings)


def error(root: Path, **settings) -> str:
    with pytest.raises(InputError) as caught:
        entities(root, **settings)
    assert SECRET not in str(caught.value).lower()
    return str(caught.value)


def first_rows(root: Path, **settings) -> Rows:
    """The rows of beth's document."""
    rows = entities(root, **settings).splits["train"]
    assert rows.doc is not None
    return rows.take([row for row, doc in enumerate(rows.doc) if doc.startswith(("beth/", "train/"))])
