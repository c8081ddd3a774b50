"""Chosen records of a large CSV file, many times faster than by the csv module, and exactly those that it gives.

A block of the file is searched for its quotes. What stands between the second and the third, the fourth and the fifth
and so on is outside quotes: delimiters and line ends count there alone, and there is little of it, since notes are
quoted. Where a block is not plain (a quote inside a field without quotes, text after a closing quote, a record of
another width, bad UTF-8) the csv module reads on from it, so that there is one rule for what a file means and one set
of messages.
"""

import codecs
import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import numpy as np
import tqdm

from jaxpeft.data.readers.text_files import csv_header, csv_records, reading_bytes

BLOCK = 1 << 20  # bytes that are read at once
_LONGEST_RECORD = 1 << 26  # bytes: where one is longer, a quote was not closed
_SECONDS = {True: (1.0, 0.1), False: (30.0, 30.0)}  # before a bar and between its states: on a terminal, in a log
_WORD = 8  # bytes that NumPy compares at once
_QUOTE, _LINE_FEED, _RETURN = b'"\n\r'


class _NotPlain(Exception):  # noqa: N818 - no error: the csv module takes over
    pass


def matching_records(
    path: Path, column: int, wanted: Callable[[str], bool], fields: Sequence[int]
) -> Iterator[tuple[int, list[str]]]:
    """Chosen `fields` of the records of `csv_records(path)`, without the header, whose number `column` is `wanted`.

    A reading that takes long shows how far it is, on standard error.

    Raises:
        InputError: as `csv_records` does, whether the broken record is wanted or not.
    """
    scan = _Scan(path, column, wanted, fields)
    try:
        yield from scan.records()
    except _NotPlain:
        pass
    else:
        return
    for line, record in itertools.islice(csv_records(path), max(1, scan.passed), None):
        if wanted(record[column]):
            yield line, [record[field] for field in fields]


@dataclasses.dataclass(frozen=True)
class _Block:
    """Whole records: record `r` is `text[cut[r, 0] + 1 : cut[r, width]]`, and between these are its delimiters."""

    data: np.ndarray  # uint8, the bytes of `text`
    text: memoryview
    cut: np.ndarray  # int64 [records, width + 1]
    stop: int  # where the records end and the rest begins
    line_feeds: np.ndarray  # bool, a byte of text
    returns: bool  # whether there are any

    def column(self, number: int) -> list[bytes]:
        """One field of every record, as the file has it."""
        start = self.cut[:, number] + 1
        size = self.cut[:, number + 1] - start
        text = self.data[_places(start, size)].tobytes()
        return [text[begin:end] for begin, end in itertools.pairwise([0, *np.cumsum(size).tolist()])]

    def lines(self, start: int, end: int) -> int:
        """Line ends between two places."""
        count = int(np.count_nonzero(self.line_feeds[start:end]))
        if self.returns:
            text = bytes(self.text[start:end])
            count += text.count(b"\r") - text.count(b"\r\n")
        return count


