"""A table of the report as data: what a cell shows, what its CSV holds, and which cells stand out."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Strip:
    """A score and its interval on the scale of its table, from 0 (left) to 1."""

    value: float
    low: float | None
    high: float | None
    floor: float | None  # what is reached without a model, or no difference


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: `text` for readers, bold where a test supports it, marked where it is the best, `strip` to draw."""

    text: str
    number: bool = False
    strong: bool = False
    best: bool = False
    strip: Strip | None = None
    tint: float = 0.0  # 0 to 1: how far towards the highest of its column
    below: str = ""  # smaller, under the text


@dataclasses.dataclass(frozen=True)
class Table:
    """A table: `name` is its CSV's; the first cell of a row is its heading."""

    name: str
    caption: str
    headings: list[str]
    rows: list[list[Cell]]
    raw: list[list[Any]]  # heading and rows of the CSV


def as_csv(rows: Sequence[Sequence[Any]]) -> str:
    """Comma-separated lines; None is empty."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["" if cell is None else cell for cell in row] for row in rows])
    return file.getvalue()
