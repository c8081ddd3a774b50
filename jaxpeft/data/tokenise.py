"""Text to token ids, once: the result is cached under the hash of everything that it depends on."""

import dataclasses
import hashlib
import json
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

from jaxpeft.data.rows import Rows
from jaxpeft.errors import InputError

CHUNK = 1000  # notes a call into the tokenizer: bounds what its encodings hold in memory


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Token ids of N examples, end to end.

    ids int32 [sum of lengths]; segments uint8 alike (1 = second text), None for single texts; starts int64
    [N + 1], so example i is `ids[starts[i]:starts[i + 1]]`; truncated: how many examples lost tokens.
    """

    ids: np.ndarray
    segments: np.ndarray | None
    starts: np.ndarray
    truncated: int

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example [N], special tokens included."""
        return np.diff(self.starts)


@dataclasses.dataclass(frozen=True)
class TextEncoder:
    """A model's tokenizer, set up to cut at `max_length` and to pad nothing."""

    tokenizer: tokenizers.Tokenizer
    max_length: int
    sha256: str  # of the tokenizer's whole definition

    def encode(self, rows: Rows, cache: Path | None = None) -> Encoded:
        """Tokens of every row, from the folder `cache` if these very rows have been encoded before."""
        if cache is None:
            return self._encode(rows)
        path = cache / f"{self._key(rows)}.npz"
        if path.exists():
            return _read(path)
        encoded = self._encode(rows)
        _write(path, encoded)
        return encoded

    def _encode(self, rows: Rows) -> Encoded:
        ids: list[np.ndarray] = []
        segments: list[np.ndarray] = []
        truncated = 0
        for start in range(0, len(rows), CHUNK):
            texts: Any = rows.text[start : start + CHUNK]
            if rows.text_pair is not None:
                texts = list(zip(texts, rows.text_pair[start : start + CHUNK], strict=True))
            for encoding in self.tokenizer.encode_batch_fast(texts):
                ids.append(np.array(encoding.ids, np.int32))
                truncated += bool(encoding.overflowing)
                if rows.text_pair is not None:
                    segments.append(np.array(encoding.type_ids, np.uint8))
        starts = np.concatenate([[0], np.cumsum([len(one) for one in ids])]).astype(np.int64)
        return Encoded(np.concatenate(ids), np.concatenate(segments) if segments else None, starts, truncated)

    def _key(self, rows: Rows) -> str:
        digest = hashlib.sha256(f"{self.sha256} {self.max_length} {len(rows)}".encode())
        for column in (rows.text, rows.text_pair or []):
            digest.update(b"column")
            for text in column:
                encoded = text.encode("utf-8", "surrogatepass")
                digest.update(len(encoded).to_bytes(8, "little"))
                digest.update(encoded)
        return digest.hexdigest()


def text_encoder(folder: Path, *, lowercase: str, max_length: int) -> TextEncoder:
    """The tokenizer of a model folder: `tokenizer.json`, or `vocab.txt` for a BERT of old.

    `lowercase` is auto (as the folder says; with vocab.txt alone, as the vocabulary looks), yes or no. Warns
    when text for a cased vocabulary would be lower-cased. Raises InputError when the folder has no tokenizer.
    """
    tokenizer = _from_folder(folder)
    _set_case(tokenizer, lowercase, folder)
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, strategy="longest_first")
    tokenizer.encode_special_tokens = True  # "[SEP]" in a note is text, not a separator
    sha256 = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()
    return TextEncoder(tokenizer, max_length, sha256)


def _from_folder(folder: Path) -> tokenizers.Tokenizer:
    path, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
    try:
        if path.exists():
            return tokenizers.Tokenizer.from_file(str(path))
        if vocabulary.exists():
            return _from_vocabulary(folder, vocabulary)
    except Exception as error:  # the library raises bare Exception for a file that it cannot parse
        raise InputError(f"{folder}: the tokenizer cannot be read: {error}") from None
    raise InputError(f"{folder} holds no tokenizer.json and no vocab.txt")


def _from_vocabulary(folder: Path, vocabulary: Path) -> tokenizers.Tokenizer:
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.exists() else {}
    words = vocabulary.read_text(encoding="utf-8").split("\n")
    lowercase = config.get("do_lower_case", not _is_cased(words))
    built = BertWordPieceTokenizer(
        str(vocabulary), lowercase=lowercase, strip_accents=config.get("strip_accents"), clean_text=True
    )
    return tokenizers.Tokenizer.from_str(built.to_str())


def _is_cased(words: Any) -> bool:
    return sum(any(map(str.isupper, word)) for word in words if not word.startswith("[")) > 100


def _set_case(tokenizer: tokenizers.Tokenizer, lowercase: str, folder: Path) -> None:
    normalizer = tokenizer.normalizer
    lowers = getattr(normalizer, "lowercase", None)
    if lowercase != "auto":
        if lowers is None:
            raise InputError(f"model.lowercase={lowercase}: the tokenizer of {folder} has no such switch; use auto")
        normalizer.lowercase = lowercase == "yes"
        tokenizer.normalizer = normalizer
    if getattr(normalizer, "lowercase", False) and _is_cased(tokenizer.get_vocab()):
        warnings.warn(
            f"the vocabulary of {folder} is cased and its text is lower-cased: set model.lowercase=no to keep case",
            stacklevel=2,
        )


def private_folder(path: Path) -> Path:
    """The folder, made if need be, for its owner alone (mode 0700): what it holds derives from notes."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def _write(path: Path, encoded: Encoded) -> None:
    """Whole or not at all: another process may be writing the same file."""
    private_folder(path.parent)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    with os.fdopen(handle, "wb") as file:
        columns = {name: value for name, value in vars(encoded).items() if value is not None}
        np.savez(file, **columns)
    os.replace(temporary, path)


def _read(path: Path) -> Encoded:
    with np.load(path, allow_pickle=False) as file:
        columns = dict(file)
    return Encoded(columns["ids"], columns.get("segments"), columns["starts"], int(columns["truncated"]))
