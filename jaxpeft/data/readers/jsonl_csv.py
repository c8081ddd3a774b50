"""JSON lines and CSV: a folder with train, validation and test files, or one file that is split later."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxpeft.config import ColumnsConfig, DataConfig
from jaxpeft.data.naming import listed
from jaxpeft.data.readers.columns import build_rows
from jaxpeft.data.readers.text_files import csv_records, reading
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_SUFFIXES = {"jsonl": (".jsonl", ".jsonl.gz"), "csv": (".csv", ".csv.gz")}


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The splits of a folder, or the rows of one file under "all". Downloads nothing, whatever is allowed.

    Raises:
        InputError: a file that is missing, ambiguous or malformed, by name and line.
    """
    del allow_download
    files = split_files(Path(path).expanduser(), config.format)
    splits = {}
    for split, file in files.items():
        splits[split], _ = read_rows(file, config.columns, require_label=True, format=config.format)
    return Corpus(splits, published="all" not in splits)


def split_files(path: Path, format: str) -> dict[str, Path]:
    """The file of each split of a folder; {"all": path} for a file. Only validation may be missing."""
    if path.is_file():
        if (found := _format_of(path)) not in (None, format):
            raise InputError(f"{path}: a .{found} file, but data.format is {format!r}: set data.format={found}")
        return {"all": path}
    if not path.is_dir():
        raise InputError(f"data.path {path}: no such file or folder: expected a {format} file or a folder of them")
    files = {split: _split_file(path, split, format) for split in SPLIT_NAMES}
    return {split: file for split, file in files.items() if file is not None}


def _split_file(folder: Path, split: str, format: str) -> Path | None:
    wanted = [name + suffix for name in SPLIT_NAMES[split] for suffix in _SUFFIXES[format]]
    found = [folder / name for name in wanted if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(f"{folder}: several files for {split}: {', '.join(file.name for file in found)}: keep one")
    if not found and split != "validation":
        present = sorted(entry.name for entry in folder.iterdir())
        raise InputError(f"{folder}: no {split} file: looked for {', '.join(wanted)}; the folder has {listed(present)}")
    return found[0] if found else None


def _format_of(path: Path) -> str | None:
    endings = ((format, suffix) for format, suffixes in _SUFFIXES.items() for suffix in suffixes)
    return next((format for format, suffix in endings if path.name.lower().endswith(suffix)), None)


def read_rows(
    path: Path, columns: ColumnsConfig, require_label: bool, format: str | None = None
) -> tuple[Rows, list[dict[str, Any]]]:
    """One file's rows, and the same rows as the file has them: every column, in its order, values unchanged.

    `format` is "jsonl" or "csv", by default what the file's name ends in. Without `require_label` the labels
    are None unless every row has one.

    Raises:
        InputError: a file that is missing or malformed, by name and line.
    """
    format = format or _format_of(path)
    if format is None:
        endings = ", ".join(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
        raise InputError(f"{path}: cannot tell JSON lines from CSV: give the file a name that ends in {endings}")
    numbered = list((json_rows if format == "jsonl" else csv_rows)(path))
    raw = [row for _, row in numbered]
    names = dict.fromkeys(name for row in raw for name in row)
    table = {name: [row.get(name) for row in raw] for name in names}
    return build_rows(str(path), table, [number for number, _ in numbered], columns, require_label), raw


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
