"""Text files as people have them: UTF-8 with or without a BOM, plain or gzip, as lines or as CSV records."""

import codecs
import contextlib
import csv
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from jaxpeft.errors import InputError

_FIELD_LIMIT = 2**31 - 1  # a C long on every platform; a note longer than csv's 128 KiB is no error

_Record = tuple[int, list[str]]


def open_binary(path: Path) -> io.BufferedReader | gzip.GzipFile:
    """The bytes of a file, decompressed where its name ends in .gz."""
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


@contextlib.contextmanager
def reading(path: Path, newline: str) -> Iterator[TextIO]:
    """An open text file, whose failures come as InputError with the file and, for bad bytes, the line."""
    try:
        with reading_bytes(path) as binary, io.TextIOWrapper(binary, "utf-8-sig", newline=newline) as stream:
            yield stream
    except UnicodeDecodeError:
        problem = (
            f"{path}:{_first_undecodable_line(path)}: not UTF-8. Encodings are not guessed: convert the file, "
            f"for example with `iconv -f {_likely_encoding(path)} -t UTF-8`"
        )
    else:
        return
    raise InputError(problem)  # outside of `except`: the decoding error holds the note's bytes


@contextlib.contextmanager
def reading_bytes(path: Path) -> Iterator[io.BufferedReader | gzip.GzipFile]:
    """An open file, whose failures come as InputError with the file."""
    try:
        with open_binary(path) as binary:
            yield binary
    except (EOFError, zlib.error, gzip.BadGzipFile):
        problem = f"{path}: not a whole gzip file: copy it again, or rename it if it is not compressed"
    except OSError as error:
        problem = f"{path}: cannot be read: {error.strerror or type(error).__name__}"
    else:
        return
    raise InputError(problem)


def _first_undecodable_line(path: Path) -> int:
    with open_binary(path) as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _likely_encoding(path: Path) -> str:
    """CP1252, unless there is the mark that databases put before UTF-16."""
    with open_binary(path) as file:
        return "UTF-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "CP1252"


def csv_records(path: Path) -> Iterator[_Record]:
    """Records of a CSV file with the line that each begins on; the first is the header.

    The delimiter is the one of `,` `;` and tab that the header line has most. Blank lines are skipped.

    Raises:
        InputError: bad encoding, broken quoting, a record of another width than the header, a repeated or
            empty column name.
    """
    with reading(path, newline="") as stream:
        _, header, records = _opened_csv(path, stream)
        yield header
        width = len(header[1])
        for line, record in records:
            if len(record) != width:
                raise InputError(
                    f"{path}:{line}: {len(record)} fields where the header has {width}: "
                    "quote fields that contain the delimiter, a quote or a line break"
                )
            yield line, record


def csv_header(path: Path) -> tuple[str, list[str]]:
    """The delimiter and the columns of a CSV file. Raises as `csv_records` does."""
    with reading(path, newline="") as stream:
        delimiter, (_, header), _ = _opened_csv(path, stream)
        return delimiter, header


def _opened_csv(path: Path, stream: TextIO) -> tuple[str, _Record, Iterator[_Record]]:
    first = stream.readline()
    delimiter = max(",;\t", key=first.count)
    records = _records(path, itertools.chain([first], stream), delimiter)
    header = next(records, None)
    if header is None:
        raise InputError(f"{path}: empty file: expected a header line and rows")
    _check_header(path, header[1])
    return delimiter, header, records


def _records(path: Path, lines: Iterator[str], delimiter: str) -> Iterator[_Record]:
    csv.field_size_limit(_FIELD_LIMIT)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start = 1
    try:
        for record in reader:
            if record:
                yield start, record
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{start}: the CSV record that begins here is broken: {error}") from None


def _check_header(path: Path, header: list[str]) -> None:
    # By number, as without a header these would be values of a patient.
    wrong = [number for number, name in enumerate(header, 1) if not name or name in header[: number - 1]]
    if wrong:
        columns = f"column{'s' * (len(wrong) > 1)} {', '.join(map(str, wrong))}"
        raise InputError(f"{path}:1: {columns} of the header: a name is empty or comes twice; is the header missing?")
