"""Hugging Face datasets and parquet: a folder of `save_to_disk`, parquet files, or a hub name. Caches nothing local."""

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxpeft.config import ColumnsConfig, DataConfig, expanded
from jaxpeft.data.naming import listed
from jaxpeft.data.readers.columns import build_rows, named
from jaxpeft.data.readers.split_files import SPLIT_NAMES, split_files
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

if TYPE_CHECKING:
    import datasets

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
# train.parquet, train_0.parquet, train-00000-of-00002.parquet, and with a checksum behind
_SHARD = re.compile(r"(?P<split>[A-Za-z]+)([-_.]\d+(-of-\d+(-[0-9a-f]+)?)?)?\.parquet")


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The splits of a dataset; "all" where it has one split only.

    `path` is a folder written by `save_to_disk`, a parquet file, a folder of parquet files (named by split,
    directly or under `data/`), or, if `allow_download`, the name of a dataset on the hub. Class numbers become
    class names.

    Raises:
        InputError: nothing at `path`, a download that is not allowed, unreadable files, wrong columns.
    """
    local = expanded(path)
    parts = _local(local) if local.exists() else _from_hub(path, allow_download)
    named = _by_split(path, parts)
    return _corpus({f"{path} ({split})": (split, part) for split, part in named.items()}, config.columns)


def read_parquet(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The splits of a folder with a parquet file each, or the rows of one file. Downloads nothing.

    Raises:
        InputError: a file that is missing, ambiguous or unreadable, or wrong columns, by file and row.
    """
    del allow_download
    files = split_files(expanded(path), "parquet")
    return _corpus({str(file): (split, _one_table([file])) for split, file in files.items()}, config.columns)


def _local(path: Path) -> dict[str, "datasets.Dataset"]:
    if (path / "dataset_dict.json").is_file() or (path / "state.json").is_file():
        return _saved(path)
    files = [path] if path.is_file() else sorted([*path.glob("*.parquet"), *path.glob("data/*.parquet")])
    if not files or any(file.suffix != ".parquet" for file in files):
        raise InputError(
            f"{path}: neither a folder of datasets' save_to_disk (dataset_dict.json or state.json) nor parquet files"
        )
    return _parquet(path, files)


def _saved(path: Path) -> dict[str, "datasets.Dataset"]:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(path), keep_in_memory=True)
    except Exception as error:  # whatever a damaged folder makes of Arrow and JSON
        problem = f"{path}: not a readable save_to_disk folder ({type(error).__name__}): save it again"
    else:
        return dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"all": loaded}
    raise InputError(problem)


def _parquet(path: Path, files: list[Path]) -> dict[str, "datasets.Dataset"]:
    names = {file: match["split"].lower() if (match := _SHARD.fullmatch(file.name)) else "" for file in files}
    known = {name for aliases in SPLIT_NAMES.values() for name in aliases}
    strangers = [file.name for file, name in names.items() if name not in known]
    if strangers and len(strangers) < len(files):  # all in one and cut anew, tested rows would be trained on
        raise InputError(
            f"{files[0].parent}: some parquet files are named as splits, and others are not: {listed(strangers)}. "
            "Take those away, or name all as parts of one split"
        )
    if len({file.parent for file in files}) > 1:
        raise InputError(f"{path}: parquet files both directly in it and under data/: keep one set of splits")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(names[file] if not strangers and len(files) > 1 else "all", []).append(file)
    for split, parts in by_split.items():
        if not strangers and len(parts) > 1 and (whole := [one.name for one in parts if one.stem.isalpha()]):
            raise InputError(f"{path}: several files for {split}, of which {listed(whole)} is no part of it: keep one")
    return {split: _one_table(parts) for split, parts in by_split.items()}


