"""Entities as spans of words, and the BIO tags that say the same: strict, so that every span is said in one way."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxpeft.errors import InputError

OUTSIDE = "O"


class Span(NamedTuple):
    """An entity of words (or characters) start, ..., end - 1. Sorts by start, then end, then type."""

    start: int
    end: int
    type: str


def spans_of_tags(tags: Sequence[str]) -> list[Span]:
    """The entities of one BIO sequence, in order.

    Strict: only `B-` opens an entity, and only `I-` of its own type carries it on. An `I-` without such
    an entity before it, or of another type, is outside of any. Raises InputError for a tag of another scheme.
    """
    spans: list[Span] = []
    start, kind = 0, ""  # the open entity; no kind, none
    for position, tag in enumerate(tags):
        if kind and tag == f"I-{kind}":
            continue
        if kind:
            spans.append(Span(start, position, kind))
        start, kind = position, tag[2:] if tag.startswith("B-") else ""
        if not kind and tag != OUTSIDE and not (tag.startswith("I-") and len(tag) > 2):
            raise InputError(f"tag {tag!r}: expected {OUTSIDE}, B-TYPE or I-TYPE")
    if kind:
        spans.append(Span(start, len(tags), kind))
    return spans


def tags_of_spans(spans: Iterable[Span], words: int) -> list[str]:
    """The BIO tags of so many words: the inverse of `spans_of_tags`.

    Raises ValueError for a span that is empty, outside the words or over another one: BIO cannot say it.
    """
    tags = [OUTSIDE] * words
    free = 0
    for start, end, kind in sorted(spans):
        if not free <= start < end <= words or not kind:
            raise ValueError(f"span {start}:{end} of {words} words, the first {free} of them passed or taken")
        tags[start:end] = [f"B-{kind}"] + [f"I-{kind}"] * (end - start - 1)
        free = end
    return tags
