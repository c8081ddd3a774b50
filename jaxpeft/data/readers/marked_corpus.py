"""A corpus of XML files with annotations by character, in the folders that its owner ships."""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from jaxpeft.config import DataConfig
from jaxpeft.data.readers.annotated import Document, check_misplaced, drop_last, to_rows
from jaxpeft.data.readers.character_spans import Layout, read_document
from jaxpeft.data.readers.corpus_files import some
from jaxpeft.data.rows import Corpus
from jaxpeft.errors import InputError

_PHYSIONET = b"START_OF_RECORD="


def read_folders(
    root: Path,
    folders: Mapping[str, tuple[str, ...]],
    layout: Layout,
    patient_of: Callable[[str], str],
    config: DataConfig,
    report: Counter[str],
) -> Corpus:
    """The documents of each split's folders; `patient_of` says whose a file is by its stem.

    Raises:
        InputError: missing folders, a document that is there twice, or whatever is wrong with the files.
    """
    _check_folders(root, folders)
    paper = config.protocol == "paper"
    splits = {}
    seen: dict[str, str] = {}
    for split, names in folders.items():
        documents: list[Document] = []
        for name in names:
            for stem, path in some(root / name, ".xml").items():
                if stem in seen:
                    raise InputError(f"{path}: a document of this name is in {seen[stem]} too: keep one")
                seen[stem] = name
                document = read_document(path, layout, doc=stem, patient=patient_of(stem), paper=paper, report=report)
                documents.append(document)
        splits[split] = to_rows(documents, config.unit, report)
    check_misplaced(root, report["spans_whose_text_differs"] + report["spans_outside_the_text"], report["entities"])
    if paper and config.unit == "sentence":
        splits = {split: drop_last(rows, report) for split, rows in splits.items()}
    return Corpus(splits, dict(report))


def _check_folders(root: Path, folders: Mapping[str, tuple[str, ...]]) -> None:
    if not root.is_dir():
        raise InputError(f"data.path {root}: no such folder: expected the corpus as its owner ships it")
    missing = [name for names in folders.values() for name in names if not (root / name).is_dir()]
    if not missing:
        return
    for path in sorted(root.iterdir()):
        if path.is_file() and _starts_with(path, _PHYSIONET):
            raise InputError(
                f"{path}: PhysioNet's de-identification format, whose answers take the place of the text and are not "
                f"read; expected XML files in {', '.join(missing)}"
            )
    raise InputError(f"data.path {root}: no folder {', '.join(missing)} in it: expected the owner's own folders")


def _starts_with(path: Path, mark: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(mark)) == mark
    except OSError:
        return False