def _one_table(files: list[Path]) -> "datasets.Dataset":
    """The dataset of parquet files through Arrow: `Dataset.from_parquet` would copy the notes into the user's cache."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    tables = []
    for file in files:
        try:
            tables.append(pyarrow.parquet.read_table(file))
        except (pyarrow.ArrowException, OSError) as error:
            raise InputError(f"{file}: not a readable parquet file ({type(error).__name__})") from None
    try:
        table = pyarrow.concat_tables(tables)
    except pyarrow.ArrowException:
        raise InputError(f"{files[0].parent}: the parquet files do not have the same columns and types") from None
    try:
        return datasets.Dataset(table)
    except Exception as error:  # whatever the library makes of a damaged note on the columns' types
        problem = f"{files[0]}: the columns' types cannot be read ({type(error).__name__}): save it again"
    raise InputError(problem)  # outside of `except`, as everywhere: an error may hold what a file says


def _from_hub(name: str, allow_download: bool) -> dict[str, "datasets.Dataset"]:
    if not _HUB_NAME.fullmatch(name):
        raise InputError(f"data.path {name}: no such file or folder, and not the name of a dataset on the hub")
    if not allow_download:
        raise InputError(
            f"data.path {name}: no such file or folder. If it is a dataset on the hub, set model.allow_download=True"
        )
    import datasets

    try:
        loaded = datasets.load_dataset(name, keep_in_memory=True)
    except Exception as error:  # network, name, licence: all the user's to settle
        problem = f"data.path {name}: the hub's dataset could not be loaded: {type(error).__name__}: {error}"
    else:
        return {str(split): part for split, part in loaded.items()}
    raise InputError(problem)


def _by_split(source: str, parts: dict[str, "datasets.Dataset"]) -> dict[str, "datasets.Dataset"]:
    if len(parts) == 1:
        return {"all": next(iter(parts.values()))}
    named = {}
    for split, aliases in SPLIT_NAMES.items():
        found = [name for name in aliases if name in parts]
        if len(found) > 1 or (not found and split != "validation"):
            wanted = f"one split of {', '.join(aliases)} for {split}"
            raise InputError(f"{source}: expected {wanted}; splits: {listed(sorted(parts))}")
        if found:
            named[split] = parts[found[0]]
    return named


def _corpus(parts: "dict[str, tuple[str, datasets.Dataset]]", columns: ColumnsConfig) -> Corpus:
    """The corpus of datasets by source: each the name of its split, and its rows."""
    report: Counter[str] = Counter()
    splits = {split: _rows(source, part, columns, report) for source, (split, part) in parts.items()}
    return Corpus(splits, dict(report), published="all" not in splits)


def _rows(source: str, part: "datasets.Dataset", columns: ColumnsConfig, report: Counter[str]) -> Rows:
    part = part.with_format(None)  # a saved one leaves out columns, and makes arrays of numbers
    wanted = {named(part.column_names, name) for name in vars(columns).values()}
    table: dict[str, list[Any]] = {name: [] for name in part.column_names}  # the others are only named in messages
    table |= _values(source, part.select_columns([name for name in part.column_names if name in wanted]))
    for name, feature in part.features.items():
        if name in wanted:
            table[name] = _class_names(feature, table[name])
    return build_rows(source, table, range(len(part)), columns, require_label=True, unit="row", report=report)


def _values(source: str, part: "datasets.Dataset") -> dict[str, list[Any]]:
    try:
        return part[:]
    except Exception as error:  # bytes that are no text, and what else a damaged file holds
        problem = f"{source}: values that cannot be read ({type(error).__name__}): save the data again"
    raise InputError(problem)


def _class_names(feature: Any, values: list[Any]) -> list[Any]:
    """Names in place of class numbers, also where a row has a list of them; -1 and None stand for "no label"."""
    import datasets

    one = getattr(feature, "feature", feature)  # of a list: what it is a list of
    if not isinstance(one, datasets.ClassLabel):
        return values

    def name(number: int | None) -> str | None:
        return one.int2str(number) if number is not None and 0 <= number < one.num_classes else None

    return [list(map(name, value)) if isinstance(value, list) else name(value) for value in values]
