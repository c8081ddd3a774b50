"""The scores of finished runs, and their draws: each run's predictions scored on resamples of its test patients.

Runs that were tested on the same rows are drawn alike, whatever the order of their files, so that their differences
are paired; runs tested on other rows (a seed may cut a corpus elsewhere) are drawn on their own. Draws are kept in
`report/draws/` under the hash of the predictions: numbers only, made again when missing.
"""

import hashlib
import json
import logging
import secrets
from pathlib import Path
from typing import Any

import numpy as np

from jaxpeft.compare import scores_of_predictions
from jaxpeft.errors import InputError
from jaxpeft.study.statistics import RESAMPLES, Sample
from jaxpeft.study.store import Run
from jaxpeft.study.systems import test_scores
from jaxpeft.training.predictions import Row, are_entities, read_predictions
from jaxpeft.training.workdir import Workdir

_FORMAT = "1"  # to be changed with what the draws are


def sample(runs: list[Run], metric: str, kept: Path) -> Sample:
    """One system's runs that have the score, with their draws where every run has predictions to make them from."""
    scored = [run for run in runs if metric in test_scores(run)]
    values = np.array([float(test_scores(run)[metric]["value"]) for run in scored])
    drawn = [draws(run, metric, kept) for run in scored]
    known = [one for one in drawn if one is not None]
    return Sample(values, np.stack(known) if known and len(known) == len(drawn) else None)


def draws(run: Run, metric: str, kept: Path) -> np.ndarray | None:
    """The score [RESAMPLES] of a run in resamples of its test patients; None where its predictions do not give it."""
    path = Workdir(run.workdir).predictions("test")
    try:
        file = kept / f"{_key(run, path, metric)}.npy"
        found = _load(file)
        if found is None:
            found = _drawn(run, path, metric)
            _save(file, found)
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        logging.getLogger(__name__).warning("%s: no interval from its predictions: %s", run.id, type(error).__name__)
        return None
    return found if found.shape == (RESAMPLES,) else None


def _load(file: Path) -> np.ndarray | None:
    """The draws that are kept; None where there are none, or a kill left half of them."""
    try:
        found: np.ndarray = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return found


def _save(file: Path, found: np.ndarray) -> None:
    """Whole or not at all: another process may be making the same report."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.stem}.{secrets.token_hex(4)}.partial.npy")
    np.save(partial, found)
    partial.replace(file)


def _drawn(run: Run, path: Path, metric: str) -> np.ndarray:
    """The draws [RESAMPLES]; nothing [0] where the predictions do not give the score."""
    rows = _ordered(read_predictions(path))
    groups = [row["group"] for row in rows] if all("group" in row for row in rows) else None
    scores = scores_of_predictions(
        rows,
        str(path),
        list((run.result or {}).get("labels") or []),
        groups,
        negative_label=_negative_label(run),
        resamples=RESAMPLES,
        seed=_seed_of_rows(rows),
    )
    return scores.drawn.get(metric, np.empty(0))


def _ordered(rows: list[Row]) -> list[Row]:
    """By id where every row has its own, else as they are."""
    ids = [row.get("id") for row in rows]
    return sorted(rows, key=lambda row: str(row["id"])) if None not in ids and len(set(ids)) == len(ids) else rows


def _seed_of_rows(rows: list[Row]) -> int:
    """A seed that the same rows give and others do not: of their ids and labels."""
    field = "labels" if are_entities(rows) else "label"
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps([row.get("id"), row[field]]).encode())
    return int.from_bytes(digest.digest()[:4])


def _negative_label(run: Run) -> str | None:
    kind = run.config.get("task") or (run.result or {}).get("task")
    data: dict[str, Any] = run.config.get("data") or {}
    return data.get("negative_label", "false") if kind == "relation_extraction" else None


def _key(run: Run, path: Path, metric: str) -> str:
    labels = (run.result or {}).get("labels")
    digest = hashlib.sha256(json.dumps([_FORMAT, RESAMPLES, metric, labels, _negative_label(run)]).encode())
    digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
