"""Which runs are seeds of one system, which are points of a sweep, and what a table is about."""

from pathlib import Path

from jaxpeft.study.store import Run
from jaxpeft.study.systems import System, tasks_of


def run(name="", *, score=0.5, config=None, metric="f1_macro", **axes):
    axes = {"model": "m", "method": "lora", "task": "mimic_triage", "seed": 1} | axes
    result = {"method": axes["method"], "metrics": {"test": {metric: {"value": score}}}, "select_metric": metric}
    return Run(name or str(sorted(axes.items(), key=str)), axes, Path("nowhere"), config or {}, result, None)


def test_runs_that_differ_by_seed_alone_are_one_system():
    (task,) = tasks_of([run(seed=1), run(seed=2), run(seed=1, method="ia3")])
    assert [(cell.system.method, len(cell.runs)) for cell in task.cells] == [("lora", 2), ("ia3", 1)]


def test_a_setting_that_varies_within_a_method_tells_its_systems_apart():
    (task,) = tasks_of([run(alpha=8, learning_rate=1e-3), run(alpha=16, learning_rate=1e-3), run(method="full")])
    assert [cell.system.settings for cell in task.cells] == [(("alpha", 8),), (("alpha", 16),), ()]
    assert task.cells[1].system.method_title == "LoRA, alpha 16"


def test_what_a_sweep_sets_is_no_row_of_the_table():
    base, swept = run(rank=None), [run(rank=rank, learning_rate=1e-3) for rank in (4, 16)]
    (task,) = tasks_of([base, *swept])
    assert [cell.runs for cell in task.cells] == [[base]]
    assert [(value, cell.runs) for value, cell in task.sweeps["rank"]] == [(4.0, [swept[0]]), (16.0, [swept[1]])]
    assert task.cells[0].system == task.sweeps["rank"][0][1].system == System("m", "lora", (), "m")


def test_a_run_that_two_experiments_share_is_a_point_of_the_sweep_too():
    base = run("base", config={"peft": {"lora": {"rank": 8}}})
    other = run("full", method="full", config={"peft": {"lora": {"rank": 8}}})
    swept = run("swept", rank=16)
    (task,) = tasks_of([base, other, swept], [["base", "full"], ["base", "full", "swept"]])
    assert [value for value, _ in task.sweeps["rank"]] == [8.0, 16.0]
    assert [cell.system.method for cell in task.cells] == ["lora", "full"]


def test_few_examples_are_a_sweep_even_of_a_model_that_was_never_trained_on_all():
    base, few = run(), [run(model="other", few_shot=n) for n in (16, 64)]
    (task,) = tasks_of([base, *few])
    assert [cell.runs for cell in task.cells] == [[base]]
    assert [cell.system.model for _, cell in task.sweeps["few_shot"]] == ["other", "other"]


def test_a_rank_that_every_lora_has_is_a_setting_and_no_sweep():
    (task,) = tasks_of([run(rank=8), run(rank=8, seed=2), run(method="full")])
    assert [(cell.system.method_title, len(cell.runs)) for cell in task.cells] == [("LoRA", 2), ("Full fine-tuning", 1)]


def test_a_sweep_may_be_named_by_its_field():
    (task,) = tasks_of([run(), run(**{"peft.lora.rank": 4}), run(**{"peft.lora.rank": 8})])
    assert [value for value, _ in task.sweeps["rank"]] == [4.0, 8.0]


def test_a_sweep_of_one_value_is_none():
    (task,) = tasks_of([run(), run(few_shot=16)])
    assert task.sweeps == {}
    assert [cell.system.method_title for cell in task.cells] == [
        "LoRA, examples a class not set",
        "LoRA, 16 examples a class",
    ]


def test_what_is_shared_with_a_sweep_of_one_value_stands_in_the_table_once():
    base = run("base", config={"peft": {"lora": {"rank": 8}}})
    (task,) = tasks_of([base, run("again", rank=8, seed=2)], [["base"], ["base", "again"]])
    assert sorted(one.id for cell in task.cells for one in cell.runs) == ["again", "base"]


