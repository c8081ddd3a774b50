"""Efficiency over tasks: what it is a mean of, where it is 0, and what is left out."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from jaxpeft.study.costs import Cost
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.standings import standings_of
from jaxpeft.study.statistics import RESAMPLES, Sample, estimate
from jaxpeft.study.store import Run
from jaxpeft.study.systems import Cell, System, Task

REFERENCE = {"model": "m", "method": "full"}
DEAR, CHEAP = Cost(money=8.0, memory_bytes=8.0, storage_bytes=8.0), Cost(money=1.0, memory_bytes=1.0, storage_bytes=1.0)


def row(method, score, cost, *, spread=0.01, **axes):
    sample = Sample(np.full(2, score), score + spread * np.random.default_rng(1).normal(size=(2, RESAMPLES)))
    run = Run("a", {"model": "m", "method": method, **axes}, Path("nowhere"), {}, {}, None)
    cell = Cell(System("m", method, tuple(axes.items()), "m"), [run])
    return Row(cell, sample, estimate((1.0, sample)), cost, None, False, False)


def task(name, *rows, majority=0.5, protocol="fixed"):
    return TaskFindings(Task(name, protocol, "auroc_macro", [], {}, False), list(rows), {}, majority, False, 100)


def standings(*tasks, reference=REFERENCE):
    return standings_of(Findings([], list(tasks), "full", []), reference)


def test_it_is_the_mean_over_tasks_and_a_skill_of_none_counts_zero():
    tasks = [
        task("a", row("full", 0.9, DEAR), row("lora", 0.8, CHEAP)),
        task("b", row("full", 0.9, DEAR), row("lora", 0.45, CHEAP)),  # below the majority's
    ]
    best, reference = standings(*tasks).systems
    assert (best.system.method, best.is_reference, reference.is_reference) == ("lora", False, True)
    assert best.cost == pytest.approx(1 / 8)
    assert best.efficiency.value == pytest.approx((0.6 * 8 + 0) / 2)
    assert best.skill.value == pytest.approx(0.3)
    assert best.efficiency.low < best.efficiency.value < best.efficiency.high
    assert reference.efficiency.value == pytest.approx(0.8)


def test_an_interval_is_that_of_the_score_and_never_below_zero():
    (_, lora) = standings(task("a", row("full", 0.9, DEAR), row("lora", 0.52, DEAR, spread=0.1))).systems
    assert lora.efficiency.low == 0
    width = (lora.efficiency.high - lora.efficiency.value) * (1 - 0.5)
    score = row("lora", 0.52, DEAR, spread=0.1).score
    assert width == pytest.approx(score.high - score.value)


def test_tasks_without_the_reference_and_systems_of_unknown_cost_are_left_out_and_named():
    found = standings(
        task("a", row("full", 0.9, DEAR), row("lora", 0.8, CHEAP), row("ia3", 0.8, Cost(money=1.0))),
        task("b", row("lora", 0.8, CHEAP)),
        task("c", row("lora", 0.8, CHEAP)),
        task("d", row("full", 0.9, DEAR), majority=None),
        task("e", row("full", 0.9, Cost(memory_bytes=1.0, storage_bytes=1.0, devices=("tpu x 1",)))),
        task("f", row("full", 0.9, DEAR, rank=8), row("full", 0.8, DEAR, rank=16)),
    )
    assert {one.system.method: len(one.places) for one in found.systems} == {"full": 1, "lora": 1}
    assert [one.task.name for one in found.tasks] == ["a"]
    assert found.left_out == [
        "b, c: no finished run is of the reference system (model m, method full).",
        "d: what is reached without a model is unknown.",
        "e: of the reference system (model m, method full) is unknown: "
        "money (no price, in `prices` of the study, for tpu x 1).",
        "f: the reference (model m, method full) is said of 2 systems: name more axes.",
        "A cost is unknown of IA³ on m.",
    ]


def test_more_axes_name_one_of_several_references():
    several = task("a", row("full", 0.9, DEAR, rank=8), row("full", 0.8, DEAR, rank=16))
    found = standings(several, reference={**REFERENCE, "rank": 16})
    assert [dict(one.system.settings)["rank"] for one in found.systems if one.is_reference] == [16]


def test_a_task_under_both_protocols_counts_once():
    fixed, paper = (
        task("a", row("full", score, DEAR), protocol=name) for name, score in (("fixed", 0.9), ("paper", 0.6))
    )
    (found,) = standings(fixed, paper, task("b", row("full", 0.8, DEAR), protocol="paper")).systems
    assert [(place.task.task.name, place.task.task.protocol) for place in found.places] == [
        ("a", "fixed"),
        ("b", "paper"),
    ]


@pytest.mark.parametrize("axis", ["rank", "peft.lora.rank"])
def test_a_reference_may_be_named_by_what_its_config_has(axis):
    of_rank = {"peft": {"lora": {"rank": 8}}}
    held = row("lora", 0.9, DEAR, rank=None)  # as beside a sweep of ranks
    (run,) = held.cell.runs
    run = dataclasses.replace(run, config=of_rank, result={"method": "lora"})
    held = dataclasses.replace(held, cell=Cell(held.cell.system, [run]))
    other = row("ia3", 0.8, CHEAP)
    reference = {"model": "m", axis: 8}
    assert [one.is_reference for one in standings(task("a", held, other), reference=reference).systems] == [False, True]


def test_a_system_that_lacks_a_task_stands_below_the_others_and_is_named():
    tasks = [
        task("a", row("full", 0.9, DEAR), row("lora", 0.8, CHEAP), row("ia3", 0.95, CHEAP)),
        task("b", row("full", 0.9, DEAR), row("lora", 0.8, CHEAP)),
    ]
    found = standings(*tasks)
    assert [one.system.method for one in found.systems] == ["lora", "full", "ia3"]
    assert found.left_out == ["Below the others, since scored on fewer tasks than the reference: IA³ on m."]
