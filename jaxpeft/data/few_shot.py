"""Few-shot learning: a fixed number of training examples a label, as in Taylor et al. 2024 (arXiv 2402.10597)."""

import hashlib
from collections import Counter
from collections.abc import Mapping

from jaxpeft.data.rows import Rows

VALIDATION = 128  # rows a label, or documents


def few_shot_splits(splits: Mapping[str, Rows], count: int, seed: int, report: dict[str, int]) -> dict[str, Rows]:
    """`count` training rows and 128 validation rows of each label, or all where a label has fewer, and the whole test.

    Of entity rows, which have no label, so many documents; rows if they have none. What is taken for a count is part
    of what is taken for a larger one with the same seed. `report` gets the rows that are left out.
    """
    few = {
        "train": _sample(splits["train"], count, seed),
        "validation": _sample(splits["validation"], VALIDATION, seed),
    }
    for split, rows in few.items():
        report[f"few_shot_{split}_rows_left_out"] = len(splits[split]) - len(rows)
    return {**splits, **few}


def _sample(rows: Rows, count: int, seed: int) -> Rows:
    """The first `count` of each label in an order that only the seed decides."""
    units = list(map(str, range(len(rows)))) if rows.label is not None or rows.doc is None else rows.doc
    labels = dict(zip(units, rows.label or [""] * len(rows), strict=True))
    taken: Counter[str] = Counter()
    chosen = set()
    for unit in sorted(labels, key=lambda unit: hashlib.sha256(f"{seed}:{unit}".encode()).digest()):
        taken[labels[unit]] += 1
        if taken[labels[unit]] <= count:
            chosen.add(unit)
    return rows.take([index for index, unit in enumerate(units) if unit in chosen])
