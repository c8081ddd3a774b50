"""What a finished run prints: its scores beside the majority answer's, its classes, its size and its time."""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxpeft.tasks.clusters import FEW_CLUSTERS

_SPLITS = ("validation", "test")
_CLASS_COLUMNS = (
    "name",
    "support",
    "predicted",
    "precision",
    "recall",
    "f1",
    "f1_partial",
    "f1_type",
    "auroc",
    "auprc",
)


def final_table(result: Mapping[str, Any]) -> str:
    """The outcome in result.json as text for a terminal.

    Scores are `value [low, high]`, the interval of 95 %; `-` is undefined. The classes are those of
    `per_class.test`, else `per_class.validation`, where the result has them.
    """
    parts = [_score_table(result)]
    per_class = result.get("per_class", {})
    split = next((split for split in reversed(_SPLITS) if per_class.get(split)), None)
    if split:
        parts.append(_class_table(per_class[split], split))
    parts.append("\n".join(_size_and_time(result)))
    return "\n\n".join(parts) + "\n"


def evaluation_table(report: Mapping[str, Any]) -> str:
    """What evaluate found on one split, and whether that is what the run had found."""
    split = report["split"]
    as_result = {name: {split: report[name]} for name in ("metrics", "majority")}
    as_result |= {"few_clusters": report["few_clusters"], "clusters": {split: report.get("clusters")}}
    parts = [_score_table(as_result, (split,)), _class_table(report["per_class"], split)]
    if against := report.get("against_result"):
        verdict = "equals" if against["same"] else "DIFFERS from"
        largest = f"largest difference {against['largest_difference']:.1e}"
        parts.append(f"{verdict} result.json (checked {against['checked']}; {largest})")
    return "\n\n".join(parts) + "\n"


def population_table(result: Mapping[str, Any]) -> str:
    """The members of a population with the score that selects, and its spread over seeds and draws."""
    metric = result["select_metric"]
    rows = [["member", "steps", "tested step", *(f"{split} {metric}" for split in _SPLITS)]]
    for member in result["members"]:
        scores = [_number(member["metrics"][split][metric]) for split in _SPLITS] if member["metrics"] else ["-", "-"]
        steps = ["-", "diverged"] if member["steps"] is None else [str(member["steps"]), str(member["tested_step"])]
        rows.append([member["name"], *steps, *scores])
    means = [["mean (standard deviation)", "members", *(f"{split} {metric}" for split in _SPLITS)]]
    for group in result["spread"]:
        name = ", ".join(f"{axis[:-1]} {value}" for axis, value in group["values"].items()) or "all"
        found = [group["metrics"].get(split, {}).get(metric, {}) for split in _SPLITS]
        scores = [f"{_number(one.get('mean'))} ({_number(one.get('sd'))})" for one in found]
        means.append([name, f"{group['finished']} of {group['members']}", *scores])
    return f"{aligned(rows)}\n\n{aligned(means)}\n\n{_time(result['timing'])}\n"


def comparison_table(report: Mapping[str, Any]) -> str:
    """What `jaxpeft.compare` found, one line a metric."""
    rows = [["metric", "first", "second", "second - first", "p"]]
    for name, found in report["metrics"].items():
        gap = _interval({"value": found["difference"], "low": found["low"], "high": found["high"]}, sign="+")
        rows.append([name, _number(found["first"]), _number(found["second"]), gap, _p_value(found["p"])])
    few = "; fewer than 100: the intervals are too narrow" if report["few_clusters"] else ""
    return (
        f"first   {report['first']}\nsecond  {report['second']}\n\n{aligned(rows)}\n\n"
        f"{report['split']}: {report['rows']} rows in {report['clusters']} patients, documents or rows{few}. "
        f"Intervals of 95 % and two-sided p\nby {report['resamples']} resamples of them, the same for both runs; "
        "no correction for looking at several metrics.\n"
    )


