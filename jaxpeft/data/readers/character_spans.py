"""From annotations by character to a document in words: spans checked against the text, and words that fit them.

Words are those of `data.words`. The paper's protocol has the words of its scripts: what stands between spaces, cut
wherever an annotation begins or ends, in the test documents too.
"""

import bisect
import dataclasses
import html
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxpeft.data.bio import Span
from jaxpeft.data.readers.annotated import Document
from jaxpeft.data.readers.standoff_xml import Annotation, parse
from jaxpeft.data.words import words_of
from jaxpeft.errors import InputError

_BETWEEN_SPACES = re.compile(r"\S+")
_TYPE = re.compile(r"[A-Z][A-Z_-]{0,39}")
_NUMBER = re.compile(r"\d{1,9}")
_NEAR = 16  # characters: a span whose text stands once that near to where it should is moved there
_COUNTS = (
    "files_in_cp1252", "files_with_bare_ampersands", "entities", "spans_repeated", "spans_without_type",
    "spans_of_unknown_types", "spans_moved_to_their_text", "spans_whose_text_differs", "spans_outside_the_text",
    "spans_without_words", "spans_inside_words",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a corpus writes its annotations: `element` None means that every element is an entity."""

    root: str
    element: str | None
    type_attribute: str
    types: frozenset[str]


def read_document(path: Path, layout: Layout, *, doc: str, patient: str, paper: bool, report: Counter[str]) -> Document:
    """A file's text in words, with its entities in words and in characters.

    Counts in `report` what was repaired or left out; see docs/data.md.

    Raises:
        InputError: a file or an annotation that cannot be read, by line.
    """
    for name in _COUNTS:
        report[name] += 0
    text, annotations = parse(path, layout.root, report)
    found: dict[Span, None] = {}
    for annotation in annotations:
        if layout.element not in (None, annotation.element):
            continue
        span = _span(path, annotation, text, layout, report)
        report["spans_repeated"] += span in found
        if span is not None:
            found[span] = None
    words = _cut(text, found, report) if paper else words_of(text)
    return _document(doc, patient, text, words, list(found), report)


def _span(path: Path, annotation: Annotation, text: str, layout: Layout, report: Counter[str]) -> Span | None:
    values, where = annotation.attributes, f"{path}:{annotation.line}"
    start, end, name = values.get("start", ""), values.get("end", ""), values.get(layout.type_attribute)
    if not (_NUMBER.fullmatch(start) and _NUMBER.fullmatch(end)) or name is None:
        raise InputError(f"{where}: expected start and end, whole numbers, and {layout.type_attribute}")
    report["entities"] += 1
    name = name.strip().upper()
    if not name:
        report["spans_without_type"] += 1
        return None
    if not _TYPE.fullmatch(name):
        raise InputError(f"{where}: {layout.type_attribute} does not read like a type such as {min(layout.types)}")
    report["spans_of_unknown_types"] += name not in layout.types
    place = _place(int(start), int(end), values.get("text"), text, report)
    return None if place is None else Span(*place, name)


def _place(start: int, end: int, wanted: str | None, text: str, report: Counter[str]) -> tuple[int, int] | None:
    """Where an annotation stands: at its offsets, else at its text nearby if that stands there once."""
    inside = start < end <= len(text)
    if inside and (wanted is None or _plain(text[start:end]) == _plain(wanted)):
        return start, end
    if near := _only_place_nearby(start, wanted or "", text):
        report["spans_moved_to_their_text"] += 1
        return near
    report["spans_whose_text_differs" if inside else "spans_outside_the_text"] += 1
    return (start, end) if inside else None


def _plain(text: str) -> str:
    """What two spellings of one mention share: spaces as one, and `&apos;` as the apostrophe that it stands for."""
    return " ".join(html.unescape(text).split())


def _only_place_nearby(start: int, wanted: str, text: str) -> tuple[int, int] | None:
    """Where whole words stand near an offset, if they do exactly once."""
    pieces = [re.escape(piece) for piece in wanted.split()]
    if not pieces:
        return None
    before, after = _goes_on(wanted.split()[0][0]), _goes_on(wanted.split()[-1][-1])
    pattern = re.compile(rf"(?<!{before})" + r"\s+".join(pieces) + rf"(?!{after})")
    window = range(max(0, start - _NEAR), min(len(text), start + _NEAR + 1))
    found = [match.span() for place in window if (match := pattern.match(text, place))]
    return found[0] if len(found) == 1 else None


def _goes_on(character: str) -> str:
    """A pattern of the characters that would make a word with this one; of none where it is a word alone."""
    return r"[^\W\d_]" if character.isalpha() else r"\d" if character.isdecimal() else r"[^\s\S]"


def _cut(text: str, spans: Iterable[Span], report: Counter[str]) -> list[tuple[int, int]]:
    """What stands between spaces, cut at the ends of spans; counts the lines in which that changes a word."""
    cuts = sorted({place for start, end, _ in spans for place in (start, end)})
    words, changed = [], set()
    for match in _BETWEEN_SPACES.finditer(text):
        inside = cuts[bisect.bisect_right(cuts, match.start()) : bisect.bisect_left(cuts, match.end())]
        words += list(zip([match.start(), *inside], [*inside, match.end()], strict=True))
        if inside:
            changed.add(text.count("\n", 0, match.start()))
    report["paper_lines_cut_at_labels"] += len(changed)
    return words


def _document(
    doc: str, patient: str, text: str, words: Sequence[tuple[int, int]], spans: Sequence[Span], report: Counter[str]
) -> Document:
    starts, ends = [start for start, _ in words], [end for _, end in words]
    breaks = [match.start() for match in re.finditer("\n", text)]
    lines = [1 + bisect.bisect_left(breaks, start) for start in starts]
    entities, kept = [], []
    for start, end, name in spans:
        first, after = bisect.bisect_right(ends, start), bisect.bisect_left(starts, end)
        if first >= after:
            report["spans_without_words"] += 1
            continue
        report["spans_inside_words"] += starts[first] < start or end < ends[after - 1]
        entities.append((first, after, name))
        kept.append(Span(start, end, name))
    shown = [text[start:end] for start, end in words]
    return Document(doc, patient, text, shown, starts, lines, entities, kept)
