"""What looks wrong with a run, by its metrics.jsonl, its result.json and its error, and what to try."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpeft.study.store import Run
from jaxpeft.training.workdir import Workdir

_FEWEST_STEPS = 20  # a shorter course says nothing
# The base's own loss rose by ln 2: the right word has half the probability that it had, in the geometric mean. Without
# a language-model head: the mean angle between a word piece's states before and after is over 60 degrees.
_FORGOTTEN = {"masked_lm_loss": math.log(2), "next_token_loss": math.log(2), "hidden_drift": 0.5}
_OUT_OF_MEMORY = re.compile(r"out of memory|RESOURCE_EXHAUSTED|MemoryError|killed by SIGKILL|too little memory", re.I)
_NOT_FINITE = re.compile(r"\bloss is (nan|inf)|not finite|\bloss (of every member )?diverged", re.I)


@dataclasses.dataclass(frozen=True)
class Remark:
    """One thing about one run: what is seen, and what to try."""

    run: str
    kind: str
    seen: str
    advice: str


def remarks_on(runs: Sequence[Run]) -> list[Remark]:
    """The remarks on every run, in their order."""
    return [remark for run in runs for remark in remarks_on_run(run)]


def remarks_on_run(run: Run) -> list[Remark]:
    """What looks wrong; nothing for a run that looks well, and nothing that its files do not say."""
    if run.error and not run.result:
        return [Remark(run.id, kind, seen, advice) for kind, seen, advice in _of_error(run.error)]
    if not run.result:
        return []
    records = [record for record in Workdir(run.workdir).read_metrics() if isinstance(record, dict)]
    found = [check(run.result, records) for check in _CHECKS]
    return [Remark(run.id, *one) for one in found if one is not None]


_Found = tuple[str, str, str] | None  # kind, what is seen, advice


def _of_error(error: str) -> list[tuple[str, str, str]]:
    if _OUT_OF_MEMORY.search(error):
        advice = "Lower train.batch_size (train.accumulate keeps the same steps) or data.max_length; set "
        return [("out of memory", "It ran out of memory.", advice + "model.remat=True, or model.dtype=bfloat16.")]
    if _NOT_FINITE.search(error):
        return [("diverged", "Its loss was no number.", "Lower train.learning_rate; set train.clip=1.0.")]
    return []


def _constant(result: Mapping[str, Any], _: Sequence[Mapping[str, Any]]) -> _Found:
    """One answer to everything."""
    classes = (result.get("per_class") or {}).get("test") or []
    predicted = [row.get("predicted") for row in classes]
    if len(predicted) < 1 or not all(isinstance(count, int) for count in predicted):
        return None
    advice = "Try another train.learning_rate (lower for full fine-tuning, higher for adapters), more steps, or "
    if result.get("task") == "token_classification":
        if any(predicted):
            return None
        return ("constant predictor", "It finds no entity at all.", advice + "train.class_weights.")
    if len(predicted) > 1 and sum(count > 0 for count in predicted) == 1:
        name = next(row["name"] for row in classes if row["predicted"])
        seen = f"It answers “{name}” to every test example."
        return ("constant predictor", seen, advice + "train.class_weights=balanced where classes are rare.")
    return None


def _no_better(result: Mapping[str, Any], _: Sequence[Mapping[str, Any]]) -> _Found:
    """No better than no model, as far as its interval goes."""
    metric = result.get("select_metric")
    score = ((result.get("metrics") or {}).get("test") or {}).get(metric) or {}
    floor = ((result.get("majority") or {}).get("test") or {}).get(metric)
    if floor is None or score.get("low") is None or score["low"] > floor or _constant(result, ()):
        return None
    seen = f"Its interval begins at {score['low']:.3f}; without a model {floor:.3f} is reached."
    return ("no better than no model", seen, "Check the labels, then train longer or at another learning rate.")


def _stuck(result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> _Found:
    """The training loss stops falling early and high."""
    losses = _losses(records)
    if len(losses) < _FEWEST_STEPS:
        return None
    tenth = max(len(losses) // 10, 1)
    start, end = losses[:tenth].mean(), losses[-tenth:].mean()
    if start <= 0 or not np.isfinite(losses).all():
        return None
    if end > 0.95 * start:
        seen = f"Training loss went from {start:.2f} to {end:.2f}: nothing was learnt."
        return ("does not learn", seen, "Try a train.learning_rate three to ten times higher, or lower if it jumped.")
    third = losses[len(losses) // 3 : len(losses) // 3 + tenth].mean()
    if end > 0.4 * start and third - end < 0.1 * (start - end):
        seen = (
            f"Training loss was {third:.2f} after a third of the steps and {end:.2f} at the end ({start:.2f} before)."
        )
        advice = "The adapter may be too small or its steps too short: raise peft.lora.rank, or train.learning_rate."
        return ("plateau", seen, advice)
    return None


def _overfitted(result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> _Found:
    """Validation was best long before the end, and fell while the training loss went on falling."""
    scores = _course(result, records)
    losses = _losses(records)
    if len(scores) < 3 or len(losses) < _FEWEST_STEPS:
        return None
    step, best = max(scores, key=lambda point: point[1])
    last_step, last = scores[-1]
    if step > 0.7 * last_step or best - last < max(0.02, 0.03 * abs(best)):
        return None
    seen = f"Validation was best at step {step} of {last_step} ({best:.3f}) and ended at {last:.3f}."
    return ("overfitting", seen, "Stop earlier (train.patience), raise the dropout or train.weight_decay.")


def _unfinished(result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> _Found:
    """Validation was still rising when training ended."""
    scores = _course(result, records)
    if len(scores) < 3 or scores[-1][1] != max(score for _, score in scores):
        return None
    gain, rise = scores[-1][1] - scores[-2][1], scores[-1][1] - scores[0][1]
    if gain < 0.02 or gain < 0.15 * rise:
        return None
    seen = f"Validation rose by {gain:.3f} between its last two evaluations."
    return ("still improving", seen, "Train longer: train.epochs or train.seconds.")


def _cut(result: Mapping[str, Any], _: Sequence[Mapping[str, Any]]) -> _Found:
    """Most texts are longer than what is read of them."""
    cut, rows = ((result.get(name) or {}).get("test") for name in ("truncated", "examples"))
    if not cut or not rows or cut <= 0.5 * rows:
        return None
    seen = f"{cut} of {rows} test texts are longer than what the model reads of them."
    return ("texts cut", seen, "Raise data.max_length, or read them in windows (data.long_text=windows).")


def _forgotten(result: Mapping[str, Any], _: Sequence[Mapping[str, Any]]) -> _Found:
    """Its encoder has lost much of what the base knew."""
    found = result.get("forgetting") or {}
    kind, before, after = (found.get(name) for name in ("kind", "before", "after"))
    if kind not in _FORGOTTEN or before is None or after is None or not after - before > _FORGOTTEN[kind]:
        return None
    seen = f"The base’s own loss on words rose from {before:.2f} to {after:.2f} nats on the validation texts."
    if kind == "hidden_drift":
        seen = f"Its hidden states are {after:.2f} (1 − cosine) from the base’s on the validation texts."
    return (
        "forgetting",
        seen,
        "It matters where the encoder is to serve other tasks too: train an adapter, or at a lower train.learning_rate "
        "for fewer steps.",
    )


_CHECKS: Sequence[Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], _Found]] = (
    _constant,
    _no_better,
    _stuck,
    _overfitted,
    _unfinished,
    _cut,
    _forgotten,
)


def _losses(records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([record["loss"] for record in records if isinstance(record.get("loss"), int | float)], dtype=float)


def _course(result: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Step and validation score at each evaluation."""
    metric = result.get("select_metric")
    return [
        (record["step"], score)
        for record in records
        if isinstance(score := (record.get("validation") or {}).get(metric), int | float)
    ]