def test_a_setting_that_is_none_for_some_and_has_no_curve_loses_no_run():
    runs = [run(seed=seed, **{"train.clip": clip}) for clip in (None, 1.0) for seed in (1, 2)]
    (task,) = tasks_of(runs)
    assert [(cell.system.method_title, len(cell.runs)) for cell in task.cells] == [
        ("LoRA, clip not set", 2),
        ("LoRA, clip 1.0", 2),
    ]


def test_protocols_are_tasks_of_their_own():
    tasks = tasks_of([run(protocol="fixed"), run(protocol="paper")])
    assert [task.slug for task in tasks] == ["mimic_triage", "mimic_triage_paper"]
    assert tasks[1].title == "ICD-9 triage, the paper's protocol"


def test_the_score_to_compare_by_is_that_which_most_runs_were_selected_by():
    other = run(seed=3, metric="auroc_macro")
    (task,) = tasks_of([run(seed=1), run(seed=2), other])
    assert task.metric == "f1_macro"
    assert other not in task.cells[0].runs


def test_a_score_that_is_better_the_lower_is_never_the_one_to_compare_by():
    found = run(metric="brier")
    found.result["metrics"]["test"]["accuracy"] = {"value": 0.5}
    (task,) = tasks_of([found])
    assert task.metric == "accuracy"


def test_unfinished_runs_and_undefined_scores_are_left_out():
    broken = run(score=None)
    unfinished = Run("u", run().axes, Path("nowhere"), {}, None, None)
    assert tasks_of([broken, unfinished]) == []


def test_dora_and_a_config_file_as_task_have_their_names():
    found = run(task="configs/mimic_los.py", config={"peft": {"lora": {"dora": True}}})
    (task,) = tasks_of([found])
    assert (task.name, task.cells[0].system.method_title) == ("mimic_los", "DoRA")


def test_experiments_that_set_a_field_apart_are_no_seeds_of_one_system():
    runs = [run(f"{name}{seed}", experiment=name, seed=seed) for name in ("short", "long") for seed in (1, 2)]
    (task,) = tasks_of(runs)
    assert [(cell.system.method_title, cell.runs) for cell in task.cells] == [
        ("LoRA, experiment short", runs[:2]),
        ("LoRA, experiment long", runs[2:]),
    ]


def test_experiments_that_have_seeds_of_their_own_are_one_system():
    (task,) = tasks_of([run(experiment="first", seed=1), run(experiment="more", seed=2)])
    assert [(cell.system.method_title, len(cell.runs)) for cell in task.cells] == [("LoRA", 2)]


def test_a_run_that_two_sweeps_share_is_one_seed_of_its_point():
    base = run("base", config={"peft": {"lora": {"rank": 8}}})
    (task,) = tasks_of([base, run("low", rank=4), run("high", rank=16)], [["base", "low"], ["base", "high"]])
    assert [(value, len(cell.runs)) for value, cell in task.sweeps["rank"]] == [(4.0, 1), (8.0, 1), (16.0, 1)]


def test_beside_a_sweep_of_ranks_the_base_has_the_rank_of_its_config_and_no_name_for_it():
    base = [run(task, task=task, rank=8, config={"peft": {"lora": {"rank": 8}}}) for task in ("a", "b")]
    swept = [run(f"rank{rank}", task="a", rank=rank, experiment="rank") for rank in (2, 16)]
    first, second = tasks_of([*base, *swept], [["a", "b"], ["rank2", "a", "rank16"]])
    assert first.cells[0].system == second.cells[0].system == System("m", "lora", (), "m")
    assert len(first.cells) == 1
    assert [value for value, _ in first.sweeps["rank"]] == [2.0, 8.0, 16.0]


def test_a_setting_that_varies_on_one_task_is_named_on_all():
    first, second = tasks_of([run(task="a", alpha=8), run(task="a", alpha=16), run(task="b", alpha=8)])
    assert first.cells[0].system == second.cells[0].system == System("m", "lora", (("alpha", 8),), "m")


def test_experiments_that_set_a_field_apart_are_told_apart_whatever_their_seeds():
    rates = {"short": 1e-3, "long": 1e-4}
    runs = [
        run(name, experiment=name, seed=seed, config={"seed": seed, "train": {"learning_rate": rates[name]}})
        for seed, name in enumerate(rates)
    ]
    (task,) = tasks_of(runs)
    assert [cell.system.method_title for cell in task.cells] == ["LoRA, experiment short", "LoRA, experiment long"]
