"""One call from a data config to splits, the synthetic stand-in written where it is missing."""

import tempfile
from pathlib import Path

from jaxpeft.config import DataConfig
from jaxpeft.data import synthetic
from jaxpeft.data.negatives import sample_negatives
from jaxpeft.data.readers import read
from jaxpeft.data.rows import Corpus
from jaxpeft.data.splits import Splits, make_splits
from jaxpeft.errors import InputError


def load(
    config: DataConfig, seed: int, workdir: Path | None, allow_download: bool, path_override: str | None = None
) -> Splits:
    """The splits that a config describes; `seed` decides where one file is cut and which rows a sample keeps.

    `path_override` stands in for `config.path`. Without either, format `synthetic` writes its tables into
    `<workdir>/data/synthetic` (a temporary folder if `workdir` is None) unless they are there, and reads them.

    Raises:
        InputError: no path, or whatever is wrong with the data.
    """
    return cut(config, seed, read_corpus(config, workdir, allow_download, path_override))


def read_corpus(
    config: DataConfig, workdir: Path | None, allow_download: bool, path_override: str | None = None
) -> Corpus:
    """What `load` cuts: the rows as their source has them."""
    path = path_override or config.path
    if path is None and config.format != "synthetic":
        raise InputError(f"data.path is not set: data.format {config.format!r} needs a file or a folder to read")
    if path is not None:
        return read(config, path, allow_download)
    if workdir is not None:
        return read(config, str(_synthetic(config, workdir / "data")), allow_download)
    with tempfile.TemporaryDirectory() as folder:
        return read(config, str(_synthetic(config, Path(folder))), allow_download)


def cut(config: DataConfig, seed: int, corpus: Corpus) -> Splits:
    """The splits of a corpus that was read, as `load` has them."""
    few_shot = config.few_shot
    if config.protocol == "paper" and any(rows.label is None for rows in corpus.splits.values()):
        few_shot = None  # the paper's code ignores it for entities
    splits = make_splits(corpus, config.labels, seed, few_shot, config.near_duplicates)
    if config.negative_share is None:
        return splits
    return sample_negatives(splits, config.negative_label, config.negative_share, seed)


def is_drawn(config: DataConfig, corpus: Corpus) -> bool:
    """Whether the seed decides which rows are in which split."""
    as_published = {"train", "validation"} <= corpus.splits.keys()
    return not as_published or config.few_shot is not None or config.negative_share is not None


def _synthetic(config: DataConfig, parent: Path) -> Path:
    folder, wanted = parent / "synthetic", config.synthetic
    if not synthetic.is_complete(folder, wanted.corpus, wanted.documents, wanted.seed):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        synthetic.write(wanted.corpus, folder, wanted.documents, wanted.seed)
    return folder
