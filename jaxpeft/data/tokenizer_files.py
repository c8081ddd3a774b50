"""The tokenizer of a model folder, as `tokenizers` runs it: no torch, no network."""

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

from jaxpeft.errors import InputError


def load_tokenizer(folder: Path, *, lowercase: str, words: bool = False) -> tuple[tokenizers.Tokenizer, str]:
    """The tokenizer of a folder, from `tokenizer.json`, or `vocab.txt` for a BERT of old, and a hash of what it does.

    `lowercase` is auto (as the folder says; with vocab.txt alone, as the vocabulary looks), yes or no. Warns
    when text for a cased vocabulary would be lower-cased. `words`: it will be given words one by one.
    Raises InputError when the folder has no tokenizer.
    """
    tokenizer = _from_folder(folder)
    _set_case(tokenizer, lowercase, folder)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if words:
        tokenizer = _with_space_before(tokenizer)
    tokenizer.encode_special_tokens = True  # "[SEP]" in a note is text, not a separator
    return tokenizer, hashlib.sha256(tokenizer.to_str().encode()).hexdigest()


def _with_space_before(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Byte-level vocabularies tell where a word begins by the space before it: words without text need theirs."""
    definition = json.loads(tokenizer.to_str())
    for part in _byte_levels(definition):
        part["add_prefix_space"] = True
    return tokenizers.Tokenizer.from_str(json.dumps(definition))


def _byte_levels(definition: dict[str, Any]) -> Iterator[dict[str, Any]]:
    whole = definition["pre_tokenizer"] or {"type": None}
    for part in whole["pretokenizers"] if whole["type"] == "Sequence" else [whole]:
        if part["type"] == "ByteLevel":
            yield part


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
