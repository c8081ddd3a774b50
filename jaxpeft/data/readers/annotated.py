"""Annotated documents as rows: a tag a word, cut into lines or left whole."""

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxpeft.data.bio import Span, strict, tag_words
from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

_MISPLACED, _ENOUGH = 0.5, 20  # a larger share of that many entities, and the annotations belong to other texts
_COLUMNS = ("text", "patient", "doc", "id", "tokens", "tags", "starts", "spans")
Entity = tuple[int, int, str]  # first word, the word after the last, type


@dataclasses.dataclass(frozen=True)
class Document:
    """A text, its words in order, and its entities in words.

    Each word has its offset in `text` (characters) and its line (from 1). `spans`, where the owner annotates
    characters, are the entities again, in characters.
    """

    doc: str
    patient: str | None
    text: str
    words: list[str]
    starts: list[int]
    lines: list[int]
    entities: list[Entity]
    spans: list[Span] | None = None


def to_rows(documents: Sequence[Document], unit: str, report: Counter[str]) -> Rows:
    """A row a line that has words (`unit` sentence) or a row a document.

    Counts in `report` the documents without words, the entities that share a word with a longer one and are not
    in the tags, and the pieces that lines cut off an entity, which the tags begin anew.
    """
    for name in ("documents_without_words", "entities_not_in_tags", "pieces_of_entities_over_lines"):
        report[name] += 0
    columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
    for document in documents:
        tags, left_out = tag_words(len(document.words), document.entities)
        report["entities_not_in_tags"] += left_out
        report["documents_without_words"] += not document.words
        for first, end in _pieces(document.lines, unit):
            words = document.words[first:end]
            row_tags, cut_off = strict(tags[first:end])
            report["pieces_of_entities_over_lines"] += cut_off
            whole = unit == "document"
            columns["text"].append(document.text if whole else " ".join(words))
            columns["doc"].append(document.doc)
            columns["patient"].append(document.patient)
            columns["id"].append(document.doc if whole else f"{document.doc}:{document.lines[first]}")
            columns["tokens"].append(words)
            columns["tags"].append(row_tags)
            columns["starts"].append(document.starts[first:end])
            columns["spans"].append(_spans_between(document, first, end))
    for name in ("patient", "spans"):
        if all(getattr(document, name) is None for document in documents):
            del columns[name]
    return Rows(**columns)


def _pieces(lines: Sequence[int], unit: str) -> Iterator[tuple[int, int]]:
    """First word and the one after the last, of each line or of all."""
    if unit == "document":
        if lines:
            yield 0, len(lines)
        return
    first = 0
    for place in range(1, len(lines) + 1):
        if place == len(lines) or lines[place] != lines[first]:
            yield first, place
            first = place


def _spans_between(document: Document, first: int, end: int) -> list[Span]:
    """The spans whose first word is in a piece."""
    pairs = zip(document.entities, document.spans or [], strict=False)
    return [span for entity, span in pairs if first <= entity[0] < end]


def drop_last(rows: Rows, report: Counter[str]) -> Rows:
    """All rows but the last, as the paper's preparation has them: it forgot the sentence that ends a file."""
    report["paper_last_sentences_left_out"] += 1
    return rows.take(range(len(rows) - 1))


def check_misplaced(source: Path, report: Counter[str], misplaced: tuple[str, ...]) -> None:
    """Raises InputError when `report` has most entities of `source` under the names `misplaced`."""
    wrong = sum(report[name] for name in misplaced)
    if report["entities"] >= _ENOUGH and wrong > _MISPLACED * report["entities"]:
        raise InputError(
            f"{source}: {wrong} of {report['entities']} annotations have a text that does not stand where they say: "
            "do these annotations belong to these texts?"
        )
