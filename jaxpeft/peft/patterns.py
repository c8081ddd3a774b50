"""Settings of single modules, as entries PATTERN=VALUE under PEFT's rule of rank_pattern and alpha_pattern.

A pattern is a regular expression for a whole module name or for its end after a dot; the first that matches counts.
"""

import re
from collections.abc import Iterable, Iterator, Mapping


def parse(entries: Iterable[str]) -> dict[str, float]:
    """Pattern -> value of checked entries (see `problems`). The last equals sign divides: a pattern may hold others."""
    return {pattern: float(value) for pattern, _, value in (entry.rpartition("=") for entry in entries)}


def value_of(name: str, patterns: Mapping[str, float], default: float) -> float:
    """The value of the first pattern that matches a module's name."""
    return next((value for pattern, value in patterns.items() if matches(pattern, name)), default)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern means the module."""
    return re.match(_whole(pattern), name) is not None


def _whole(pattern: str) -> str:
    """As PEFT has it: the pattern means a whole name, or its end after a dot."""
    return rf"(.*\.)?({pattern})$"


def problems(field: str, entries: Iterable[str], *, whole: bool) -> Iterator[str]:
    """What is wrong with the entries of a config's field, one message each; `whole`: values are integers."""
    seen = set()
    for entry in entries:
        pattern, _, value = entry.rpartition("=")
        number = "a whole number above 0" if whole else "a number above 0"
        if not pattern:
            yield f"config.{field} holds {entry!r}, expected PATTERN={number}, such as 'layer.0.attention.self.query=4'"
        elif not _is_positive(value, whole=whole):
            yield f"config.{field}: {entry!r} gives {value!r}, expected {number}"
        elif pattern in seen:
            yield f"config.{field} has {pattern!r} twice"
        else:
            seen.add(pattern)
            try:
                re.compile(_whole(pattern))
            except re.error as error:
                yield f"config.{field}: {pattern!r} is no regular expression: {error}"


def _is_positive(text: str, *, whole: bool) -> bool:
    try:
        return 0 < (int(text) if whole else float(text)) < float("inf")
    except ValueError:
        return False
