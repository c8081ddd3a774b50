"""Which systems are compared with which."""

import json

import pytest

from jaxpeft.study.findings import findings_of, of_the_same_systems, reference_settings
from jaxpeft.study.store import runs
from tests.study.fake_study import write_study


def found_of(folder):
    return findings_of(runs(folder), folder / "draws", [], {})


def edit_results(folder, change):
    """Lets `change(result, axes)` alter every run's result.json."""
    for run in runs(folder):
        path = run.workdir / "result.json"
        result = json.loads(path.read_text())
        change(result, run.axes)
        path.write_text(json.dumps(result))


def test_a_method_stands_against_the_reference_of_its_own_experiment(tmp_path):
    """Two experiments whose grids set a field apart, say the length of texts: full is better in one, worse in one."""
    skills = {("short", "full"): 1.0, ("short", "lora"): 1.5, ("long", "full"): 3.0, ("long", "lora"): 2.5}
    grid = [{"experiment": one, "method": how, "skill": skill} for (one, how), skill in skills.items()]
    folder = write_study(tmp_path, grid)
    found = findings_of(runs(folder), tmp_path / "draws", [], {})
    scores = {(row.system.settings[0][1], row.system.method): row.score.value for row in found.tasks[0].rows}
    gaps = {method.title: method.difference.value for method in found.methods}
    assert gaps == {f"LoRA, experiment {one}": scores[one, "lora"] - scores[one, "full"] for one in ("short", "long")}


def test_of_the_references_settings_the_one_that_validates_best_is_compared_with(tmp_path):
    grid = [{"method": "full", "alpha": 8, "skill": 1.0}, {"method": "full", "alpha": 16, "skill": 3.0}]
    folder = write_study(tmp_path, [*grid, {"method": "lora", "skill": 2.0}])

    def validate(result, axes):
        result["metrics"]["validation"] = {"f1_macro": {"value": 0.9 if axes.get("alpha") == 8 else 0.1}}

    edit_results(folder, validate)
    found = found_of(folder)
    chosen = reference_settings(found.tasks, "full")
    assert [(system.settings, settings) for system, settings in chosen.items()] == [((("alpha", 8),), 2)]
    scores = {(row.system.method, row.system.settings): row.score.value for row in found.tasks[0].rows}
    expected = scores["lora", ()] - scores["full", (("alpha", 8),)]
    assert found.methods[0].difference.value == pytest.approx(expected)


def test_a_method_is_a_reference_only_beside_another_method(tmp_path):
    grid = [{"model": "a", "method": method} for method in ("lora", "ia3")]
    grid += [{"model": "b", "method": "full", "alpha": alpha} for alpha in (8, 16)]
    found = found_of(write_study(tmp_path, grid))
    assert found.reference == "lora"
    assert len(found.methods) == 1


def test_what_is_reached_without_a_model_is_that_of_the_whole_training_split(tmp_path):
    folder = write_study(tmp_path, [{}, {"few_shot": 16}, {"few_shot": 64}])

    def majority(result, axes):
        result["majority"]["test"]["f1_macro"] = 0.1 if axes.get("few_shot") else 0.3

    edit_results(folder, majority)
    assert found_of(folder).tasks[0].majority == pytest.approx(0.3)


def test_a_task_under_both_protocols_is_one_pair(tmp_path):
    grid = [{"method": method, "protocol": kind} for method in ("full", "lora") for kind in ("fixed", "paper")]
    found = found_of(write_study(tmp_path, grid))
    assert [len(one.rows) for one in found.tasks] == [2, 2]
    assert [one.pairs for one in found.methods] == [1]
    assert [one.task.protocol for one in found.averaged_tasks] == ["fixed"]


def test_averages_are_over_tasks_that_have_the_very_same_systems():
    sets = [{"full", "lora"}, {"lora", "ia3"}, {"lora"}, {"lora", "ia3"}]
    assert of_the_same_systems(sets, frozenset) == [sets[1], sets[3]]
    assert of_the_same_systems(sets[:3], frozenset) == sets[:1]  # as often as the other: the first
    assert of_the_same_systems([set()], frozenset) == []
