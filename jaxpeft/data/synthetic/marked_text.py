"""Made-up texts with marked characters, and the XML of i2b2 2012 and 2014 around them, flawed as the real one is."""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from xml.sax.saxutils import escape

Span = tuple[int, int, str]  # start, end (exclusive), type
_NEAR = 40  # characters around a moved annotation that its text stands in once: more than readers look at
FLAWS = {  # shares of annotations
    "spans_repeated": 0.004, "spans_moved_to_their_text": 0.012, "spans_whose_text_differs": 0.004, "nested": 0.004,
    "spans_outside_the_text": 0.002,
}  # fmt: skip


class MarkedText:
    """A text that grows, and its spans."""

    def __init__(self) -> None:
        self.text = ""
        self.spans: list[Span] = []

    def add(self, text: str, type: str | None = None) -> None:
        """Appends text, marked if it has a type."""
        if type:
            self.spans.append((len(self.text), len(self.text) + len(text), type))
        self.text += text


def annotations(
    rng: Random, marked: MarkedText, flaws: Counter[str], missed: float, rates: Mapping[str, float] = FLAWS
) -> tuple[list[tuple[Span, str]], list[Span]]:
    """What annotators write of a text (span, and text as they have it), and the spans that this comes to.

    A share `missed` they overlook. `rates` are the shares of flaws; `flaws` counts what a reader should report.
    """
    text, rows, truth = marked.text, list[tuple[Span, str]](), list[Span]()
    for span in marked.spans:
        if rng.random() < missed:
            continue
        flaw = rng.choices([*rates, ""], [*rates.values(), 1 - sum(rates.values())])[0]
        found, kept = _flawed(rng, text, span, flaw)
        rows += found
        truth += kept
        if len(found) > 1 or found != [_annotation(text, span)]:
            flaws["entities_not_in_tags" if flaw == "nested" else flaw] += 1
    flaws["entities"] += len(rows)
    flaws["spans_inside_words"] += sum(_inside_word(text, start, end) for start, end, _ in truth)
    flaws["pieces_of_entities_over_lines"] += sum(text.count("\n", start, end) for start, end, _ in truth)
    return rows, truth


def _flawed(rng: Random, text: str, span: Span, flaw: str) -> tuple[list[tuple[Span, str]], list[Span]]:
    """How a span is annotated under a flaw, if that fits it, and the spans that this comes to."""
    (start, end, name), plain = span, _annotation(text, span)
    if flaw == "spans_repeated":
        return [plain, plain], [span]
    if flaw == "spans_whose_text_differs":
        return [(span, plain[1] + "#")], [span]
    if flaw == "spans_outside_the_text":
        return [plain, ((len(text) + start, len(text) + end, name), "###")], [span]
    if flaw == "nested" and " " in plain[1] and "\n" not in text[start:end]:
        inner = (start + text[start:end].rindex(" ") + 1, end, name)
        return [plain, _annotation(text, inner)], [span, inner]
    if flaw == "spans_without_type":
        return [((start, end, ""), plain[1])], []
    if flaw == "spans_moved_to_their_text" and _stands_alone(text, start, end):
        shift = rng.choice((-4, -3, -2, -1, 1, 2, 3, 4))
        if start + shift >= 0 and end + shift <= len(text):
            return [((start + shift, end + shift, name), plain[1])], [span]
    return [plain], [span]


def _stands_alone(text: str, start: int, end: int) -> bool:
    """Whether a span is of whole words, which are as annotators write them and come nowhere else nearby."""
    shown, near = text[start:end].replace("\n", " "), text[max(0, start - _NEAR) : end + _NEAR].replace("\n", " ")
    return (
        not _inside_word(text, start, end)
        and "&" not in shown
        and len(re.findall(f"(?={re.escape(shown)})", near)) == 1
    )


def _annotation(text: str, span: Span) -> tuple[Span, str]:
    return span, " ".join(html.unescape(text[span[0] : span[1]]).split())


def _inside_word(text: str, start: int, end: int) -> bool:
    """Whether letters go on as letters, or digits as digits, before or after."""
    edges = (text[max(0, start - 1) : start + 1], text[end - 1 : end + 1])
    return any(re.fullmatch(r"[a-zA-Z]{2}|\d{2}", edge) for edge in edges)


def xml(root: str, text: str, elements: Iterable[tuple[str, Mapping[str, str]]], bare: bool = False) -> str:
    """A file: the text, and an element with attributes a line. `bare` leaves each `&` as it is, which is not XML."""
    lines = ['<?xml version="1.0" encoding="UTF-8" ?>', f"<{root}>", f"<TEXT><![CDATA[{text}]]></TEXT>", "<TAGS>"]
    for name, attributes in elements:
        values = (f'{key}="{_escaped(value, bare)}"' for key, value in attributes.items())
        lines.append(f"<{name} {' '.join(values)} />")
    return "\n".join([*lines, "</TAGS>", f"</{root}>"]) + "\n"


def _escaped(value: str, bare: bool) -> str:
    escaped = escape(value, {'"': "&quot;"})
    return escaped.replace("&amp;", "&") if bare else escaped


def truth_row(doc: str, patient: str, split: str, text: str, spans: Sequence[Span], flaws: Counter[str]) -> dict:
    """What truth.jsonl says of a document: its text and spans, and what a reader should report."""
    return {"doc": doc, "patient": patient, "split": split, "text": text, "spans": spans, "flaws": dict(flaws)}
