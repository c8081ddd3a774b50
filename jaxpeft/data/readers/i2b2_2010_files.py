"""The files of i2b2 2010: where they lie, and what a document's text, concepts and relations say.

`.txt` has a sentence a line and its tokens between spaces; a line that begins with a space has an empty token 0.
`.con` and `.rel` count lines from 1 and tokens from 0, ends included:

    c="chest pain" 16:2 16:3||t="problem"
    c="nitroglycerin" 16:7 16:7||r="TrIP"||c="chest pain" 16:2 16:3
"""

import dataclasses
import re
from collections import Counter
from pathlib import Path

from jaxpeft.data.readers.annotated import Document, Entity
from jaxpeft.data.readers.corpus_files import by_stem, read_text, some
from jaxpeft.errors import InputError

TYPES = ("problem", "treatment", "test")
RELATIONS = ("PIP", "TeCP", "TeRP", "TrAP", "TrCP", "TrIP", "TrNAP", "TrWP")
TRAIN, TEST, REFERENCE = (
    "concept_assertion_relation_training_data", "test_data", "reference_standard_for_test_data"
)  # fmt: skip
HOSPITALS = ("beth", "partners")
_WORD = re.compile(r"[^ \t\r\v\f]+")
_MENTION = r'c="(.*)" (\d{1,9}):(\d{1,9}) (\d{1,9}):(\d{1,9})'
_CONCEPT = re.compile(_MENTION + r'\|\|t="(\w+)"')
_RELATION = re.compile(_MENTION + r'\|\|r="(\w+)"\|\|' + _MENTION)
_COUNTS = (
    "files_in_cp1252", "entities", "concepts_repeated", "concepts_past_the_line_end", "concepts_moved_to_their_text",
    "concepts_whose_text_differs", "concepts_outside_the_text",
)  # fmt: skip
_RELATION_COUNTS = ("relations", "relations_repeated", "relations_across_lines", "relations_without_concepts")


@dataclasses.dataclass(frozen=True)
class Source:
    """The files of one document."""

    doc: str
    text: Path
    concepts: Path
    relations: Path | None


@dataclasses.dataclass(frozen=True)
class Related:
    """A document and its relations: places of two entities, and the label between them."""

    document: Document
    relations: list[tuple[int, int, str]]


def find_sources(root: Path, relations: bool) -> dict[str, list[Source]]:
    """The documents of training, by hospital (under "train" where the two are merged), and under "test".

    Raises:
        InputError: folders or files that are missing, by name.
    """
    train, reference = root / TRAIN, root / REFERENCE
    if not train.is_dir():
        raise InputError(f"data.path {root}: no folder {TRAIN} in it: expected the corpus as its owner ships it")
    if not reference.is_dir():
        raise InputError(f"data.path {root}: no folder {REFERENCE} in it: expected the corpus as its owner ships it")
    merged = (train / "txt").is_dir()
    sources = {}
    for part in ("train",) if merged else HOSPITALS:
        folder = train if merged else train / part
        sources[part] = _sources(part, folder / "txt", folder / "concept", folder / "rel" if relations else None)
    concepts = next((folder for name in ("concepts", "concept") if (folder := reference / name).is_dir()), None)
    text = root / TEST if (root / TEST).is_dir() else reference / "txt"  # where the BLUE benchmark copies it to
    sources["test"] = _sources(
        "test", text, concepts or reference / "concepts", reference / "rel" if relations else None
    )
    return sources


def _sources(part: str, text: Path, concepts: Path, relations: Path | None) -> list[Source]:
    texts, marks = some(text, ".txt"), by_stem(concepts, ".con")
    links = by_stem(relations, ".rel") if relations else {}
    _check_complete(texts, marks, text, concepts)
    if relations:
        _check_complete(texts, links, text, relations)
    return [Source(f"{part}/{stem}", path, marks[stem], links.get(stem)) for stem, path in texts.items()]


def _check_complete(texts: dict[str, Path], others: dict[str, Path], text: Path, other: Path) -> None:
    for present, wanted, folder in ((texts, others, other), (others, texts, text)):
        if missing := sorted(present.keys() - wanted.keys()):
            raise InputError(f"{folder}: no file for {len(missing)} documents, among them {', '.join(missing[:3])}")


def read_source(source: Source, report: Counter[str]) -> Related:
    """A document with its concepts, and with its relations where `source` has a file of them.

    Counts in `report` what was repaired or left out; see docs/data.md.

    Raises:
        InputError: a line of annotation that cannot be read, by file and number.
    """
    for name in (*_COUNTS, *(_RELATION_COUNTS if source.relations else ())):
        report[name] += 0
    lines = _Lines(read_text(source.text, report))
    entities = _read_concepts(source.concepts, lines, report)
    relations = _read_relations(source.relations, lines, entities, report) if source.relations else []
    return Related(Document(source.doc, None, lines.text, lines.words, lines.starts, lines.of, entities), relations)


