"""Prediction files of finished runs: read and checked, and two of them brought into one order."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.errors import InputError

Row = dict[str, Any]  # one object of predictions/<split>.jsonl


def read_predictions(path: Path) -> list[Row]:
    """The rows of a prediction file: of a classifier, or of entities (`labels` and `predictions` a word).

    Raises InputError, naming the line, for what is neither, or is both in turn.
    """
    try:
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")  # not splitlines: ids may hold U+2028
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} cannot be read: it is not UTF-8") from None
    if lines == [""]:
        raise InputError(f"{path} holds no rows")
    rows = [_parsed(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]
    odd = next((number for number, row in enumerate(rows, start=1) if _of_entities(row) != are_entities(rows)), None)
    if odd:
        raise InputError(f"{path}, line {odd}: a row of another task than that of line 1")
    return rows


def are_entities(rows: Sequence[Row]) -> bool:
    """Whether the predictions are entities', rather than a classifier's."""
    return _of_entities(rows[0])


def paired(first: list[Row], second: list[Row], names: tuple[str, str]) -> list[Row]:
    """The second rows in the order of the first, matched by `id` where every row has its own, else by position.

    Raises InputError, speaking of the two by `names`, unless they are of the same rows with the same labels.
    """
    if are_entities(first) != are_entities(second):
        raise InputError(f"{names[0]} and {names[1]} are of different tasks: one predicts entities, one labels")
    by_id = _by_id(first), _by_id(second)
    if by_id[0] is not None and by_id[1] is not None:
        second, how = _in_order(by_id[0], by_id[1], names), "by id"
    elif len(first) == len(second):
        how = "by position, as not every row has an id of its own"
    else:
        raise InputError(f"{names[0]} has {len(first)} rows and {names[1]} {len(second)}: not the same data")
    field = "labels" if are_entities(first) else "label"
    pairs = enumerate(zip(first, second, strict=True), start=1)
    if different := [number for number, (one, other) in pairs if one[field] != other[field]]:
        raise InputError(
            f"{names[0]} and {names[1]} differ in `{field}` in {len(different)} of {len(first)} rows (matched {how}), "
            f"first in line {different[0]} of the former: not the same data"
        )
    return second


def _in_order(first: dict[Any, Row], second: dict[Any, Row], names: tuple[str, str]) -> list[Row]:
    """The rows of `second` in the order of `first`, both under their ids."""
    alone = len(first.keys() - second.keys()), len(second.keys() - first.keys())
    if any(alone):
        raise InputError(
            f"{alone[0]} ids are in {names[0]} alone and {alone[1]} in {names[1]} alone: not the same data"
        )
    return [second[one] for one in first]


def groups_of(first: Sequence[Row], second: Sequence[Row], names: tuple[str, str]) -> list[int] | None:
    """The patient or document of each matched row, as numbers; None where neither file has them.

    Raises InputError where both have them and they are not the same groups, whatever their numbers.
    """
    found = [[row["group"] for row in rows] for rows in (first, second) if all("group" in row for row in rows)]
    if len(found) == 2 and not len(set(zip(*found, strict=True))) == len(set(found[0])) == len(set(found[1])):
        raise InputError(f"{names[0]} and {names[1]} group the rows in different ways: not the same patients")
    return found[0] if found else None


def probabilities_of(rows: Sequence[Row], classes: Sequence[str], name: str) -> np.ndarray:
    """Probabilities [N, C] of the classes, in their order. Raises InputError where a row has others."""
    wanted = set(classes)
    for number, row in enumerate(rows, start=1):
        if row["probabilities"].keys() != wanted:
            raise InputError(f"{name}, line {number}: the probabilities are not of the labels {', '.join(classes)}")
    return np.array([[row["probabilities"][one] for one in classes] for row in rows], dtype=np.float64)


def _parsed(line: str, where: str) -> Row:
    try:
        row = json.loads(line)
    except ValueError:
        raise InputError(f"{where}: no JSON") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: {type(row).__name__}, expected an object")
    if expected := _what_is_missing(row):
        raise InputError(f"{where}: expected {expected}")
    return row


def _what_is_missing(row: Row) -> str | None:
    if not isinstance(row.get("id", ""), (str, int)) or not isinstance(row.get("group", 0), int):
        return "`id` to be a string and `group` a number"
    if _of_entities(row):
        labels, predictions = row["labels"], row.get("predictions", ())
        fits = _are_tags(labels) and _are_tags(predictions) and len(labels) == len(predictions)
        return None if fits else "`labels` and `predictions`, a tag each for every word"
    chances = row.get("probabilities")
    numbers = isinstance(chances, dict) and all(isinstance(p, (int, float)) for p in chances.values())
    return None if isinstance(row.get("label"), str) and numbers else "`label` and `probabilities` (label -> p)"


def _are_tags(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(tag, str) for tag in value)


def _of_entities(row: Row) -> bool:
    return "labels" in row


def _by_id(rows: Sequence[Row]) -> dict[Any, Row] | None:
    """The rows under their ids; None unless each has one of its own."""
    found = {row.get("id"): row for row in rows}
    return None if len(found) < len(rows) or None in found else found
