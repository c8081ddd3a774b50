"""From a study to its runs: ids that last, rules, and every contradiction told."""

import pytest

from jaxpeft.config import Config, leaves
from jaxpeft.errors import InputError
from jaxpeft.study import planned
from jaxpeft.study.design import AXES, Choice, Grid, Rule, Study, load_study
from jaxpeft.study.grid import resolve
from jaxpeft.study.names import setting
from tests import tiny

CONFIGS = tiny.ROOT / "configs"
SHIPPED = sorted((CONFIGS / "study").glob("*.py"))
CORPORA = ("mimic3", "i2b2_2010", "i2b2_2012", "i2b2_2014")
AXES_OF_ONE = {"task": ("mimic_triage",), "seed": (12,)}


def study(experiments=None, **more):
    """A study of these experiments; `axes` is short for one."""
    axes = more.pop("axes", None)
    given = {axis: values for axis, values in AXES_OF_ONE.items() if axis not in (axes or {})}
    default = {"main": Grid({**(axes or {}), **given})}
    return Study("s", "why?", default if experiments is None else experiments, **more)


def runs(*arguments, **more):
    return resolve(study(*arguments, **more), CONFIGS).runs


def refused(*arguments, **more):
    with pytest.raises(InputError) as caught:
        runs(*arguments, **more)
    return str(caught.value)


def test_every_combination_is_a_run_of_the_tasks_own_config():
    found = runs(axes={"method": ("lora", "ia3"), "seed": (1, 2), "train.patience": (3,)})
    assert [(run.config.peft.method, run.config.seed) for run in found] == [
        ("lora", 1),
        ("lora", 2),
        ("ia3", 1),
        ("ia3", 2),
    ]
    assert {run.config.data.max_length for run in found} == {192}  # of configs/mimic_triage.py
    assert {run.config.train.patience for run in found} == {3}
    assert found[0].axes["train.patience"] == 3
    assert found[0].config.name == "model-lora-mimic_triage-s1"


def test_an_axis_of_one_method_varies_no_other():
    found = runs(axes={"method": ("lora", "ia3"), "rank": (2, 4), "alpha": (8.0,)})
    assert [(run.axes["method"], run.axes["rank"]) for run in found] == [("lora", 2), ("lora", 4), ("ia3", None)]
    assert found[2].axes["alpha"] is None


def test_choices_stand_for_fields_and_may_depend_on_other_axes():
    scaling = (Choice("fixed"), Choice("grows", {"peft.lora.alpha": lambda axes: 2.0 * axes["rank"]}))
    dora = Choice("dora", {"peft.method": "lora", "peft.lora.dora": True})
    found = runs(axes={"method": (dora,), "rank": (4,), "scaling": scaling})
    assert [(run.axes["method"], run.axes["scaling"], run.config.peft.lora.alpha) for run in found] == [
        ("dora", "fixed", 16.0),
        ("dora", "grows", 8.0),
    ]
    assert all(run.config.peft.lora.dora for run in found)


def test_rules_set_and_leave_out_and_the_last_counts():
    rules = (
        Rule({"method": ("lora", "ia3")}, "slow", {"train.learning_rate": 1e-3}),
        Rule({"method": "ia3"}, "fast", {"train.learning_rate": 1e-2}),
        Rule({"method": "full"}, "none", leave_out=True),
    )
    found = runs(axes={"method": ("lora", "ia3", "full")}, rules=rules)
    assert [(run.axes["method"], run.config.train.learning_rate) for run in found] == [("lora", 1e-3), ("ia3", 1e-2)]


def test_a_run_of_two_experiments_is_one_and_has_all_axes():
    experiments = {
        "main": Grid({**AXES_OF_ONE, "method": ("lora", "ia3")}),
        "rank": Grid({**AXES_OF_ONE, "method": ("lora",), "rank": (2, 8)}),
    }
    plan = resolve(study(experiments), CONFIGS)
    assert [(run.axes["experiment"], run.axes["method"], run.axes["rank"]) for run in plan.runs] == [
        ("main", "lora", 8),
        ("main", "ia3", None),
        ("rank", "lora", 2),
    ]
    assert plan.experiments["rank"] == [plan.runs[2].id, plan.runs[0].id]


