"""Made-up corpora in the file formats of the gated ones, for trying things out and for tests.

What they say is invented: a score on them says nothing about real notes. `truth.jsonl` says what a reader should
find: of mimic3 a target and admission a row, of mednli a pair, of the others a document.
"""

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxpeft.data.synthetic import i2b2_2010, i2b2_2012, i2b2_2014, mednli, mimic3
from jaxpeft.errors import InputError

TRUTH = "truth.jsonl"
_SETTINGS = "synthetic.json"  # written last: what made the folder, and every file that belongs there


@dataclasses.dataclass(frozen=True)
class Generator:
    """What writes a corpus into a folder and returns its truth; `version` changes with what it writes."""

    generate: Callable[[Path, int, int], list[dict[str, Any]]]  # folder, documents, seed
    version: int
    documents: str  # what they are
    minimum: int = 1  # of documents, for every split to have one


GENERATORS = {
    "mimic3": Generator(mimic3.generate, mimic3.VERSION, "labelled admissions"),
    "i2b2_2010": Generator(i2b2_2010.generate, i2b2_2010.VERSION, "documents", i2b2_2010.MINIMUM),
    "i2b2_2012": Generator(i2b2_2012.generate, i2b2_2012.VERSION, "documents", i2b2_2012.MINIMUM),
    "i2b2_2014": Generator(i2b2_2014.generate, i2b2_2014.VERSION, "documents", i2b2_2014.MINIMUM),
    "mednli": Generator(mednli.generate, mednli.VERSION, "first sentences of three pairs each", mednli.MINIMUM),
}


def write(corpus: str, out: Path, documents: int, seed: int) -> list[dict[str, Any]]:
    """Writes a corpus of `documents` documents and returns its truth, which `truth.jsonl` also holds.

    The same arguments give the same bytes. The folder appears whole or not at all, readable by its owner only.
    A folder that this function wrote before is replaced.

    Raises:
        InputError: an unknown corpus, a bad number, or a folder with other files in it.
    """
    _check(corpus, documents, seed)
    out = out.resolve()
    _refuse_foreign(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:  # mode 0700
            draft = Path(folder) / out.name
            draft.mkdir(mode=0o700)
            truth = GENERATORS[corpus].generate(draft, documents, seed)
            (draft / TRUTH).write_text("".join(json.dumps(row) + "\n" for row in truth), newline="\n")
            settings = {**_settings(corpus, documents, seed), "files": sorted(_files(draft))}
            (draft / _SETTINGS).write_text(json.dumps(settings, sort_keys=True) + "\n", newline="\n")
            if out.is_dir():
                shutil.rmtree(out)
            draft.rename(out)
    except OSError as error:
        if not is_complete(out, corpus, documents, seed):  # else another process was faster, with the same bytes
            raise InputError(f"{out}: cannot be written: {error.strerror or type(error).__name__}") from None
    return [json.loads(line) for line in (out / TRUTH).read_text().splitlines()]


def is_complete(folder: Path, corpus: str, documents: int, seed: int) -> bool:
    """Whether `folder` holds what `write` with these arguments would put there."""
    found = _written(folder)
    wanted = _settings(corpus, documents, seed)
    return found.items() >= wanted.items() and all((folder / name).is_file() for name in found["files"])


def _settings(corpus: str, documents: int, seed: int) -> dict[str, Any]:
    return {"corpus": corpus, "documents": documents, "seed": seed, "version": GENERATORS[corpus].version}


def _written(folder: Path) -> dict[str, Any]:
    """What `write` noted of a folder; {} where it did not, or not as this version does."""
    try:
        noted = json.loads((folder / _SETTINGS).read_text())
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) and isinstance(noted.get("files"), list) else {}


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def _check(corpus: str, documents: int, seed: int) -> None:
    problems = []
    if corpus not in GENERATORS:
        problems.append(f"corpus is {corpus!r}: expected one of {', '.join(GENERATORS)}")
    least = GENERATORS[corpus].minimum if corpus in GENERATORS else 1
    if documents < least:
        problems.append(f"documents is {documents}: expected at least {least}")
    if seed < 0:
        problems.append(f"seed is {seed}: expected 0 or more")
    if problems:
        raise InputError(*problems)


def _refuse_foreign(out: Path) -> None:
    """Only an empty folder, or one that has nothing but this generator's files and its note, may be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: a file: expected a folder to write into")
    present = _files(out)
    if any(out.iterdir()) and not (present and present <= {_SETTINGS, *_written(out).get("files", [])}):
        raise InputError(f"{out}: has files that were not generated: give an empty or a new folder")
