"""Words of a text: runs of letters, runs of digits, and single other characters, with where they stand."""

import dataclasses
import re

from jaxpeft.data.rows import Rows

_WORD = re.compile(r"[^\W\d_]+|\d+|\S")


def words_of(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, in characters: `63yo` is two words, so that an age can end where it ends."""
    return [match.span() for match in _WORD.finditer(text)]


def with_words(rows: Rows) -> Rows:
    """The rows as they are if they have words, else with those of their texts and where they begin."""
    if rows.tokens is not None:
        return rows
    places = [words_of(text) for text in rows.text]
    tokens = [[text[start:end] for start, end in found] for text, found in zip(rows.text, places, strict=True)]
    return dataclasses.replace(rows, tokens=tokens, starts=[[start for start, _ in found] for found in places])
