"""Readers: one function a data format, from a path to a `Corpus`."""

import dataclasses
from collections.abc import Callable

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import hub, i2b2_2010, i2b2_2012, i2b2_2014, jsonl_csv, mednli, mimic3
from jaxpeft.data.rows import Corpus
from jaxpeft.errors import InputError

SYNTHETIC = "synthetic"  # reads the stand-in of another format's corpus, by that format's reader
READERS: dict[str, Callable[[DataConfig, str, bool], Corpus]] = {
    "jsonl": jsonl_csv.read,
    "csv": jsonl_csv.read,
    "parquet": hub.read_parquet,
    "hf": hub.read,
    "mimic3": mimic3.read,
    "i2b2_2010": i2b2_2010.read,
    "i2b2_2012": i2b2_2012.read,
    "i2b2_2014": i2b2_2014.read,
    "mednli": mednli.read,
}
FORMATS = (*READERS, SYNTHETIC)
TARGETS: dict[str, tuple[str, ...]] = {  # of the formats that have some; the first is the default
    "mimic3": tuple(mimic3.TARGETS),
    "i2b2_2010": i2b2_2010.TARGETS,
}


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """What `path` holds, read as `config.format` and for `config.target`.

    Raises:
        InputError: an unknown format or target, or whatever is wrong with the files.
    """
    if problem := target_problem(config):
        raise InputError(problem)
    format = corpus_format(config)
    if format not in READERS:
        raise InputError(f"data.format is {config.format!r}: expected one of {', '.join(FORMATS)}")
    target = config.target or next(iter(TARGETS.get(format, ())), None)
    return READERS[format](dataclasses.replace(config, format=format, target=target), path, allow_download)


def corpus_format(config: DataConfig) -> str:
    """The format whose reader applies: for a synthetic corpus that of the one it stands in for."""
    return config.synthetic.corpus if config.format == SYNTHETIC else config.format


def target_problem(config: DataConfig) -> str | None:
    """What is wrong with `config.target`, or None."""
    known = TARGETS.get(corpus_format(config), ())
    if config.target is None or config.target in known:
        return None
    return f"data.target is {config.target!r}: {corpus_format(config)} has {', '.join(known) or 'none to choose from'}"