def _score_table(result: Mapping[str, Any], splits: Sequence[str] = _SPLITS) -> str:
    """One line a metric: each split's score, and the majority answer's."""
    splits = [split for split in splits if result["metrics"].get(split)]
    names = list(dict.fromkeys(name for split in splits for name in result["metrics"][split]))
    rows: list[list[str]] = [["metric"]] + [[name] for name in names]
    for split in splits:
        majority = result.get("majority", {}).get(split, {})
        rows[0] += [split, "majority"]
        for row, name in zip(rows[1:], names, strict=True):
            row += [_interval(result["metrics"][split].get(name, {})), _number(majority.get(name))]
    return "\n".join(filter(None, [aligned(rows), _few_clusters(result, splits)]))


def _few_clusters(result: Mapping[str, Any], splits: Sequence[str]) -> str:
    """Of which splits the intervals are too narrow."""
    clusters = result.get("clusters") or {}
    known = {split: clusters[split] for split in splits if clusters.get(split) is not None}
    few = [f"{split} ({count})" for split, count in known.items() if count < FEW_CLUSTERS]
    if (known and not few) or (not known and not result.get("few_clusters")):
        return ""
    where = f" of {' and '.join(few)}" if few else ""
    return f"Fewer than {FEW_CLUSTERS} patients, documents or rows to resample: the intervals{where} are too narrow."


def _class_table(classes: Sequence[Mapping[str, Any]], split: str) -> str:
    """One line a class of the split."""
    columns = [column for column in _CLASS_COLUMNS if column in classes[0]]
    rows = [[f"class ({split})", *columns[1:]]]
    rows += [[_number(row[column]) for column in columns] for row in classes]
    return aligned(rows)


def _size_and_time(result: Mapping[str, Any]) -> list[str]:
    """What was trained, for how long, and in how much memory."""
    trainable, total = result["trainable_params"], result["total_params"]
    lines = [
        f"parameters  {trainable:,} of {total:,} trained ({trainable / total:.2%}): "
        f"{result['peft_params']:,} {result['method']}, {result['head_params']:,} head",
        f"steps       {result['steps']:,}, tested at step {result['tested_step']:,}",
        _time(result["timing"]),
    ]
    memory = result.get("memory", {})
    if memory.get("peak_bytes"):
        lines.append(f"memory      {memory['peak_bytes'] / 2**20:,.0f} MiB at the peak ({memory['device']})")
    if (forgetting := result.get("forgetting") or {}).get("kind"):
        lines.append(f"forgetting  {_forgetting(forgetting)}")
    return lines


def _forgetting(found: Mapping[str, Any]) -> str:
    """What the encoder has lost of its base, in words."""
    asked = f"{found['tokens']:,} word pieces of validation"
    if found["kind"] == "hidden_drift":
        return f"hidden states are {found['after']:.3f} (1 - cosine) from the base's, over {asked}"
    name = "masked words" if found["kind"] == "masked_lm_loss" else "next words"
    return f"the base's loss on {name} went from {found['before']:.2f} to {found['after']:.2f} nats, over {asked}"


def _time(timing: Mapping[str, Any]) -> str:
    speed = "" if timing["examples_per_s"] is None else f" ({timing['examples_per_s']:.1f} examples/s)"
    together = f", of all {timing['members']} members together" if "members" in timing else ""
    return (
        f"time        {timing['train_s']:.1f} s training{speed}, "
        f"{timing['compile_s']:.1f} s compilation, {timing['eval_s']:.1f} s evaluation{together}"
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines, each column as wide as its widest cell, under a rule below the first row."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([lines[0], "-" * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def _interval(score: Mapping[str, float | None], sign: str = "") -> str:
    """`0.912 [0.880, 0.940]`; with `sign` "+", a sign before each."""
    value, low, high = (_number(score.get(key), sign) for key in ("value", "low", "high"))
    return value if score.get("low") is None else f"{value} [{low}, {high}]"


def _number(value: str | int | float | None, sign: str = "") -> str:
    """Three decimals for a float, `-` for None."""
    if value is None:
        return "-"
    return f"{value:{sign}.3f}" if isinstance(value, float) else str(value)


def _p_value(value: float | None) -> str:
    """Three decimals, or that it is below what they show."""
    return "<0.001" if value is not None and value < 0.001 else _number(value)