def test_an_id_lasts_when_a_study_grows_and_files_move(tmp_path):
    small = runs()[0]
    grown = runs(axes={"seed": (12, 13), "rank": (8, 4), "few_shot": (None, 3)})
    assert small.id in [run.id for run in grown]
    moved = runs(fields={"data.path": str(tmp_path), "data.cache_dir": str(tmp_path)})[0]
    assert moved.id == small.id
    assert runs(fields={"train.epochs": 9})[0].id != small.id
    here, there = ({"model": (Choice("mine", {"model.ref": str(tmp_path / name)}),)} for name in "ab")
    assert runs(axes=here)[0].id == runs(axes=there)[0].id
    assert runs(axes={"model": ("package:a/b",)})[0].id != runs(axes={"model": ("package:c/b",)})[0].id


def test_a_config_file_that_fails_is_told(tmp_path):
    (tmp_path / "mine.py").write_text("def get_config():\n    raise AttributeError('no trian')\n")
    with pytest.raises(InputError, match=r"mine\.py cannot be run: AttributeError: no trian"):
        resolve(study(axes={"task": ("mine",)}), tmp_path)


@pytest.mark.parametrize("field", ["peft.init_from", "data.split_lists"])
def test_an_adapter_to_start_from_and_lists_of_the_split_make_another_run_wherever_they_lie(field):
    without, here, there = (runs(fields={field: path})[0].id for path in (None, "/a", "/b"))
    assert without == runs()[0].id != here == there


def test_a_run_never_stands_for_another_experiments_with_other_files(tmp_path):
    paths = {name: str(tmp_path / name / "bert") for name in ("a", "b")}
    experiments = {name: Grid({**AXES_OF_ONE, "model": (path,)}) for name, path in paths.items()}
    assert "experiments 'a' and 'b' have one run, bert-lora-mimic_triage-s12-" in refused(experiments)
    choices = {name: (Choice(name, {"model.ref": path}),) for name, path in paths.items()}
    assert len(runs({name: Grid({**AXES_OF_ONE, "model": one}) for name, one in choices.items()})) == 2
    caches = {name: Grid(AXES_OF_ONE, {"data.cache_dir": name}) for name in "ab"}
    assert len(runs(caches)) == 1


def test_a_field_at_its_default_is_no_part_of_an_id(monkeypatch):
    before = runs()[0].id
    known = planned.leaves
    monkeypatch.setattr(planned, "leaves", lambda config: {**known(config), "train.added_later": None})
    assert runs()[0].id == before


