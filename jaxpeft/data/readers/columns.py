"""From a table of values, as JSON, CSV or Arrow give them, to checked `Rows`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxpeft.config import ColumnsConfig
from jaxpeft.data.naming import listed, places
from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

_GROUPS = ("patient", "doc", "id")


def build_rows(
    source: str,
    table: Mapping[str, Sequence[Any]],
    numbers: Sequence[int],
    columns: ColumnsConfig,
    require_label: bool,
    unit: str = "line",
) -> Rows:
    """Rows of a table of N values a column; `numbers` says which `unit` of `source` each row came from.

    Text must be non-empty; labels and ids text, whole numbers or booleans. A column that is optional may be
    absent or empty, but not empty for some rows only.

    Raises:
        InputError: every problem of the table, with the first places of each; never a value.
    """
    if not numbers:
        raise InputError(f"{source}: no rows: expected at least one example")
    check = _Check(source, table, numbers, unit)
    text = check.column("text", columns.text, _text, required=True)
    pair = check.column("text_pair", columns.text_pair, _text)
    label = check.column("label", columns.label, _name, required=require_label, whole=require_label)
    groups = {field: check.column(field, getattr(columns, field), _name) for field in _GROUPS}
    if check.problems:
        raise InputError(*check.problems)
    assert text is not None
    return Rows(text=text, label=label, text_pair=pair, **groups)


class _Check:
    """Converts columns of one table and collects what is wrong with them."""

    def __init__(self, source: str, table: Mapping[str, Sequence[Any]], numbers: Sequence[int], unit: str):
        self.source, self.table, self.numbers, self.unit = source, table, numbers, unit
        self.problems: list[str] = []

    def column(
        self, field: str, name: str, convert: Callable[[Any], str | None], required: bool = False, whole: bool = True
    ) -> list[str] | None:
        """The converted column, or None where it is absent (or, if not `whole`, incomplete)."""
        values = self.table.get(name)
        if values is None or (not required and all(value is None or value == "" for value in values)):
            if required:
                self._missing(field, name)
            return None
        converted = [convert(value) for value in values]
        bad = [number for number, value in zip(self.numbers, converted, strict=True) if value is None]
        if not bad:
            return [value for value in converted if value is not None]
        if whole:
            wanted = "non-empty text" if convert is _text else "text or a whole number"
            self.problems.append(
                f"{self.source}: column {name!r} ({field}) should hold {wanted}, "
                f"and does not in {places(self.unit, bad)}"
            )
        return None

    def _missing(self, field: str, name: str) -> None:
        self.problems.append(
            f"{self.source}: no column {name!r} for the {field}; columns: {listed(self.table)}. "
            f"Set data.columns.{field} to the one that holds it"
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() and _is_unicode(value) else None


def _name(value: Any) -> str | None:
    return str(value) if isinstance(value, int) else _text(value)


def _is_unicode(value: str) -> bool:
    """False for half a surrogate pair, which JSON can escape and no file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
