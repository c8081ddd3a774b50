"""From a table of values, as JSON, CSV or Arrow give them, to checked `Rows`."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from jaxpeft.config import ColumnsConfig
from jaxpeft.data.bio import is_tag, strict
from jaxpeft.data.naming import listed, listed_columns, places
from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

Value = TypeVar("Value")
_GROUPS = ("patient", "doc")
_USUAL = ColumnsConfig()
_FLOAT = re.compile(r"^(\d+)\.0+$")
_TEXT, _NAME = "non-empty text", "text or a whole number"
_WORDS, _TAGS = "a list of non-empty words", "a list of BIO tags: O, B-TYPE or I-TYPE"


def build_rows(
    source: str,
    table: Mapping[str, Sequence[Any]],
    numbers: Sequence[int],
    columns: ColumnsConfig,
    require_label: bool,
    unit: str = "line",
    report: Counter[str] | None = None,
    entities: bool | None = None,
) -> Rows:
    """Rows of a table of N values a column; `numbers` says which `unit` of `source` each row came from.

    Text must be non-empty; labels and ids text, whole numbers or booleans. A column's name is found in any case. One
    that is optional may be absent, unless `columns` names another than its usual one, or empty, but not empty for some
    rows only; without `require_label` one of labels, patients, documents or ids is left out then. Entity rows, which
    are those of `has_words` unless `entities` says it, have no label; their text is the words, joined by one space, if
    they have none. An I- that continues nothing begins an entity; `report` counts those.

    Raises:
        InputError: every problem of the table, with the first places of each; never a value.
    """
    if not numbers:
        raise InputError(f"{source}: no rows: expected at least one example")
    check = _Check(source, table, numbers, unit, require_label)
    if entities is None:
        entities = has_words(table, columns)
    tokens = check.column("tokens", columns.tokens, _words, _WORDS, required=True) if entities else None
    tags = None
    if entities:
        tags = check.column("ner_tags", columns.ner_tags, _tags, _TAGS, require_label, whole=require_label)
    text = check.column("text", columns.text, _text, _TEXT, required=not entities)
    pair = check.column("text_pair", columns.text_pair, _text, _TEXT)
    label = None
    if not entities:
        label = check.column("label", columns.label, _name, _NAME, required=require_label, whole=require_label)
    patient, doc = (
        check.column(field, getattr(columns, field), _identifier, _NAME, whole=require_label) for field in _GROUPS
    )
    id = check.column("id", columns.id, _name, _NAME, whole=require_label)
    if tokens is not None and tags is not None:
        check.lengths(tokens, tags)
    if check.problems:
        raise InputError(*check.problems)
    if text is None:
        assert tokens is not None
        text = [" ".join(words) for words in tokens]
    if tags is not None:
        repaired = [strict(row) for row in tags]
        tags = [row for row, _ in repaired]
        if report is not None:
            report["stray_inside_tags"] += sum(stray for _, stray in repaired)
    return Rows(text, label, pair, patient, doc, id, tokens, tags)


def has_words(table: Mapping[str, Sequence[Any]], columns: ColumnsConfig) -> bool:
    """Whether the rows of a table are words to be tagged: there are words, and tags beside them or no text."""
    words, tags, text = (named(table, name) in table for name in (columns.tokens, columns.ner_tags, columns.text))
    return words and (tags or not text)


def named(table: Iterable[str], name: str) -> str:
    """The column of this name: to the letter, else the only one that differs in case and outer blanks alone."""
    found = _alike(table, name)
    return found[0] if len(found) == 1 else name


def _alike(table: Iterable[str], name: str) -> list[str]:
    """The columns that may be meant by a name: the one of it to the letter, else all that differ in case and blanks."""
    if name in table:
        return [name]
    return [other for other in table if other.strip().casefold() == name.strip().casefold()]


class _Check:
    """Converts columns of one table and collects what is wrong with them."""

    def __init__(
        self, source: str, table: Mapping[str, Sequence[Any]], numbers: Sequence[int], unit: str, for_training: bool
    ):
        self.source, self.table, self.numbers, self.unit, self.for_training = source, table, numbers, unit, for_training
        self.problems: list[str] = []

    def column(
        self,
        field: str,
        name: str,
        convert: Callable[[Any], Value | None],
        wanted: str,
        required: bool = False,
        whole: bool = True,
    ) -> list[Value] | None:
        """The converted column, or None where it is absent (or, if not `whole`, incomplete)."""
        name = named(self.table, name)
        values = self.table.get(name)
        if values is None and self.for_training and name != getattr(_USUAL, field):
            required = True  # a patient's column that is misspelt would let patients into two splits
        if self.for_training and len(several := _alike(self.table, name)) > 1:
            self.problems.append(f"{self.source}: {listed(several)} may all be the {field}: set data.columns.{field}")
            return None
        if values is None or (not required and all(value is None or value == "" for value in values)):
            if required:
                self._missing(field, name)
            return None
        converted = [convert(value) for value in values]
        bad = [number for number, value in zip(self.numbers, converted, strict=True) if value is None]
        if not bad:
            return [value for value in converted if value is not None]
        if whole:
            self.problems.append(
                f"{self.source}: column {name!r} ({field}) should hold {wanted}, "
                f"and does not in {places(self.unit, bad)}"
            )
        return None

    def lengths(self, tokens: list[list[str]], tags: list[list[str]]) -> None:
        """Notes rows whose words and tags differ in number."""
        pairs = zip(self.numbers, tokens, tags, strict=True)
        if bad := [number for number, words, row in pairs if len(words) != len(row)]:
            self.problems.append(f"{self.source}: expected one tag a word, and not so in {places(self.unit, bad)}")

    def _missing(self, field: str, name: str) -> None:
        # A first line that is a record, and no header, has names that come again below.
        shown = listed_columns(self.table, is_record=any(other in self.table[other] for other in self.table))
        advice = "" if shown.endswith("?") else f". Set data.columns.{field} to the one that holds it"
        self.problems.append(f"{self.source}: no column {name!r} for the {field}; columns: {shown}{advice}")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value.strip() and _is_unicode(value) else None


def _name(value: Any) -> str | None:
    text = str(value) if isinstance(value, int) else _text(value)
    return text and text.strip()


def _identifier(value: Any) -> str | None:
    """A patient or document: what a spreadsheet made a float, or padded with blanks, is the same one as before."""
    text = str(value) if isinstance(value, float) and value.is_integer() else _name(value)
    return _FLOAT.sub(r"\1", text) if text else text


def _words(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and value and all(map(_text, value)) else None


def _tags(value: Any) -> list[str] | None:
    return value if isinstance(value, list) and all(_text(tag) and is_tag(tag) for tag in value) else None


def _is_unicode(value: str) -> bool:
    """False for half a surrogate pair, which JSON can escape and no file can hold."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
