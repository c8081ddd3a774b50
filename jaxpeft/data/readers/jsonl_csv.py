"""JSON lines and CSV: a folder with train, validation and test files, or one file that is split later."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxpeft.config import ColumnsConfig, DataConfig, expanded
from jaxpeft.data.readers.columns import build_rows, has_words, named
from jaxpeft.data.readers.split_files import SUFFIXES, format_of, split_files
from jaxpeft.data.readers.text_files import csv_records, reading
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The splits of a folder, or the rows of one file under "all". Downloads nothing, whatever is allowed.

    Raises:
        InputError: a file that is missing, ambiguous or malformed, by name and line.
    """
    del allow_download
    files = split_files(expanded(path), config.format)
    splits = {}
    report: Counter[str] = Counter()
    for split, file in files.items():
        splits[split], _ = read_rows(file, config.columns, require_label=True, format=config.format, report=report)
    return Corpus(splits, dict(report), published="all" not in splits)


def read_rows(
    path: Path,
    columns: ColumnsConfig,
    require_label: bool,
    format: str | None = None,
    report: Counter[str] | None = None,
    words: bool = False,
) -> tuple[Rows, list[dict[str, Any]]]:
    """One file's rows, and the same rows as the file has them: every column, in its order, values unchanged.

    `format` is "jsonl" or "csv", by default what the file's name ends in. Without `require_label` the labels
    (of words: the tags) are None unless every row has one. `report` counts repairs. `words`: where a file has both,
    words are read rather than texts.

    Raises:
        InputError: a file that is missing or malformed, by name and line.
    """
    format = format or format_of(path)
    if format not in ("jsonl", "csv"):
        endings = ", ".join((*SUFFIXES["jsonl"], *SUFFIXES["csv"]))
        raise InputError(f"{path}: cannot tell JSON lines from CSV: give the file a name that ends in {endings}")
    numbered = list((json_rows if format == "jsonl" else csv_rows)(path))
    raw = [row for _, row in numbered]
    names = dict.fromkeys(name for row in raw for name in row)
    table = {name: [row.get(name) for row in raw] for name in names}
    entities = has_words(table, columns) or (words and named(table, columns.tokens) in table)
    if format == "csv" and entities:
        raise InputError(f"{path}: CSV has no lists, so no {columns.tokens!r}: give words as JSON lines or parquet")
    rows = build_rows(
        str(path), table, [number for number, _ in numbered], columns, require_label, report=report, entities=entities
    )
    return rows, raw


def json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The object of each line of a JSON lines file, with the line's number. Blank lines are skipped."""
    with reading(path, newline="\n") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield number, _json_object(f"{path}:{number}", line.rstrip("\r\n"))


def _json_object(where: str, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        reason = error.msg.partition(":")[0]  # what follows a colon may quote the line
        problem = f"{where}: column {error.colno}: broken JSON: {reason}"
    except (ValueError, RecursionError):
        problem = f"{where}: JSON with a number or a nesting too long to read"
    else:
        if isinstance(row, dict):
            return row
        problem = f'{where}: expected an object such as {{"text": ..., "label": ...}}, found {type(row).__name__}'
    raise InputError(problem)  # outside of `except`: the JSON error holds the whole line


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The fields of each record of a CSV file by column, with the line that the record begins on."""
    records = csv_records(path)
    _, header = next(records)
    for number, record in records:
        yield number, dict(zip(header, record, strict=True))
