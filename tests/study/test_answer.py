"""What is said of who leads."""

from pathlib import Path

import numpy as np
import pytest

from jaxpeft.study.answer import _leaders
from jaxpeft.study.costs import Cost
from jaxpeft.study.findings import Findings, Row, TaskFindings
from jaxpeft.study.statistics import RESAMPLES, Sample, estimate
from jaxpeft.study.store import Run
from jaxpeft.study.systems import Cell, System, Task


def row(method, best):
    sample = Sample(np.full(1, 0.5), np.full((1, RESAMPLES), 0.5))
    cell = Cell(System("m", method), [Run("a", {}, Path("nowhere"), {}, {}, None)])
    return Row(cell, sample, estimate((1.0, sample)), Cost(), None, best, False)


def found_of(*leaders, protocol="fixed"):
    """A task for each of `leaders`, the method that leads it or None."""
    tasks = [
        TaskFindings(
            Task(f"task{number}", protocol, "f1_macro", [], {}, False),
            [row(method, method == leader) for method in ("full", "lora", "ia3")],
            {}, None, False, 100,
        )
        for number, leader in enumerate(leaders)
    ]  # fmt: skip
    return Findings([], tasks, "full", [])


@pytest.mark.parametrize(
    ("leaders", "said"),
    [
        (["lora"], "The best system is LoRA on m, ahead of each other one by a paired test."),
        ([None], "No system is ahead of all others by paired tests."),
        ([None, None], "No system is ahead of all others by paired tests on any task."),
        (["lora", None], "LoRA on m is ahead of all others by paired tests on 1 of 2 tasks."),
        (["lora", "lora", None], "LoRA on m is ahead of all others by paired tests on 2 of 3 tasks."),
        (
            ["full", "lora", "ia3"],
            "Some system is ahead of all others by paired tests on 3 of 3 tasks, not the same one on all.",
        ),
    ],
)
def test_one_leader_is_named_and_several_are_not_taken_for_one(leaders, said):
    assert _leaders(found_of(*leaders)) == said


def test_a_task_under_both_protocols_has_one_leader():
    both = Findings([], [*found_of("lora").tasks, *found_of("full", protocol="paper").tasks], "full", [])
    assert _leaders(both).startswith("The best system is LoRA on m")
