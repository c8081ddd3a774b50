"""The files of a corpus as its owner ships it: found by folder and ending, read as text."""

from collections import Counter
from pathlib import Path

from jaxpeft.data.naming import listed
from jaxpeft.errors import InputError


def by_stem(folder: Path, ending: str) -> dict[str, Path]:
    """The files of a folder by name without the ending, which may be in either case; hidden ones are no documents.

    Raises:
        InputError: no such folder, or two files of one stem.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder: expected one of {ending} files")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() == ending and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"{folder}: {found[path.stem].name} and {path.name}: keep one")
            found[path.stem] = path
    return found


def some(folder: Path, ending: str) -> dict[str, Path]:
    """As `by_stem`, where there has to be at least one file."""
    if found := by_stem(folder, ending):
        return found
    raise InputError(f"{folder}: no {ending} file; the folder has {listed(sorted(p.name for p in folder.iterdir()))}")


def read_text(path: Path, report: Counter[str]) -> str:
    """A file's text with LF line ends, which is what offsets count; without a byte order mark.

    A file that is not UTF-8 is read as CP1252, the other encoding that these corpora come in, and counted.

    Raises:
        InputError: a file that cannot be read, or that is no text in either encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or type(error).__name__}") from None
    text = _decoded(content, "utf-8-sig")
    if text is None:
        text = _decoded(content, "cp1252")
        report["files_in_cp1252"] += 1
    if text is None or "\0" in text:
        raise InputError(f"{path}: neither UTF-8 nor CP1252 text: copy it again from the corpus")
    return text.replace("\r\n", "\n")


def _decoded(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None
