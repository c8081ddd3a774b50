"""A made-up i2b2/VA 2010: texts, concepts, assertions and relations in the owner's folders and syntax.

It has what a reader of the real files meets: lines that begin with a space, offsets past a line's end or beside
their text, concepts that are repeated, nested or cut by a line end, relations that connect nothing. About one concept
in 17 and one relation in 25 is not annotated as it is meant.
"""

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from jaxpeft.data.readers.i2b2_2010_files import REFERENCE, RELATIONS, TEST, TRAIN
from jaxpeft.data.synthetic.i2b2_2010_notes import Concept, Note

VERSION = 1  # of what is written for given arguments
MINIMUM = 3  # documents: one of each hospital and one to test on
_SHARES = {"beth": 0.26, "partners": 0.34}  # the others are test documents
_FLAWED, _FLAWED_RELATIONS, _OUTSIDE = 0.02, 0.04, 0.1  # of concepts, of relations, of documents
_ASSERTIONS = ("present", "present", "present", "absent", "possible", "conditional", "hypothetical")


def generate(out: Path, documents: int, seed: int) -> list[dict[str, Any]]:
    """Writes the corpus into `out` and returns what a reader should find, a document a row.

    `lines` are lists of words and `starts` their offsets; `concepts` are line (from 1), first word, last line, the
    word after the last (both from 0, in their lines) and type, in their order; `relations` are two places among
    them and a label. `flaws` counts what a reader should report.
    """
    rng = Random(seed)
    counts = {part: max(1, round(share * documents)) for part, share in _SHARES.items()}
    counts["test"] = documents - sum(counts.values())
    names = {"beth": "record-{}", "partners": "{:09d}", "test": "{:04d}"}
    truth = []
    for part, count in counts.items():
        for number in sorted(rng.sample(range(1, 9 * count + 2), count)):
            truth.append(_write(out, part, names[part].format(number), Note(rng)))
    return truth


def _write(out: Path, part: str, stem: str, note: Note) -> dict[str, Any]:
    flaws = note.flaws.copy()
    concepts, written = _concept_lines(note, flaws)
    relations, held = _relation_lines(note, written, flaws)
    assertions = [f'{line}||a="{note.rng.choice(_ASSERTIONS)}"' for line in concepts if line.endswith('t="problem"')]
    text = "\n".join(" " * spaced + " ".join(words) for words, spaced in zip(note.lines, note.spaced, strict=True))
    end = "" if note.rng.random() < 0.1 else "\n"
    if part == "test":
        folders = {"txt": TEST, "con": f"{REFERENCE}/concepts", "ast": f"{REFERENCE}/ast", "rel": f"{REFERENCE}/rel"}
    else:
        folders = {ending: f"{TRAIN}/{part}/{name}" for ending, name in _TRAIN_FOLDERS.items()}
    for ending, content in {"txt": text, "con": concepts, "ast": assertions, "rel": relations}.items():
        (out / folders[ending]).mkdir(parents=True, exist_ok=True)
        lines = content if isinstance(content, str) else "\n".join(content)
        (out / folders[ending] / f"{stem}.{ending}").write_text(lines + end, encoding="utf-8", newline="\n")
    return {
        "doc": f"{part}/{stem}",
        "split": "test" if part == "test" else "train",
        "lines": note.lines,
        "starts": note.starts(),
        "concepts": [[one.line, one.first, one.last_line, one.end, one.type] for one in note.concepts],
        "relations": [[*sorted(map(note.concepts.index, ends)), label] for *ends, label in held],
        "flaws": dict(flaws),
    }


_TRAIN_FOLDERS = {"txt": "txt", "con": "concept", "ast": "ast", "rel": "rel"}