def test_a_corpus_is_where_the_command_line_says(tmp_path):
    assert runs()[0].missing is None
    assert "--corpus=mimic3=PATH says where" in str(runs(fields={"data.format": "mimic3"})[0].missing)
    found = resolve(study(fields={"data.format": "mimic3"}), CONFIGS, {"mimic3": str(tmp_path)}).runs
    assert (found[0].config.data.path, found[0].missing) == (str(tmp_path), None)
    assert resolve(study(fields={"data.format": "mimic3"}), CONFIGS, for_plan=True).runs[0].config.data.path is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {"rnak": (2,)}}, "there is no axis 'rnak'; rank?"),
        ({"axes": {"train.epoch": (2,)}}, "there is no axis 'train.epoch'; train.epochs?"),
        ({"axes": {"seed": (1, 1)}}, "axis 'seed' has 1 twice"),
        ({"axes": {"seed": ()}}, "experiment 'main' has no run"),
        ({"axes": {"seed": 1}}, "experiment 'main': axis 'seed': expected a tuple"),
        ({"rules": Rule({}, "x", {})}, "the study's rules: expected a tuple"),
        (
            {"fields": {"peft.lora.alpha": lambda axes: 2.0 * axes["rnak"]}},
            "the study's fields: the function of peft.lora.alpha fails for the axes {'experiment': 'main', 'task':",
        ),
        ({"axes": {"task": ("mimic_triaj",)}}, "task 'mimic_triaj': no config file"),
        (
            {"axes": {"task": ("mimic_triage", "../configs/mimic_triage")}},
            "tasks 'mimic_triage' and '../configs/mimic_triage' have one name in the report, 'mimic_triage': name one",
        ),
        ({"experiments": {}}, "study 's' has no experiment"),
        ({"experiments": {"e": Grid({"seed": (1,)})}}, "experiment 'e' has no axis 'task'"),
        ({"axes": {"rank": (2,), "peft.lora.rank": (2,)}}, "axes 'rank' and 'peft.lora.rank' both set peft.lora.rank"),
        (
            {"axes": {"learning_rate": (0.1,)}, "rules": (Rule({}, "slow", {"train.learning_rate": 0.2}),)},
            "contradicts itself: axis 'learning_rate' varies train.learning_rate, and the rule 'slow' sets it",
        ),
        ({"rules": (Rule({}, "nothing is left", leave_out=True),)}, "has no run: an axis is empty or rules leave"),
        ({"rules": (Rule({"method": "lorra"}, "typo", {}),)}, "the rule 'typo' matches no run"),
        ({"fields": {"train.epoch": 1}}, "the study's fields: the config has no field 'train.epoch'; train.epochs?"),
        ({"axes": {"x": (Choice("a"), Choice("b"))}}, "x 'a' and 'b' make no difference"),
        ({"axes": {"data.path": ("a", "b")}}, "differ only in where files lie"),
        ({"axes": {"method": ("lorra",)}}, "config.peft.method is 'lorra', expected one of lora"),
        ({"fields": {"train.epochs": 0}, "axes": {"seed": (1, 2)}}, "-s1-"),
        ({"fields": {"population.seeds": (1, 2)}}, "config.population has to be empty in a study"),
    ],
)
def test_what_makes_no_sense_is_told(changes, message):
    assert message in refused(**changes)


def test_one_mistake_in_many_configs_is_told_once():
    message = refused(fields={"train.epochs": 0}, axes={"seed": tuple(range(50))})
    assert message.count("train.epochs") == 1
    assert "and 49 more" in message


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_study_resolves(path, tmp_path):
    found = load_study(path)
    assert found.name == path.stem
    plan = resolve(found, path.parent, dict.fromkeys(CORPORA, str(tmp_path)))
    assert len({run.id for run in plan.runs}) == len(plan.runs)
    assert f"--config=configs/study/{path.name}" in path.read_text()
    assert {"model", "method", "task", "seed", "experiment"} <= plan.runs[0].axes.keys()
    reference = [run for run in plan.runs if found.reference.items() <= run.axes.items()]
    assert reference
    expected = {"smoke": 21, "open": 39, "first_three": 108, "paper": 1848 + 216 + 486 + 54}
    expected |= {"sensitivity": 81, "domains": 36}
    assert len(plan.runs) == expected[path.stem]


def test_the_study_of_sensitivity_crosses_every_setting():
    path = CONFIGS / "study" / "sensitivity.py"
    loras = [run.config.peft.lora for run in resolve(load_study(path), path.parent).runs]
    assert {(one.rank, one.alpha / one.rank) for one in loras if one.alpha != 8} == {
        (rank, scale) for rank in (2, 16, 64) for scale in (1, 2)
    }
    assert {one.rank for one in loras if one.alpha == 8} == {2, 16, 64}


def test_domains_are_folders_that_the_command_line_names(tmp_path):
    path = CONFIGS / "study" / "domains.py"
    named = {"cardiology": str(tmp_path / "a"), "radiology": str(tmp_path / "b"), "mimic3": str(tmp_path)}
    found = resolve(load_study(path, named), path.parent, named).runs
    assert {(run.axes["task"], run.config.data.path) for run in found} == {
        (name, named[name]) for name in ("cardiology", "radiology")
    }
    assert {(run.config.data.format, run.config.data.labels) for run in found} == {("jsonl", ())}
    assert len(found) == 18


