"""Rows to token ids, once: the result is cached under the hash of everything that it depends on."""

import concurrent.futures
import dataclasses
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers

from jaxpeft.data.cuts import cut, leads
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenizer_files import load_tokenizer
from jaxpeft.errors import InputError

CHUNK = 500  # notes a call into the tokenizer: two calls' encodings are in memory at a time


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Token ids of E examples, P tokens, end to end. A row is one example, or several where it is read in windows.

    ids int32 [P]; starts int64 [E + 1], so example i is `ids[starts[i]:starts[i + 1]]`; row_of int32 [E], the row of
    each, rising; segments uint8 [P] (1 = second text), None for single texts. Of rows of words also words int32 [P],
    the word that each token is of (-1: a special token), and leads bool [P], whether it answers for that word: each
    word has one such token, or none where it has no token at all or was cut off. truncated: rows that lost tokens;
    words_cut: words that lost theirs.
    """

    ids: np.ndarray
    starts: np.ndarray
    row_of: np.ndarray
    segments: np.ndarray | None = None
    words: np.ndarray | None = None
    leads: np.ndarray | None = None
    truncated: int = 0
    words_cut: int = 0

    def __len__(self) -> int:
        return len(self.row_of)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example [E], special tokens included."""
        return np.diff(self.starts)

    def leads_of(self, example: int) -> np.ndarray:
        """`leads` of one example."""
        assert self.leads is not None
        return self.leads[self.starts[example] : self.starts[example + 1]]


@dataclasses.dataclass(frozen=True)
class Examples:
    """A split, ready for batches: its rows and their tokens."""

    rows: Rows
    encoded: Encoded

    def __len__(self) -> int:
        return len(self.rows)

    def checksum(self) -> int:
        """Of the tokens and the answers: another one means other data."""
        answers = repr(self.rows.label or self.rows.tags).encode()
        return zlib.crc32(self.encoded.ids.tobytes() + self.encoded.starts.tobytes() + answers)


@dataclasses.dataclass(frozen=True)
class TextEncoder:
    """A model's tokenizer, and what becomes of a text that is longer than `max_length`.

    `reads_words`: rows are words, not texts. `long_text` and `stride` are those of `cuts.cut`.
    """

    tokenizer: tokenizers.Tokenizer
    sha256: str  # of the tokenizer's whole definition
    max_length: int
    reads_words: bool = False
    long_text: str = "head"
    stride: int = 0
    vocab_size: int | None = None  # rows of the model's table of words

    def in_windows(self) -> "TextEncoder":
        """The same, but that no word of a long text is left out."""
        return self if self.long_text == "windows" else dataclasses.replace(self, long_text="windows")

    def encode(self, rows: Rows, cache: Path | None = None) -> Encoded:
        """Tokens of every row, from the folder `cache` if these very rows have been encoded before.

        Raises InputError for a token that the model has no embedding of.
        """
        path = None if cache is None else cache / f"{self._key(rows)}.npz"
        known = None if path is None else _read(path)
        encoded = self._encode(rows) if known is None else known
        largest = int(encoded.ids.max(initial=0))
        if self.vocab_size is not None and largest >= self.vocab_size:
            raise InputError(
                f"the tokenizer gave token {largest}, and the model has embeddings of {self.vocab_size} (vocab_size in "
                "config.json): it is another model's, or words were added to it alone"
            )
        if path is not None and known is None:
            _write(path, encoded)
        return encoded

    def _encode(self, rows: Rows) -> Encoded:
        if self.reads_words:
            return self._encode_words(rows.tokens or [])
        return self._encode_texts(rows.text) if rows.text_pair is None else self._encode_pairs(rows)

    def _encode_texts(self, texts: Sequence[str]) -> Encoded:
        found = _Examples()
        self.tokenizer.no_truncation()
        for row, encoding in enumerate(_in_chunks(self.tokenizer.encode_batch_fast, texts)):
            ids, inside = _parts(encoding)
            kept = self._cut(len(inside))
            found.truncated += len(kept) == 1 and len(kept[0]) < len(inside)
            for positions in kept:
                found.add(row, ids=ids[_framed(len(ids), inside, positions)])
        return found.encoded()

    def _encode_words(self, rows: Sequence[Sequence[str]]) -> Encoded:
        found = _Examples()
        self.tokenizer.no_truncation()

        def encode(words: Any) -> Any:  # encode_batch_fast forgets which word a token is of
            return self.tokenizer.encode_batch(words, is_pretokenized=True)

        for row, encoding in enumerate(_in_chunks(encode, rows)):
            ids, inside = _parts(encoding)
            words = np.array([-1 if word is None else word for word in encoding.word_ids], np.int32)
            kept = self._cut(len(inside))
            answers = leads(words[inside], kept)
            found.truncated += len(kept) == 1 and len(kept[0]) < len(inside)
            found.words_cut += len(np.unique(words[inside])) - sum(map(np.count_nonzero, answers))
            for positions, answer in zip(kept, answers, strict=True):
                places = _framed(len(ids), inside, positions)
                lead = np.zeros(len(places), bool)
                lead[np.isin(places, inside)] = answer
                found.add(row, ids=ids[places], words=words[places], leads=lead)
        return found.encoded()

    def _encode_pairs(self, rows: Rows) -> Encoded:
        if self.long_text != "head":
            raise InputError(f"data.long_text={self.long_text} is for single texts, and these rows are pairs: use head")
        found = _Examples()
        self.tokenizer.enable_truncation(self.max_length, strategy="longest_first")
        pairs = list(zip(rows.text, rows.text_pair or (), strict=True))
        for row, encoding in enumerate(_in_chunks(self.tokenizer.encode_batch_fast, pairs)):
            found.truncated += bool(encoding.overflowing)
            found.add(row, ids=np.array(encoding.ids, np.int32), segments=np.array(encoding.type_ids, np.uint8))
        return found.encoded()

    def _cut(self, length: int) -> list[np.ndarray]:
        room = self.max_length - self.tokenizer.num_special_tokens_to_add(False)
        if self.long_text == "windows" and self.stride > room:
            raise InputError(
                f"data.window_stride is {self.stride}, more than the {room} tokens that a window of data.max_length "
                f"{self.max_length} holds: what lies between two windows would be lost"
            )
        return cut(length, room, self.long_text, self.stride)

    def _key(self, rows: Rows) -> str:
        settings = (self.sha256, self.max_length, self.reads_words, self.long_text, self.stride, len(rows))
        digest = hashlib.sha256(" ".join(map(str, settings)).encode())
        columns: Sequence[Sequence[str]] = [rows.text, rows.text_pair or []]
        if self.reads_words:
            columns = rows.tokens or []
        for column in columns:
            digest.update(b"column")
            for text in column:
                encoded = text.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "little"))
                digest.update(encoded)
        return digest.hexdigest()


