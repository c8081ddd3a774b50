"""i2b2/VA 2010 (Uzuner et al. 2011): concepts as tags, or the relation of each pair of concepts of a sentence.

Targets: `entities` (problem, treatment, test) and `relations` (eight labels and `data.negative_label`). A sentence
is a line of a document. No validation split is published: one is cut from training, by document, when splits are
made. Under the paper's protocol entities are trained on Partners alone and lose the last sentence of each split,
and the validation split of relations is half of the pairs of the test documents.
"""

import bisect
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxpeft.config import DataConfig, expanded
from jaxpeft.data.readers.annotated import check_misplaced, drop_last, to_rows
from jaxpeft.data.readers.i2b2_2010_files import HOSPITALS, RELATIONS, Related, Source, find_sources, read_source
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

TARGETS = ("entities", "relations")


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The training and test documents of the corpus folder. Downloads nothing, whatever is allowed.

    `report` counts what was repaired or left out, and the rows that the paper's protocol changed.

    Raises:
        InputError: missing folders or files, annotations that cannot be read or belong to other texts.
    """
    del allow_download
    root, report = expanded(path), Counter[str]()
    related = config.target == "relations"
    if related and config.negative_label in RELATIONS:
        raise InputError(f"data.negative_label is {config.negative_label!r}, which is a relation: choose another name")
    sources = find_sources(root, relations=related)
    parts = {part: _read_part(found, report) for part, found in sources.items()}
    splits = _relations(parts, config, report) if related else _entities(parts, config, root, report)
    return Corpus(splits, dict(report))


def _read_part(sources: Sequence[Source], report: Counter[str]) -> list[Related]:
    counted: Counter[str] = Counter()
    documents = [read_source(source, counted) for source in sources]
    check_misplaced(sources[0].concepts.parent, counted, ("concepts_whose_text_differs", "concepts_outside_the_text"))
    report.update(counted)
    return documents


def _entities(parts: dict[str, list[Related]], config: DataConfig, root: Path, report: Counter[str]) -> dict[str, Rows]:
    paper = config.protocol == "paper"
    if paper:
        if HOSPITALS[0] not in parts:
            raise InputError(f"{root}: data.protocol=paper trains on partners alone: keep beth and partners apart")
        left_out = to_rows([one.document for one in parts.pop(HOSPITALS[0])], config.unit, Counter())
        report["paper_rows_of_beth_left_out"] = len(left_out)
    splits = {
        split: to_rows([one.document for one in documents], config.unit, report)
        for split, documents in _train_and_test(parts).items()
    }
    if paper and config.unit == "sentence":
        splits = {split: drop_last(rows, report) for split, rows in splits.items()}
    return splits


def _relations(parts: dict[str, list[Related]], config: DataConfig, report: Counter[str]) -> dict[str, Rows]:
    splits = {
        split: _pair_rows(documents, config.negative_label, report)
        for split, documents in _train_and_test(parts).items()
    }
    if config.protocol == "paper":
        splits["validation"], splits["test"] = _halves(splits["test"])
        report["paper_validation_rows_from_test_documents"] = len(splits["validation"])
    return splits


def _halves(rows: Rows) -> tuple[Rows, Rows]:
    """Two halves of the rows, whatever their documents, that their ids alone decide."""
    order = sorted(range(len(rows)), key=lambda row: hashlib.sha256((rows.id or [])[row].encode()).digest())
    half = len(order) // 2
    return rows.take(sorted(order[:half])), rows.take(sorted(order[half:]))


def _train_and_test(parts: dict[str, list[Related]]) -> dict[str, list[Related]]:
    """Both hospitals are one training split."""
    train = [document for part, documents in parts.items() if part != "test" for document in documents]
    return {"train": train, "test": parts["test"]}


def _pair_rows(documents: Sequence[Related], negative: str, report: Counter[str]) -> Rows:
    """A row for each two concepts of a line, and another for each further label that they have."""
    for name in ("pairs_that_overlap", "pairs_with_several_labels"):
        report[name] += 0
    rows: list[tuple[str, str, str, str]] = []
    for one in documents:
        labels: dict[tuple[int, int], list[str]] = {}
        for first, second, label in one.relations:
            labels.setdefault((first, second), []).append(label)
        for first, second in _pairs(one):
            text = _pair_text(one, first, second, report)
            found = labels.get((first, second), [negative])
            report["pairs_with_several_labels"] += len(found) > 1
            line = one.document.lines[one.document.entities[first][0]]
            id = f"{one.document.doc}:{line}:{first}-{second}"
            rows += [(text, label, one.document.doc, id) for label in found]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], []]
    return Rows(text=columns[0], label=columns[1], doc=columns[2], id=columns[3])


def _pairs(one: Related) -> Iterator[tuple[int, int]]:
    """Numbers of each two entities that begin on the same line, lines in their order."""
    by_line: dict[int, list[int]] = {}
    for number, (first, _, _) in enumerate(one.document.entities):
        by_line.setdefault(one.document.lines[first], []).append(number)
    for _, numbers in sorted(by_line.items()):
        yield from itertools.combinations(numbers, 2)


def _pair_text(one: Related, first: int, second: int, report: Counter[str]) -> str:
    """The line with `@type$` in place of each of two concepts, `@type-type$` where they share words."""
    document = one.document
    a, b = sorted((document.entities[first], document.entities[second]), key=lambda entity: entity[:2])
    words, line = document.words, document.lines[a[0]]
    begin, end = bisect.bisect_left(document.lines, line), bisect.bisect_right(document.lines, line)
    if b[0] < a[1]:
        report["pairs_that_overlap"] += 1
        shown = [*words[begin : a[0]], f"@{a[2]}-{b[2]}$", *words[max(a[1], b[1]) : end]]
    else:
        shown = [*words[begin : a[0]], f"@{a[2]}$", *words[a[1] : b[0]], f"@{b[2]}$", *words[b[1] : end]]
    return " ".join(shown)