def _concept_lines(note: Note, flaws: Counter[str]) -> tuple[list[str], dict[int, str]]:
    """The lines of `.con`, flawed ones among them, and how each concept is written there, by its place."""
    rng, lines, written = note.rng, [], {}
    for place, concept in enumerate(note.concepts):
        written[place] = _mention(note, concept)
        if rng.random() < _FLAWED:
            flaw, written[place] = rng.choice(_flawed(note, concept))
            flaws[flaw] += 1
            if flaw == "concepts_repeated":
                lines.append(f'{written[place]}||t="{concept.type}"')
        lines.append(f'{written[place]}||t="{concept.type}"')
    if rng.random() < _OUTSIDE:
        beyond = len(note.lines) + rng.randint(3, 40)
        lines.append(f'c="pain" {beyond}:0 {beyond}:0||t="problem"')
        flaws["concepts_outside_the_text"] += 1
    flaws["entities"] = len(lines)
    return lines, written


def _flawed(note: Note, concept: Concept) -> list[tuple[str, str]]:
    """The flaws that this concept may have, and how it is written with each."""
    text, size = note.text(concept), concept.end - concept.first
    kinds = [
        ("concepts_repeated", _mention(note, concept)),
        ("concepts_whose_text_differs", _mention(note, concept, text + "n")),
    ]
    line = [word.lower() for word in note.lines[concept.last_line - 1]]
    if concept.end == len(line):
        kinds.append(("concepts_past_the_line_end", _mention(note, concept, last=note.rng.randint(1, 2))))
    once = sum(line[place : place + size] == text.split() for place in range(len(line))) == 1
    if once and concept.line == concept.last_line and concept.end < len(line):
        kinds.append(("concepts_moved_to_their_text", _mention(note, concept, first=1, last=1)))
    return kinds


def _mention(note: Note, concept: Concept, text: str | None = None, first: int = 0, last: int = 0) -> str:
    first += concept.first + note.spaced[concept.line - 1]
    last += concept.end - 1 + note.spaced[concept.last_line - 1]
    return f'c="{text or note.text(concept)}" {concept.line}:{first} {concept.last_line}:{last}'


def _relation_lines(
    note: Note, written: dict[int, str], flaws: Counter[str]
) -> tuple[list[str], list[tuple[Concept, Concept, str]]]:
    """The lines of `.rel`, flawed ones among them, and the relations that hold, in their order."""
    rng, lines = note.rng, []
    held: list[tuple[Concept, Concept, str]] = []
    for first, second, label in note.relations:
        labels = [label]
        if rng.random() < _FLAWED_RELATIONS:
            labels.append(rng.choice(RELATIONS))
        for number, name in enumerate(labels):
            lines.append(_relation(written, note, first, second, name))
            if first.line != second.line:
                flaws["relations_across_lines"] += 1
            elif number and name == label:
                flaws["relations_repeated"] += 1
            else:
                flaws["pairs_with_several_labels"] += number
                held.append((first, second, name))
    lines += _idle_relations(note, written, flaws)
    flaws["relations"] = len(lines)
    return lines, held


def _idle_relations(note: Note, written: dict[int, str], flaws: Counter[str]) -> list[str]:
    """Relations between two lines, and with a word that is no concept."""
    rng, lines = note.rng, []
    for concept in note.concepts:
        if rng.random() > _FLAWED_RELATIONS / 4:
            continue
        other = rng.choice(note.concepts)
        if other.line != concept.line:
            lines.append(_relation(written, note, concept, other, "PIP"))
            flaws["relations_across_lines"] += 1
        elif not any((one.line, one.first, one.end) == (concept.line, 0, 1) for one in note.concepts):
            word = Concept(concept.line, 0, concept.line, 1, "problem")
            lines.append(f'{written[note.concepts.index(concept)]}||r="PIP"||{_mention(note, word)}')
            flaws["relations_without_concepts"] += 1
    return lines


def _relation(written: dict[int, str], note: Note, first: Concept, second: Concept, label: str) -> str:
    """A line of `.rel`, its ends in either order."""
    ends = [written[note.concepts.index(end)] for end in (first, second)]
    note.rng.shuffle(ends)
    return f'{ends[0]}||r="{label}"||{ends[1]}'
