"""Which of people's own files is which split: a folder with train, validation and test, or one file."""

from pathlib import Path

from jaxpeft.data.naming import listed
from jaxpeft.errors import InputError

SPLIT_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
SUFFIXES = {"jsonl": (".jsonl", ".jsonl.gz"), "csv": (".csv", ".csv.gz"), "parquet": (".parquet",)}


def split_files(path: Path, format: str) -> dict[str, Path]:
    """The file of each split of a folder; {"all": path} for a file. Only validation may be missing."""
    if path.is_file():
        if (found := format_of(path)) not in (None, format):
            raise InputError(f"{path}: a .{found} file, but data.format is {format!r}: set data.format={found}")
        return {"all": path}
    if not path.is_dir():
        raise InputError(f"data.path {path}: no such file or folder: expected a {format} file or a folder of them")
    files = {split: _split_file(path, split, format) for split in SPLIT_NAMES}
    return {split: file for split, file in files.items() if file is not None}


def _split_file(folder: Path, split: str, format: str) -> Path | None:
    wanted = [name + suffix for name in SPLIT_NAMES[split] for suffix in SUFFIXES[format]]
    found = [folder / name for name in wanted if (folder / name).is_file()]
    if len(found) > 1:
        raise InputError(f"{folder}: several files for {split}: {', '.join(file.name for file in found)}: keep one")
    if not found and split != "validation":
        present = sorted(entry.name for entry in folder.iterdir())
        raise InputError(f"{folder}: no {split} file: looked for {', '.join(wanted)}; the folder has {listed(present)}")
    return found[0] if found else None


def format_of(path: Path) -> str | None:
    """The format that a file's name ends in, if any."""
    endings = ((format, suffix) for format, suffixes in SUFFIXES.items() for suffix in suffixes)
    return next((format for format, suffix in endings if path.name.lower().endswith(suffix)), None)
