import json
import os
import time

import pytest

from benchmarks.turns import Report, Side, alternate, rates
from tests.benchmarks import works


def measured(**sides):
    return alternate(sides, rounds=2, seconds=0.1, until=time.monotonic() + 60)


def test_sides_take_turns_and_one_that_fails_leaves_the_others_alone():
    found = measured(
        fast=Side(works.sleeping, 0.01),
        slow=Side(works.sleeping, 0.04),
        failed=Side(works.failing),
        impossible=Side(works.impossible),
        dead=Side(works.dying),
    )
    assert found["failed"]["error"].startswith("ValueError: a reason (works.py:")
    assert found["impossible"] == {"left_out": "not here"}
    assert found["dead"] == {"error": "its process died with exit code 7"}
    assert found["fast"]["turns"] == 2
    assert found["fast"]["peak_bytes"] == 3
    assert 2 < found["fast"]["examples_per_s"] / found["slow"]["examples_per_s"] < 6


def test_a_side_that_does_not_answer_in_time_has_failed():
    found = alternate({"late": Side(works.sleeping, 30)}, rounds=1, seconds=1, until=time.monotonic() + 1)
    assert found == {"late": {"error": "no answer in the time that the benchmark had"}}


def test_a_side_has_an_environment_of_its_own():
    assert measured(one=Side(works.of_environment, environment={"SEEN": "1"}))["one"]["seen"] == "1"
    assert "SEEN" not in os.environ


def test_a_rate_is_that_of_the_median_turn():
    assert rates(6, [3.0, 1.0, 2.0]) == {"step_s": 2.0, "examples_per_s": 3.0, "range": [2.0, 6.0], "turns": 3}


def test_a_report_goes_on_with_what_was_measured_under_the_same_settings(tmp_path):
    path = tmp_path / "new" / "report.json"
    first = Report(path, rounds=2)
    first.add([{"side": "a", "error": "x"}, {"side": "b"}], part="one")
    first.add([{"side": "a", "left_out": "x"}], part="two")
    again = Report(path, rounds=2)
    assert not again.has(part="one")
    assert again.has(part="two")
    again.add([{"side": "a"}], part="one")
    assert [row["part"] for row in json.loads(path.read_text())["rows"]] == ["two", "one"]
    with pytest.raises(SystemExit, match="was measured with"):
        Report(path, rounds=3)
