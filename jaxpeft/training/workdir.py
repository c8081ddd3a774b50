"""The folder of a run: its files by name, written whole or not at all."""

import contextlib
import dataclasses
import errno
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxpeft.config import Config, from_dict, leaves, to_json
from jaxpeft.errors import DISK_ERRORS, InputError

# Why a file or folder cannot be written, where that is the user's to mend.
UNWRITABLE = (*DISK_ERRORS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


@dataclasses.dataclass(frozen=True)
class Workdir:
    """Paths inside a run's folder. All are relative to it, so it can be moved."""

    root: Path

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.root / "config.json"

    @property
    def result(self) -> Path:
        """The outcome, written once."""
        return self.root / "result.json"

    @property
    def metrics(self) -> Path:
        """One object a step."""
        return self.root / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The latest checkpoints, dropped when the run is finished."""
        return self.root / "checkpoints"

    @property
    def best(self) -> Path:
        """Trainable parameters of the tested step."""
        return self.root / "best"

    @property
    def adapter(self) -> Path:
        """The adapter of the tested step, in Hugging Face PEFT's format."""
        return self.root / "adapter"

    @property
    def model(self) -> Path:
        """The whole model of the tested step, in Hugging Face's layout."""
        return self.root / "model"

    @property
    def members(self) -> Path:
        """Of a population: the folder of each member's workdir."""
        return self.root / "members"

    @property
    def plots(self) -> Path:
        """Pictures."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """Event files."""
        return self.root / "tensorboard"

    @property
    def cache(self) -> Path:
        """Tokenised data."""
        return self.root / "data" / "tokens"

    def predictions(self, split: str) -> Path:
        """One object an example of the split."""
        return self.root / "predictions" / f"{split}.jsonl"

    def evaluation(self, split: str) -> Path:
        """What evaluate found."""
        return self.root / "evaluations" / f"{split}.json"

    def claim(self, config: Config) -> None:
        """Makes the folder this config's, or checks that it is. Raises InputError listing the fields that differ.

        A config under which no training has begun, since its data or its base was wrong, may be replaced.
        """
        if self.config.exists():
            theirs, ours = leaves(from_dict(read_json(self.config))), leaves(config)
            different = [
                f"{name} is {theirs[name]!r} there and {ours[name]!r} here"
                for name in sorted(ours)
                if theirs[name] != ours[name]
            ]
            if different and self._has_begun():
                raise InputError(f"{self.root} holds a run of another config; use another --workdir, or:", *different)
            if different:
                write_text(self.config, to_json(config))
            return
        self._make()
        if any(path.suffix != ".partial" for path in self.root.iterdir()):  # one may be left by a kill right here
            raise InputError(f"--workdir={self.root} holds files, but no config.json of a run: name another folder")
        write_text(self.config, to_json(config))

    def _has_begun(self) -> bool:
        made = self.members.exists() or self.result.exists() or any(self.checkpoints.glob("*"))
        return made or bool(self.read_metrics())

    def _make(self) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--workdir={self.root} cannot be made: {error.strerror}") from None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Makes the folder, and keeps other processes from training in it. Raises InputError where one does.

        The lock is the operating system's, on the open folder: it ends with the process, however that ends. A file
        system that locks no folders (NFS) and Windows leave it unguarded.
        """
        self._make()
        try:
            folder = os.open(self.root, os.O_RDONLY)
        except OSError:  # Windows opens no folders
            yield
            return
        try:
            _lock(folder, self.root)
            yield
        finally:
            os.close(folder)

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Adds one line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; one that a kill cut short is left out."""
        if not self.metrics.exists():
            return []
        records = []
        for line in self.metrics.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
        return records

    def cut_metrics(self, step: int) -> None:
        """Drops what was logged after `step`: a resumed run logs it again."""
        write_lines(self.metrics, (record for record in self.read_metrics() if record["step"] <= step))


def _lock(folder: int, path: Path) -> None:
    import fcntl  # not on Windows

    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"another process trains in {path}: wait for it, or name another --workdir") from None
    except OSError:  # a file system without such locks
        return


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError when the file is missing or no JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is unreadable: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, expected an object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON object; numbers that are not finite are an error, since JSON has none."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Writes JSON lines."""
    write_text(path, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))


def write_text(path: Path, text: str) -> None:
    """Writes a file through a temporary one beside it, so that no reader and no crash sees half of it.

    Of several processes that write it at once, each has a temporary one of its own.
    """
    path = path.resolve()  # a link stays one, and what is written is never beside it
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)  # it may hold notes, where predictions were to be written
        if error.errno in UNWRITABLE:
            raise InputError(f"{path} cannot be written: {error.strerror}; what was there is untouched") from None
        raise