class _Scan:
    """One pass over a file; `passed` records were in plain blocks: the header, wanted ones and others."""

    def __init__(self, path: Path, column: int, wanted: Callable[[str], bool], fields: Sequence[int]):
        delimiter, header = csv_header(path)
        self.path, self.width, self.delimiter = path, len(header), ord(delimiter)
        self.column, self.fields = column, fields
        self.wanted = functools.lru_cache(lambda field: wanted(_value(memoryview(field))))
        self.passed = 0
        self.make_buffers(2 * BLOCK)

    def make_buffers(self, size: int) -> None:
        """One buffer for all blocks, and masks of it: new memory is slow to come by. Whole words, see `_quotes`."""
        size += -size % _WORD
        self.bytes = bytearray(size)
        self.data = np.frombuffer(self.bytes, np.uint8)
        self.quotes, self.line_feeds = np.zeros(size, bool), np.zeros(size, bool)

    def records(self) -> Iterator[tuple[int, list[str]]]:
        """Chosen records with the line that each begins on. Raises _NotPlain."""
        line = 1  # that the block begins on
        for block in self._blocks():
            line = yield from self._chosen(block, line)

    def _blocks(self) -> Iterator[_Block]:
        utf8 = codecs.getincrementaldecoder("utf-8")()
        begun, size = 0, -1  # bytes of a record whose end is still to be read; of the last reading
        with reading_bytes(self.path) as stream, _bar(self.path) as bar:
            if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
                stream.seek(0)
            while size:
                self._make_room(begun)
                size = stream.readinto(memoryview(self.bytes)[begun:-1])
                bar.update(getattr(stream, "fileobj", stream).tell() - bar.n)  # of a gzip file, compressed bytes
                end = begun + size
                _check(utf8, self.data[begun:end])
                if not size and begun and self.data[end - 1] != _LINE_FEED:
                    self.data[end] = _LINE_FEED
                    end += 1
                block = self._block(end)
                yield block
                begun = end - block.stop
                self.data[:begun] = self.data[block.stop : end].copy()
        if begun:
            raise _NotPlain  # the file ends inside quotes

    def _make_room(self, begun: int) -> None:
        if begun > _LONGEST_RECORD:
            raise _NotPlain
        if begun > len(self.bytes) // 2:
            kept = self.bytes
            self.make_buffers(2 * len(kept))
            self.bytes[: len(kept)] = kept

    def _block(self, size: int) -> _Block:
        """The whole records that the first `size` bytes begin with. Raises _NotPlain."""
        data = self.data[:size]
        quote = self._quotes(size)
        line_feeds = np.equal(data, _LINE_FEED, out=self.line_feeds[:size])
        outside = _outside(quote, size)
        found = data[outside]
        line_feed, cut = outside[found == _LINE_FEED], outside[found == self.delimiter]
        stop = int(line_feed[-1]) + 1 if len(line_feed) else 0
        self._refuse_stray(data, quote[quote < stop], outside[found == _RETURN])
        start = np.concatenate([[0], line_feed[:-1] + 1])[: len(line_feed)]
        end = line_feed - (data[line_feed - 1] == _RETURN)
        full = end > start  # the csv module skips blank lines
        start, end, cut = start[full], end[full], cut[cut < stop]
        if (np.searchsorted(cut, end) - np.searchsorted(cut, start) != self.width - 1).any():
            raise _NotPlain
        inner = cut.reshape(len(start), self.width - 1)
        cuts = np.concatenate([start[:, None] - 1, inner, end[:, None]], axis=1)
        return _Block(self.data, memoryview(self.bytes), cuts, stop, line_feeds, self.bytes.find(b"\r", 0, size) >= 0)

    def _quotes(self, size: int) -> np.ndarray:
        """The places of the quotes in the first `size` bytes; first the words of memory that have some: few do."""
        whole = size + -size % _WORD
        np.equal(self.data[:size], _QUOTE, out=self.quotes[:size])
        self.quotes[size:whole] = False
        word = np.flatnonzero(self.quotes[:whole].view(np.uint64) != 0)
        byte = np.flatnonzero(self.quotes[:whole].reshape(-1, _WORD)[word])
        return word[byte // _WORD] * _WORD + (byte & _WORD - 1)

    def _refuse_stray(self, data: np.ndarray, quote: np.ndarray, returns: np.ndarray) -> None:
        """Quotes stand at an end of a field or in pairs, returns before a line feed. Raises _NotPlain."""
        beside = np.concatenate([data[quote[::2][quote[::2] > 0] - 1], data[quote[1::2] + 1]])
        known = (beside == self.delimiter) | (beside == _QUOTE) | (beside == _LINE_FEED) | (beside == _RETURN)
        after = data[returns[returns + 1 < len(data)] + 1]
        if not known.all() or (after != _LINE_FEED).any():
            raise _NotPlain

    def _chosen(self, block: _Block, line: int) -> Generator[tuple[int, list[str]], None, int]:
        """The chosen records of a block that begins on `line`; returns the line that the next one begins on."""
        counted = 0  # line ends before it are in `line`
        header, self.passed = not self.passed, self.passed + len(block.cut)
        kinds = block.column(self.column)
        wanted = {kind for kind in set(kinds) if self.wanted(kind)}
        for row in [row for row, kind in enumerate(kinds) if kind in wanted and not (header and row == 0)]:
            cut = block.cut[row].tolist()
            start = cut[0] + 1
            line += block.lines(counted, start)
            counted = start
            yield line, [_value(block.text[cut[field] + 1 : cut[field + 1]]) for field in self.fields]
        return line + block.lines(counted, block.stop)


def _outside(quote: np.ndarray, length: int) -> np.ndarray:
    """The places outside quotes of a text that begins outside; a quote without partner lasts to its end."""
    start = np.concatenate([[0], quote[1::2] + 1])
    end = np.concatenate([quote[::2], [length]])[: len(start)]
    return _places(start, end - start)


def _places(start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """All places of some ranges, one range after the other."""
    return np.repeat(start - np.cumsum(size) + size, size) + np.arange(size.sum())


def _check(utf8: codecs.IncrementalDecoder, data: np.ndarray) -> None:
    begun = utf8.getstate()[0]  # bytes of a character whose end the last block did not have
    if not begun and (not len(data) or data.max() < 0x80):
        return
    try:
        utf8.decode(data.tobytes(), final=not len(data))
    except UnicodeDecodeError:
        raise _NotPlain from None


def _value(field: memoryview) -> str:
    if not field or field[0] != _QUOTE:
        return str(field, "utf-8")
    text = str(field[1:-1], "utf-8")  # a note is long: it is copied once
    return text.replace('""', '"') if '"' in text else text  # a quote is found faster than a pair


def _bar(path: Path) -> tqdm.tqdm:
    """How far the reading of a file is, for files that take longer than a moment."""
    wait, pause = _SECONDS[sys.stderr.isatty()]
    size = path.stat().st_size
    return tqdm.tqdm(desc=path.name, total=size, unit="B", unit_scale=True, delay=wait, mininterval=pause)
