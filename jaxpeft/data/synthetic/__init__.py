"""Made-up corpora in the file formats of the gated ones, for trying things out and for tests.

What they say is invented: a score on them says nothing about real notes.
"""

import json
import shutil
import tempfile
from pathlib import Path

from jaxpeft.data.synthetic import mimic3
from jaxpeft.errors import InputError

GENERATORS = {"mimic3": mimic3.generate}
TRUTH = "truth.jsonl"
_SETTINGS = "synthetic.json"  # written last: what made the folder, and that it is whole
_FILES = {TRUTH, _SETTINGS, *mimic3.TABLES}


def write(corpus: str, out: Path, documents: int, seed: int) -> list[dict[str, str]]:
    """Writes a corpus of `documents` labelled admissions and returns its truth, which `truth.jsonl` also holds.

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
            truth = GENERATORS[corpus](draft, documents, seed)
            (draft / TRUTH).write_text("".join(json.dumps(row) + "\n" for row in truth), newline="\n")
            (draft / _SETTINGS).write_text(_settings(corpus, documents, seed), newline="\n")
            if out.is_dir():
                shutil.rmtree(out)
            draft.rename(out)
    except OSError as error:
        if not is_complete(out, corpus, documents, seed):  # else another process was faster, with the same bytes
            raise InputError(f"{out}: cannot be written: {error.strerror or type(error).__name__}") from None
        return [json.loads(line) for line in (out / TRUTH).read_text().splitlines()]
    return truth


def is_complete(folder: Path, corpus: str, documents: int, seed: int) -> bool:
    """Whether `folder` holds what `write` with these arguments would put there."""
    try:
        same = (folder / _SETTINGS).read_text() == _settings(corpus, documents, seed)
    except (OSError, UnicodeDecodeError):
        return False
    return same and all((folder / name).is_file() for name in _FILES)


def _settings(corpus: str, documents: int, seed: int) -> str:
    made_by = {"corpus": corpus, "documents": documents, "seed": seed, "version": mimic3.VERSION}
    return json.dumps(made_by, sort_keys=True) + "\n"


def _check(corpus: str, documents: int, seed: int) -> None:
    problems = []
    if corpus not in GENERATORS:
        problems.append(f"corpus is {corpus!r}: expected one of {', '.join(GENERATORS)}")
    if documents < 1:
        problems.append(f"documents is {documents}: expected at least 1")
    if seed < 0:
        problems.append(f"seed is {seed}: expected 0 or more")
    if problems:
        raise InputError(*problems)


def _refuse_foreign(out: Path) -> None:
    """Only an empty folder, or one that has nothing but this generator's files and its mark, may be replaced."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: a file: expected a folder to write into")
    present = {entry.name for entry in out.iterdir()}
    if present and not (_SETTINGS in present and present <= _FILES):
        raise InputError(f"{out}: has files that were not generated: give an empty or a new folder")