def test_a_name_that_is_no_format_is_refused_where_nobody_asks_for_it(tmp_path):
    with pytest.raises(InputError, match=r"--corpus=mimc3=...: no data.format; there are jsonl"):
        load_study(CONFIGS / "study" / "paper.py", {"mimc3": str(tmp_path)})


def test_the_papers_study_has_its_settings(tmp_path):
    path = CONFIGS / "study" / "paper.py"
    found = resolve(load_study(path), path.parent, dict.fromkeys(CORPORA, str(tmp_path))).runs
    by_axes = {tuple(run.axes[axis] for axis in ("experiment", "model", "method", "protocol")): run for run in found}
    lora = by_axes["main", "TinyBioBERT", "lora", "paper"].config
    assert (lora.peft.lora.rank, lora.peft.lora.alpha, lora.peft.lora.dropout) == (8, 8.0, 0.1)
    assert lora.peft.target_modules == ("query", "key", "value")
    assert (lora.train.learning_rate, lora.train.batch_size, lora.train.test_on) == (3e-4, 32, "last")
    assert by_axes["main", "BioBERT", "full", "fixed"].config.train.learning_rate == 3e-5
    assert by_axes["main", "BioBERT", "full", "fixed"].config.train.test_on == "best"
    llama = by_axes["main", "Llama-2-7b", "lora", "paper"].config
    assert (llama.peft.lora.rank, llama.peft.lora.alpha, llama.train.accumulate) == (16, 32.0, 16)
    assert llama.train.learning_rate == 5e-5
    assert not any(run.axes["model"] == "Llama-2-7b" and run.axes["method"] == "full" for run in found)
    alphas = {
        (run.axes["scaling"], run.axes["rank"], run.config.peft.lora.alpha)
        for run in found
        if run.axes["experiment"] == "rank"
    }
    assert {alpha for scaling, _, alpha in alphas if scaling == "alpha 8"} == {8.0}
    assert all(rank == alpha for scaling, rank, alpha in alphas if scaling == "alpha = rank")
    seconds = {(run.axes["model"], run.config.train.seconds) for run in found if run.axes["experiment"] == "budget"}
    assert ("BioBERT", 6000.0) in seconds
    assert len(seconds) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "expected a function get_study"),
        ("def get_study(): return 3", "returned int, expected a Study"),
        ("1 / 0", "cannot be run: ZeroDivisionError"),
        ("def get_study(): raise KeyError('a')", "cannot be run: KeyError"),
        ("def", "cannot be run: SyntaxError"),
    ],
)
def test_a_broken_study_file_is_told(tmp_path, text, message):
    path = tmp_path / "study.py"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load_study(path)
    with pytest.raises(InputError, match="no such file"):
        load_study(tmp_path / "none.py")


def test_a_study_file_from_windows_is_read(tmp_path):
    path = tmp_path / "a study.py"
    text = "from jaxpeft.study.design import Study\r\ndef get_study():\r\n    return Study('s', 'Wie weit? µ', {})\r\n"
    for content in (text.encode("utf-8-sig"), b"# -*- coding: cp1252 -*-\r\n" + text.encode("cp1252")):
        path.write_bytes(content)
        assert load_study(path).question == "Wie weit? µ"


def test_every_short_name_is_a_field():
    assert set(AXES.values()) <= leaves(Config()).keys()


def test_layers_are_an_axis():
    study = Study("s", "?", {"e": Grid({"task": ("lora_bert",), "keep_layers": ((), (0, 2, 4))})})
    found = resolve(study, CONFIGS).runs
    assert [run.config.model.keep_layers for run in found] == [(), (0, 2, 4)]
    assert [setting("keep_layers", run.axes["keep_layers"]) for run in found] == ["all layers", "layers 0,2,4"]