class _Examples:
    """Collects the columns of `Encoded`, example by example."""

    def __init__(self) -> None:
        self.columns: dict[str, list[np.ndarray]] = {}
        self.row_of: list[int] = []
        self.truncated = self.words_cut = 0

    def add(self, row: int, **columns: np.ndarray) -> None:
        """An example of a row."""
        self.row_of.append(row)
        for name, column in columns.items():
            self.columns.setdefault(name, []).append(column)

    def encoded(self) -> Encoded:
        """All that was added."""
        lengths = [len(one) for one in self.columns["ids"]]
        return Encoded(
            **{name: np.concatenate(parts) for name, parts in self.columns.items()},
            starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            row_of=np.array(self.row_of, np.int32),
            truncated=int(self.truncated),
            words_cut=int(self.words_cut),
        )


def _in_chunks(encode: Any, rows: Sequence[Any]) -> Iterator[Any]:
    """The encoding of each row; the next chunk is encoded, by the library's own threads, while one is looked at."""
    with concurrent.futures.ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(encode, rows[:CHUNK])
        for start in range(CHUNK, len(rows) + CHUNK, CHUNK):
            encodings = coming.result()
            coming = ahead.submit(encode, rows[start : start + CHUNK])
            yield from encodings


def _parts(encoding: Any) -> tuple[np.ndarray, np.ndarray]:
    """The ids, and where those of the text stand among special tokens."""
    return np.array(encoding.ids, np.int32), np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)


def _framed(length: int, inside: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Places of the chosen tokens of a text, and of the special tokens before and after it, among all `length`."""
    if not len(inside):
        return np.arange(length)
    return np.concatenate([np.arange(inside[0]), inside[positions], np.arange(inside[-1] + 1, length)])


def text_encoder(
    folder: Path,
    *,
    lowercase: str,
    max_length: int,
    reads_words: bool = False,
    long_text: str = "head",
    stride: int | None = None,
    vocab_size: int | None = None,
) -> TextEncoder:
    """The encoder of a model folder; `stride` None is half of `max_length`. Raises InputError as `load_tokenizer`."""
    tokenizer, sha256 = load_tokenizer(folder, lowercase=lowercase, words=reads_words)
    return TextEncoder(tokenizer, sha256, max_length, reads_words, long_text, stride or max_length // 2, vocab_size)


def private_folder(path: Path) -> Path:
    """The folder, made if need be, for its owner alone (mode 0700): what it holds derives from notes."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def _write(path: Path, encoded: Encoded) -> None:
    """Whole or not at all: another process may be writing the same file."""
    private_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(handle, "wb") as file:
            columns = {name: value for name, value in vars(encoded).items() if value is not None}
            np.savez(file, **columns)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _read(path: Path) -> Encoded | None:
    """None where there is no such file, or one that the machine's end cut short."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            columns: dict[str, Any] = dict(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return None
    return Encoded(**columns | {name: int(columns[name]) for name in ("truncated", "words_cut")})
