"""MedNLI (Romanov and Shivade 2018): pairs of sentences, the second entailed by, neutral to or against the first.

The owner's files are `mli_train_v1.jsonl`, `mli_dev_v1.jsonl` and `mli_test_v1.jsonl`. About three pairs share a
first sentence: it is their document, which intervals resample as one.
"""

from collections import Counter
from pathlib import Path
from typing import Any

from jaxpeft.config import ColumnsConfig, DataConfig, expanded
from jaxpeft.data.readers.columns import build_rows
from jaxpeft.data.readers.jsonl_csv import json_rows
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

LABELS = ("contradiction", "entailment", "neutral")
FILES = {"train": "mli_train_v1.jsonl", "validation": "mli_dev_v1.jsonl", "test": "mli_test_v1.jsonl"}
_COLUMNS = ColumnsConfig(text="sentence1", text_pair="sentence2", label="gold_label", doc="premise", id="pairID")
_READ = ("sentence1", "sentence2", "gold_label", "premise", "pairID")


def read(config: DataConfig, path: str, allow_download: bool = False) -> Corpus:
    """The three splits of the corpus folder. Downloads nothing. `report` counts the pairs without a gold label.

    Raises:
        InputError: missing files, or a line that is no pair with a label, by number.
    """
    del config, allow_download
    folder, report = expanded(path), Counter[str]()
    if missing := [name for name in FILES.values() if not (folder / name).is_file()]:
        raise InputError(f"data.path {folder}: no file {', '.join(missing)} in it: expected the owner's own files")
    premises: dict[str, str] = {}
    return Corpus({split: _rows(folder / name, premises, report) for split, name in FILES.items()}, dict(report))


def _rows(path: Path, premises: dict[str, str], report: Counter[str]) -> Rows:
    numbered: list[tuple[int, dict[str, Any]]] = []
    report["pairs_without_gold_label"] += 0
    for number, row in json_rows(path):
        if row.get("gold_label") == "-":  # SNLI's mark, whose format this is, where its annotators did not agree
            report["pairs_without_gold_label"] += 1
            continue
        first, second = row.get("sentence1"), row.get("sentence2")
        if row.get("gold_label") not in LABELS or not isinstance(first, str) or not isinstance(second, str):
            raise InputError(f"{path}:{number}: expected sentence1, sentence2, and a gold_label of {', '.join(LABELS)}")
        row["premise"] = premises.setdefault(first, str(len(premises) + 1))
        numbered.append((number, row))
    table = {name: [row.get(name) for _, row in numbered] for name in _READ}
    return build_rows(str(path), table, [number for number, _ in numbered], _COLUMNS, require_label=True)
