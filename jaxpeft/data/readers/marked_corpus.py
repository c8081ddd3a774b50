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
    seen: dict[str, Path] = {}
    splits = {}
    for split, names in folders.items():
        documents: list[Document] = []
        for name in names:
            paths = some(root / name, ".xml")
            if twice := seen.keys() & paths.keys():
                raise InputError(f"{paths[min(twice)]} and {seen[min(twice)]}: one document twice: keep one")
            seen |= paths
            documents += _read_folder(root / name, paths, layout, patient_of, paper, report)
        splits[split] = to_rows(documents, config.unit, report)
    if paper and config.unit == "sentence":
        splits = {split: drop_last(rows, report) for split, rows in splits.items()}
    return Corpus(splits, dict(report))


def _read_folder(
    folder: Path,
    paths: Mapping[str, Path],
    layout: Layout,
    patient_of: Callable[[str], str],
    paper: bool,
    report: Counter[str],
) -> list[Document]:
    counted: Counter[str] = Counter()
    documents = [
        read_document(path, layout, doc=stem, patient=patient_of(stem), paper=paper, report=counted)
        for stem, path in paths.items()
    ]
    check_misplaced(folder, counted, ("spans_whose_text_differs", "spans_outside_the_text"))
    report.update(counted)
    return documents


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
