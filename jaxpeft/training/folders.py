"""Folders that others read, as adapters and models: written whole or not at all, and never over somebody else's."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.errors import InputError
from jaxpeft.training.workdir import UNWRITABLE, write_json

LABELS = "labels.json"  # what is written into each, and tells that a folder is ours
FORMAT = 1


@contextlib.contextmanager
def whole_folder(folder: Path, labels: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to write into, which takes the place of `folder` once the block ends well.

    `labels` becomes its labels.json, with the list of the other files. Raises InputError where `folder` holds files
    that were not written by this, or cannot be written.
    """
    folder = folder.resolve()  # behind a link, whose own name is not to be taken
    if folder == Path.cwd():
        raise InputError(f"{folder} is the folder that this was started in: name another one to write")
    _refuse_foreign(folder)
    temporary, old = (folder.with_name(f".{folder.name}.{word}.jaxpeft.partial") for word in ("new", "old"))
    lock = None
    try:
        _clear(temporary, folder)
        shutil.rmtree(old, ignore_errors=True)
        temporary.mkdir(parents=True)
        lock = _locked(temporary)
        yield temporary
        files = sorted(path.name for path in temporary.iterdir())
        write_json(temporary / LABELS, {"format": FORMAT, **labels, "files": files})
        for name in files:
            _flush(temporary / name)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        if error.errno in UNWRITABLE:
            raise InputError(f"{folder} cannot be written: {error.strerror}; what was there is untouched") from None
        raise
    finally:
        if lock is not None:
            shutil.rmtree(temporary, ignore_errors=True)
            os.close(lock)


def _clear(temporary: Path, folder: Path) -> None:
    """Removes what a process that died has left. Raises InputError where one is still writing it."""
    if not temporary.exists():
        return
    lock = _locked(temporary)
    if lock is None:
        raise InputError(f"another process is writing {folder}: wait for it, or name another folder")
    shutil.rmtree(temporary, ignore_errors=True)
    os.close(lock)


def _locked(folder: Path) -> int | None:
    """Holds the folder until what is returned is closed, or the process ends; None where another holds it."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:  # a file system that locks no folders
        pass
    return descriptor


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a folder to write")
    there = {path.name for path in folder.iterdir()}
    if others := sorted(there - _own_files(folder)):
        raise InputError(f"{folder} holds {', '.join(others[:8])}, which this did not write: name another folder")


def _own_files(folder: Path) -> set[str]:
    try:
        labels = json.loads((folder / LABELS).read_text(encoding="utf-8"))
        return {LABELS, *labels["files"]} if labels["format"] == FORMAT else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