class _Lines:
    """The words of a text, line by line."""

    def __init__(self, text: str):
        self.text = text
        self.words: list[str] = []
        self.starts: list[int] = []  # offset of each word
        self.of: list[int] = []  # line of each word, from 1
        self.first: list[int] = []  # of each line, then of the end: the number of its first word
        self.empty_token: list[bool] = []  # of each line: whether it begins with one
        start = 0
        for number, line in enumerate(text.split("\n"), start=1):
            self.first.append(len(self.words))
            for word in _WORD.finditer(line):
                self.words.append(word[0])
                self.starts.append(start + word.start())
                self.of.append(number)
            self.empty_token.append(bool(line) and not _WORD.match(line))
            start += len(line) + 1
        self.first.append(len(self.words))

    def place(self, mention: tuple[str, ...], report: Counter[str]) -> tuple[int, int] | None:
        """First word of a mention and the one after its last, repaired where that is safe; None if nowhere."""
        line, first, last_line, last = (int(number) for number in mention[1:])
        if not 1 <= line <= last_line < len(self.first):
            report["concepts_outside_the_text"] += 1
            return None
        start, line_end = self._word(line, first), self.first[last_line]
        end = min(self._word(last_line, last) + 1, line_end)
        overshoots = self._word(last_line, last) >= line_end
        wanted = _WORD.findall(mention[0].lower())
        if start < end and self._says(start, end, wanted):
            report["concepts_past_the_line_end"] += overshoots
            return start, end
        if line == last_line and (moved := self._only_place(line, wanted)):
            report["concepts_moved_to_their_text"] += 1
            return moved
        if start < end and not overshoots:
            report["concepts_whose_text_differs"] += 1
            return start, end
        report["concepts_outside_the_text"] += 1
        return None

    def _word(self, line: int, token: int) -> int:
        return self.first[line - 1] + max(0, token - self.empty_token[line - 1])

    def _only_place(self, line: int, wanted: list[str]) -> tuple[int, int] | None:
        """Where words stand in a line, if they do exactly once."""
        last = self.first[line] - len(wanted)
        found = [
            place for place in range(self.first[line - 1], last + 1) if self._says(place, place + len(wanted), wanted)
        ]
        return (found[0], found[0] + len(wanted)) if wanted and len(found) == 1 else None

    def _says(self, start: int, end: int, wanted: list[str]) -> bool:
        return [word.lower() for word in self.words[start:end]] == wanted


def _read_concepts(path: Path, lines: _Lines, report: Counter[str]) -> list[Entity]:
    entities: list[Entity] = []
    for number, match in _matches(path, _CONCEPT, 'c="TEXT" LINE:TOKEN LINE:TOKEN||t="TYPE"', report):
        *mention, name = match.groups()
        if name.lower() not in TYPES:
            raise InputError(f"{path}:{number}: expected a type of {', '.join(TYPES)}")
        report["entities"] += 1
        if place := lines.place(tuple(mention), report):
            if (entity := (*place, name.lower())) in entities:
                report["concepts_repeated"] += 1
            else:
                entities.append(entity)
    return entities


def _read_relations(
    path: Path, lines: _Lines, entities: list[Entity], report: Counter[str]
) -> list[tuple[int, int, str]]:
    number_of: dict[tuple[int, int], int] = {}
    for place, (first, end, _) in enumerate(entities):
        number_of.setdefault((first, end), place)
    relations: list[tuple[int, int, str]] = []
    repairs: Counter[str] = Counter()  # of mentions that were counted as concepts already
    pattern = 'c="TEXT" LINE:TOKEN LINE:TOKEN||r="LABEL"||c="TEXT" LINE:TOKEN LINE:TOKEN'
    for line, match in _matches(path, _RELATION, pattern, report):
        label = match[6]
        if label not in RELATIONS:
            raise InputError(f"{path}:{line}: expected a label of {', '.join(RELATIONS)}")
        places = [lines.place(mention, repairs) for mention in (match.groups()[:5], match.groups()[6:])]
        ends = sorted(number_of[place] for place in places if place in number_of)
        report["relations"] += 1
        if len(set(ends)) < 2:
            report["relations_without_concepts"] += 1
        elif len({lines.of[entities[end][0]] for end in ends}) == 2:
            report["relations_across_lines"] += 1
        elif (relation := (ends[0], ends[1], label)) in relations:
            report["relations_repeated"] += 1
        else:
            relations.append(relation)
    return relations


def _matches(
    path: Path, pattern: re.Pattern[str], wanted: str, report: Counter[str]
) -> "list[tuple[int, re.Match[str]]]":
    """The annotation on each line of a file that is not blank, with the line's number."""
    found = []
    for number, line in enumerate(read_text(path, report).split("\n"), start=1):
        if line := line.strip():
            match = pattern.fullmatch(line)
            if match is None:
                raise InputError(f"{path}:{number}: expected {wanted}")
            found.append((number, match))
    return found
