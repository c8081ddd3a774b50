"""Values of an adapter_config.json that somebody else wrote, with their types checked."""

from collections.abc import Mapping
from typing import Any

from jaxpeft.errors import InputError


def number(given: Mapping[str, Any], name: str, default: float) -> float:
    """A finite number; the default where the file has none. Raises InputError for anything else."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < float("inf"):
        raise _unexpected(name, value, "a number")
    return value


def whole(given: Mapping[str, Any], name: str, default: int) -> int:
    """An integer."""
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unexpected(name, value, "a whole number")
    return value


def boolean(given: Mapping[str, Any], name: str) -> bool:
    """True or false; false where the file has neither."""
    value = given.get(name, False)
    if not isinstance(value, bool):
        raise _unexpected(name, value, "true or false")
    return value


def text(given: Mapping[str, Any], name: str) -> str | None:
    """A string, or nothing."""
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise _unexpected(name, value, "a string")
    return value


def _unexpected(name: str, value: Any, expected: str) -> InputError:
    return InputError(f"adapter_config.json: {name} is {str(value)[:100]!a}, expected {expected}")
