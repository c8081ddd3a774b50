"""A made-up i2b2 2012: discharge summaries in tokens, and the XML of their events, times, sections and links.

A twentieth of the files has bare `&` in its annotations, as eight of the owner's do; some events have no type, some
offsets or texts are off, and some events are cut by a line end or end inside a word.
"""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from jaxpeft.data.readers.i2b2_2012 import FOLDERS, LAYOUT
from jaxpeft.data.synthetic.clinic_sentences import Piece, fill, sentence
from jaxpeft.data.synthetic.marked_text import FLAWS, MarkedText, annotations, truth_row, xml

VERSION = 1  # of what is written for given arguments
MINIMUM = 3  # documents: two to train on, one of which may become validation, and one to test on
_TRAIN = 0.61
_TYPES = {
    "problem": "PROBLEM", "test": "TEST", "treatment": "TREATMENT", "dept": "CLINICAL_DEPT",
    "evidential": "EVIDENTIAL", "occurrence": "OCCURRENCE",
}  # fmt: skip
_RATES = FLAWS | {"spans_without_type": 0.003}
_MISSED, _BARE, _OVER_LINES, _CUT_SHORT = 0.03, 0.05, 0.006, 0.006
_HEADERS = ("HISTORY OF PRESENT ILLNESS :", "HOSPITAL COURSE :", "PAST MEDICAL HISTORY :", "LABORATORY DATA :")


def generate(out: Path, documents: int, seed: int) -> list[dict[str, Any]]:
    """Writes the corpus into `out` and returns what a reader should find, a document a row.

    `text` and `spans` (start, end, type, in characters of it) are as they should be read. `flaws` counts what a
    reader should report.
    """
    rng = Random(seed)
    train = min(documents - 1, max(1, round(_TRAIN * documents)))
    numbers = sorted(rng.sample(range(1, 3 * documents + 2), documents))
    splits = ["train"] * train + ["test"] * (documents - train)
    rng.shuffle(splits)
    for folders in FOLDERS.values():
        (out / folders[0]).mkdir(parents=True)
    truth = []
    for number, split in zip(numbers, splits, strict=True):
        marked, flaws = _note(rng), Counter[str]()
        rows, spans = annotations(rng, marked, flaws, _MISSED, _RATES)
        elements = [_event(rng, number, *row) for number, row in enumerate(rows)] + _others(rng, marked.text)
        bare = rng.random() < _BARE
        flaws["files_with_bare_ampersands"] += bare and any("&" in text for _, text in rows)
        content = xml(LAYOUT.root, marked.text, elements, bare)
        (out / FOLDERS[split][0] / f"{number}.xml").write_text(content, encoding="utf-8", newline="\n")
        truth.append(truth_row(str(number), str(number), split, marked.text, spans, flaws))
    return truth


def _note(rng: Random) -> MarkedText:
    note, day = MarkedText(), rng.randint(1, 19)
    note.add("\n")
    for header, date in (("{occurrence:Admission} Date :", day), ("{occurrence:Discharge} Date :", day + 8)):
        _line(rng, note, fill(rng, header))
        note.add(f"2013-0{rng.randint(1, 9)}-{date:02d}\n")
    for header in rng.sample(_HEADERS, rng.randint(2, 4)):
        note.add(header + "\n")
        for _ in range(rng.randint(2, 9)):
            _line(rng, note, sentence(rng).pieces)
    return note


def _line(rng: Random, note: MarkedText, pieces: "tuple[Piece, ...] | list[Piece]") -> None:
    for number, piece in enumerate(pieces):
        note.add(" " if number else "")
        text, kind = piece.text, _TYPES.get(piece.slot or "")
        if kind and rng.random() < _OVER_LINES:
            text = text.replace(" ", "\n", 1)
        cut = len(text) - 1 if kind and text[-2:].isalpha() and rng.random() < _CUT_SHORT else len(text)
        note.add(text[:cut], kind)
        note.add(text[cut:])
    note.add("\n")


def _event(rng: Random, number: int, span: tuple[int, int, str], text: str) -> tuple[str, dict[str, str]]:
    start, end, kind = span
    return "EVENT", {
        "id": f"E{number}", "start": str(start), "end": str(end), "text": text,
        "modality": rng.choice(("FACTUAL", "FACTUAL", "POSSIBLE", "CONDITIONAL")),
        "polarity": rng.choice(("POS", "POS", "POS", "NEG")), "type": kind,
    }  # fmt: skip


def _others(rng: Random, text: str) -> list[tuple[str, dict[str, str]]]:
    """Elements that are no events."""
    start = text.index("2013-")
    date = text[start : start + 10]
    place = {"start": str(start), "end": str(start + 10), "text": date}
    link = {"fromID": "E0", "fromText": "Admission", "toID": "T0", "toText": date, "type": "OVERLAP"}
    return [
        ("TIMEX3", {"id": "T0", **place, "type": "DATE", "val": date, "mod": "NA"}),
        ("SECTIME", {"id": "S0", **place, "type": "ADMISSION", "dvalue": date}),
        *(("TLINK", {"id": f"TL{number}", **link}) for number in range(rng.randint(1, 3))),
    ]
