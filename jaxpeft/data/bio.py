"""Entities as spans of words, and BIO tags, one a word: `O`, or B- and I- with the type that begins or goes on."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxpeft.errors import InputError

OUTSIDE = "O"


class Span(NamedTuple):
    """An entity of words (or characters) start, ..., end - 1. Sorts by start, then end, then type."""

    start: int
    end: int
    type: str


def tags_of_types(types: Iterable[str]) -> tuple[str, ...]:
    """Every tag that words of these types can have, `O` first."""
    return (OUTSIDE, *(f"{begins}-{name}" for name in types for begins in "BI"))


def entity_types(tags: Iterable[str]) -> set[str]:
    """The types that tags speak of."""
    return {tag[2:] for tag in tags if tag != OUTSIDE}


def is_tag(tag: str) -> bool:
    """Whether a tag is `O`, B-TYPE or I-TYPE."""
    return tag == OUTSIDE or (tag[:2] in ("B-", "I-") and tag[2:].strip() == tag[2:] != "")


def strict(tags: Sequence[str]) -> tuple[list[str], int]:
    """The tags with each I- that continues nothing as B-, and how many of those there were."""
    repaired, before = list(tags), OUTSIDE
    stray = 0
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and before[2:] != tag[2:]:
            repaired[place] = "B-" + tag[2:]
            stray += 1
        before = tag
    return repaired, stray


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


def tag_words(count: int, entities: Sequence[tuple[int, int, str]]) -> tuple[list[str], int]:
    """The tags of `count` words, and how many entities they cannot express.

    Of entities that share a word the one with the most words is tagged (the first of equals): a word has one tag.
    Where none do, `spans_of_tags` is the inverse.
    """
    tags, left_out = [OUTSIDE] * count, 0
    for first, end, name in sorted(entities, key=lambda entity: entity[0] - entity[1]):
        if any(tag != OUTSIDE for tag in tags[first:end]):
            left_out += 1
        else:
            tags[first:end] = [f"B-{name}", *[f"I-{name}"] * (end - first - 1)]
    return tags, left_out
