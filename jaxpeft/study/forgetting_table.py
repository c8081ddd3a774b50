"""The report's table of forgetting: what each model, adapted by each method, has lost of what its base knew."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from jaxpeft.study import names
from jaxpeft.study.cells import Cell, Table
from jaxpeft.study.costs import mean_of
from jaxpeft.study.findings import Findings, of_the_same_systems

KINDS: Mapping[str, str] = {
    "masked_lm_loss": "loss on hidden words",
    "next_token_loss": "loss on next words",
    "hidden_drift": "drift of hidden states",
}


@dataclasses.dataclass(frozen=True)
class Forgotten:
    """A model and a method, and what its runs on all tasks measured before and after, by one measure."""

    model: str
    method: str
    kind: str
    runs: list[tuple[float, float]]

    @property
    def before(self) -> float:
        """Mean over the runs."""
        return mean_of([before for before, _ in self.runs]) or 0.0

    @property
    def changes(self) -> list[float]:
        """What each run added: nats, or 1 - cosine."""
        return [after - before for before, after in self.runs]

    @property
    def change(self) -> float:
        """Mean over the runs."""
        return mean_of(self.changes) or 0.0


def forgetting_table(found: Findings) -> Table | None:
    """Every model and method that measured it, what forgets most last; None where no run did."""
    systems = sorted(_systems(found), key=lambda one: (names.model(one.model), one.kind, one.change))
    if not systems:
        return None
    raw: list[list[Any]] = [["model", "method", "measure", "before", "after", "change", "least", "most", "runs"]]
    rows = []
    for one in systems:
        after, least, most = one.before + one.change, min(one.changes), max(one.changes)
        figures = (f"{one.before:.3f}", f"{after:.3f}", f"{one.change:+.3f}", f"{least:+.3f} to {most:+.3f}")
        rows.append(
            [
                Cell(one.method, below=names.model(one.model)),
                Cell(KINDS.get(one.kind, one.kind)),
                *(Cell(text, number=True) for text in (*figures, str(len(one.runs)))),
            ]
        )
        raw.append([one.model, one.method, one.kind, one.before, after, one.change, least, most, len(one.runs)])
    caption = (
        "What the adapted encoder has lost of its base, over seeds and the tasks that most of a model’s methods were "
        "trained on. Loss: nats a word piece that the "
        "base’s own language-model head gives the validation texts, with the base’s states and with the adapted ones. "
        "Drift, where a base has no such head: 1 − the mean cosine between a word piece’s last states before and "
        "after. Losses of bases with different tokenizers do not compare."
    )
    headings = ["System", "Measure", "Before", "After", "Change", "Least to most", "Runs"]
    return Table("forgetting", caption, headings, rows, raw)


def _systems(found: Findings) -> Iterator[Forgotten]:
    """Runs of one model and method together, apart by measure; only those that stand in tables of tasks.

    What is lost depends on the task, so all methods of a model have the tasks that most of them have.
    """
    by_task: list[dict[tuple[str, str, str], list[tuple[float, float]]]] = []
    for task in found.averaged_tasks:
        grouped: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
        for row in task.rows:
            for run in row.cell.runs:
                seen = (run.result or {}).get("forgetting") or {}
                kind, before, after = (seen.get(name) for name in ("kind", "before", "after"))
                if kind is not None and isinstance(before, float) and isinstance(after, float):
                    key = row.system.model, row.system.method_title, str(kind)
                    grouped.setdefault(key, []).append((before, after))
        by_task.append(grouped)
    for model, kind in dict.fromkeys((model, kind) for grouped in by_task for model, _, kind in grouped):
        tasks = [{key: runs for key, runs in grouped.items() if key[::2] == (model, kind)} for grouped in by_task]
        fullest = of_the_same_systems(tasks, frozenset)
        for key in dict.fromkeys(key for grouped in fullest for key in grouped):
            yield Forgotten(*key, [pair for grouped in fullest for pair in grouped.get(key, [])])
