"""Readers: one function a data format, from a path to a `Corpus`."""

from collections.abc import Callable

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import hub, jsonl_csv, mimic3
from jaxpeft.data.rows import Corpus
from jaxpeft.errors import InputError

READERS: dict[str, Callable[[DataConfig, str, bool], Corpus]] = {
    "jsonl": jsonl_csv.read,
    "csv": jsonl_csv.read,
    "hf": hub.read,
    "mimic3": mimic3.read,
    "synthetic": mimic3.read,  # the stand-in has the tables of the real corpus
}


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """What `path` holds, read as `config.format`.

    Raises:
        InputError: an unknown format, or whatever is wrong with the files.
    """
    if config.format not in READERS:
        raise InputError(f"data.format is {config.format!r}: expected one of {', '.join(READERS)}")
    return READERS[config.format](config, path, allow_download)
