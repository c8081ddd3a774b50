"""A made-up i2b2 2014: longitudinal records with identifiers of every type, and the XML that marks them.

Lines are wrapped at about 72 characters, through identifiers too; some offsets or texts are off, some names are
glued to what follows. About one identifier in 100 is not marked.
"""

import html
import re
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from jaxpeft.data.readers.i2b2_2014 import FOLDERS, LAYOUT, TYPES
from jaxpeft.data.synthetic.clinic_sentences import sentence
from jaxpeft.data.synthetic.marked_text import MarkedText, annotations, truth_row, xml
from jaxpeft.data.synthetic.phi_words import BODY, HEADS, TAILS, identifier

VERSION = 2  # of what is written for given arguments
MINIMUM = 3  # documents: one of each folder
_SHARES = (0.4, 0.21, 0.39)  # of documents, by folder
_MISSED, _WIDTH = 0.01, 72
_ELEMENT = {name: element for element, names in TYPES.items() for name in names}
_NAME = re.compile(r"M[rs]\. \w+")
_AGE = re.compile(r"\d+(?= year old)")
_DEPARTMENT = re.compile(r"\b(Cardiology|Neurology|Surgery)\b")
_SLOT = re.compile(r"\{([A-Z-]+)\}")


def generate(out: Path, documents: int, seed: int) -> list[dict[str, Any]]:
    """Writes the corpus into `out` and returns what a reader should find, a document a row.

    `text` and `spans` (start, end, type, in characters of it) are as they should be read. `flaws` counts what a
    reader should report. A patient has up to five records, all in one folder.
    """
    rng = Random(seed)
    folders = [(split, name) for split, names in FOLDERS.items() for name in names]
    counts = [max(1, round(share * documents)) for share in _SHARES[1:]]
    counts.insert(0, documents - sum(counts))
    patients = iter(rng.sample(range(100, 101 + max(400, 2 * documents)), documents))
    truth = []
    for (split, name), count in zip(folders, counts, strict=True):
        (out / name).mkdir(parents=True)
        while count:
            patient, records = f"{next(patients):03d}", min(count, rng.randint(2, 5))
            count -= records
            for number in range(1, records + 1):
                stem = f"{patient}-{number:02d}"
                content, row = _record(rng, stem, patient, split)
                (out / name / f"{stem}.xml").write_text(content, encoding="utf-8", newline="\n")
                truth.append(row)
    return truth


def _record(rng: Random, stem: str, patient: str, split: str) -> tuple[str, dict[str, Any]]:
    marked, flaws = _wrapped(_note(rng)), Counter[str]()
    rows, spans = annotations(rng, marked, flaws, _MISSED)
    elements = []
    for number, ((start, end, name), text) in enumerate(rows):
        place = {"id": f"P{number}", "start": str(start), "end": str(end), "text": text}
        elements.append((_ELEMENT[name], {**place, "TYPE": name, "comment": ""}))
    return xml(LAYOUT.root, marked.text, elements), truth_row(stem, patient, split, marked.text, spans, flaws)


def _note(rng: Random) -> MarkedText:
    note = MarkedText()
    note.add("\n\n")
    for head in rng.sample(HEADS, rng.randint(2, 5)):
        _write(rng, note, head)
        note.add("\n")
    for _ in range(rng.randint(2, 6)):
        note.add("\n")
        for _ in range(rng.randint(1, 5)):
            _write(rng, note, rng.choice(BODY) if rng.random() < 0.5 else _prose(rng))
            note.add(" ")
        note.add("\n")
    note.add("\n")
    for tail in rng.sample(TAILS, rng.randint(1, 3)):
        _write(rng, note, tail)
        note.add("\n")
    return note


def _write(rng: Random, note: MarkedText, template: str) -> None:
    place = 0
    for match in _SLOT.finditer(template):
        note.add(template[place : match.start()])
        note.add(identifier(rng, match[1]), match[1])
        place = match.end()
    note.add(template[place:])


def _prose(rng: Random) -> str:
    """A template of a clinical sentence as it is typed: no spaces before marks, and slots for what identifies."""
    told = " ".join(piece.text for piece in sentence(rng).pieces)
    told = _NAME.sub("the patient", told).replace("in 2011", "last year")
    told = _DEPARTMENT.sub("{DEPARTMENT}", _AGE.sub("{AGE}", told))
    return html.unescape(re.sub(r" (?=[.,;:]( |$)|&apos;)", "", told))


def _wrapped(note: MarkedText) -> MarkedText:
    """The same characters with some spaces as line ends, so that lines have at most about `_WIDTH`."""
    characters, width, space = list(note.text), 0, -1
    for place, character in enumerate(characters):
        if character == " ":
            space = place
        width = 0 if character == "\n" else width + 1
        if width > _WIDTH and space > place - width:
            characters[space] = "\n"
            width = place - space
    wrapped = MarkedText()
    wrapped.text, wrapped.spans = "".join(characters), note.spans
    return wrapped
