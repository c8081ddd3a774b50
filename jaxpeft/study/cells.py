"""A table of the report as data: what a cell shows, what its CSV holds, and which cells stand out."""

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from jaxpeft.study.statistics import Estimate

NOTHING = "–"


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


def on_scale(floor: float, scale: tuple[float, float]) -> float | None:
    """The floor, where it is on the scale."""
    return floor if scale[0] <= floor <= scale[1] else None


def strip_of(score: Estimate, floor: float | None, scale: tuple[float, float]) -> Strip:
    """A score on a scale (low, high), with a floor where that is on it."""
    width = (scale[1] - scale[0]) or 1.0
    value, low, high, ground = (
        None if number is None else (number - scale[0]) / width
        for number in (*numbers(score), None if floor is None else on_scale(floor, scale))
    )
    return Strip(value if value is not None else 0.0, low, high, ground)


def in_numbers(score: Estimate) -> str:
    """`0.812 to 0.871`; a dash without an interval."""
    return NOTHING if score.low is None or score.high is None else f"{score.low:.3f} to {score.high:.3f}"


def numbers(score: Estimate) -> tuple[float, float | None, float | None]:
    """A score and its interval."""
    return score.value, score.low, score.high


def or_nothing(value: float | None, show: Any) -> str:
    """What `show` makes of a value; a dash of None."""
    return NOTHING if value is None else str(show(value))
