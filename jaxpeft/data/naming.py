"""How names out of people's files are shown in messages: never when they might be text of a note."""

import re
from collections.abc import Iterable

_NAME = re.compile(r"[\w./+&()-]+( [\w./+&()-]+){0,3}")
_NUMBER = re.compile(r"[\d\W_]+")
_LONGEST = 40
_SHOWN = 20


def listed(names: Iterable[str]) -> str:
    """Column names or labels for a message.

    A file without a header, or the wrong column taken for the label, puts notes where names should be:
    as soon as one does not look like a name, none is shown.
    """
    names = list(names)
    if not names:
        return "none"
    if not all(len(name) <= _LONGEST and _NAME.fullmatch(name) for name in names):
        return f"{len(names)} that are not shown, since they read like text rather than like names"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def listed_columns(names: Iterable[str], *, is_record: bool = False) -> str:
    """Column names for a message; none with a number or date among them, or `is_record`: they are a patient's data."""
    names = list(names)
    if is_record or any(_NUMBER.fullmatch(name) for name in names):
        return f"{len(names)} that are not shown, since they read like a record: is the header missing?"
    return listed(names)


def places(unit: str, numbers: Iterable[int]) -> str:
    """Where rows are wrong: the first few line or row numbers, and how many in all."""
    numbers = list(numbers)
    more = ", ..." if len(numbers) > 5 else ""
    return f"{len(numbers)} row{'s' * (len(numbers) > 1)} ({unit} {', '.join(map(str, numbers[:5]))}{more})"
