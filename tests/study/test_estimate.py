"""The dry run: memory as the compiled step needs it, work as the plan mode has it, and what does not fit."""

import pytest

from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.study import estimate
from jaxpeft.study.__main__ import main
from jaxpeft.study.design import Device, Study, TaskSize
from jaxpeft.study.models import MODELS
from jaxpeft.study.planned import Planned
from jaxpeft.training.blueprint import draw
from jaxpeft.training.plan_memory import training_memory
from jaxpeft.training.plan_work import work
from tests import tiny


def planned(ref, task="t", seed=1, **changes):
    config = Config()
    config.model.ref, config.seed = ref, seed
    for name, value in changes.items():
        tiny.set_field(config, name.replace("__", "."), value)
    axes = {"experiment": "main", "model": ref, "method": config.peft.method, "task": task, "seed": seed, "rank": None}
    return Planned("id", axes, config)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_memory_is_that_of_the_compiled_step(base, method):
    changes = {"peft__method": method, "data__max_length": 32, "train__batch_size": 64, "train__eval_batch_size": 64}
    run = planned(str(base), **changes)
    blueprint = draw(run.config, ("false", "b", "c"))
    compiled = sum(training_memory(blueprint, 64).values())
    found = estimate.Estimator({"t": TaskSize(1000, 3)}).run(run)
    assert found.memory == pytest.approx(compiled, rel=0.1)
    expected = work(blueprint, 1000, None)
    assert (found.flops, found.steps) == (expected.run, expected.steps)


def test_what_recomputes_takes_less_memory_and_more_work(base):
    changes = {"data__max_length": 32, "train__batch_size": 64, "train__eval_batch_size": 8}
    plain, again = (
        estimate.Estimator({"t": TaskSize(1000, 3)}).run(planned(str(base), model__remat=remat, **changes))
        for remat in (False, True)
    )
    assert again.memory < 0.9 * plain.memory
    assert again.flops > 1.2 * plain.flops


def test_few_examples_steps_and_seconds_bound_a_run(base):
    estimator = estimate.Estimator({"t": TaskSize(1000, 2)})
    changes = {"data__max_length": 32, "train__batch_size": 8, "train__epochs": 2}
    assert estimator.run(planned(str(base), **changes)).steps == 250
    assert estimator.run(planned(str(base), data__few_shot=4, **changes)).steps == 2
    assert estimator.run(planned(str(base), train__steps=7, **changes)).steps == 7
    budget = estimator.run(planned(str(base), train__seconds=9.0, **changes))
    slow, fast = Device("slow", 1e-9), Device("fast", 1e9)
    assert budget.hours(slow) == 9 / 3600
    assert budget.hours(fast) < 1e-6


def test_every_model_of_the_paper_is_known_without_its_files(monkeypatch):
    monkeypatch.setattr(estimate.activations, "step_and_layer_bytes", lambda blueprint, sizes: (0, 0))
    estimator = estimate.Estimator({"t": TaskSize(1000, 2)})
    for model in MODELS:
        assert estimator.run(planned(model.ref, data__max_length=480)).reason is None, model.name
    assert "is no folder here" in estimator.run(planned("some/other")).reason


def test_the_table_says_what_does_not_fit(monkeypatch):
    monkeypatch.setattr(estimate, "memory_and_step", lambda config, classes, sizes: (20 * 2**30, 10**15))
    study = Study("s", "why?", {}, sizes={"t": TaskSize(32, 2)})
    runs = [planned("bert-base-uncased", seed=seed) for seed in (1, 2)] + [planned("some/other")]
    shown = estimate.table(study, runs)
    line = next(line for line in shown.splitlines() if "bert-base-uncased" in line)
    assert line.split() == ["main:", "bert-base-uncased", "lora", "t", "2", "20.00", "5.000", "0.02", "no"]
    assert "h100-80g: 2 runs fit, 0.0 h; 0 do not fit" in shown
    assert "rtx2080ti-11g: 0 runs fit, 0.0 h; 2 do not fit" in shown
    assert "unknown: model.ref 'some/other'" in shown


def test_a_card_that_nobody_knows_is_told():
    study = Study("s", "?", {}, devices=(Device("h100", 60.0),))
    with pytest.raises(InputError, match="the study's devices: no card 'h100'; there are t4-16g"):
        estimate.table(study, [])


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(estimate, "memory_and_step", lambda config, classes, sizes: (2**30, 10**12))
    monkeypatch.setattr(estimate, "_read_size", lambda config: TaskSize(100, 2))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["study", f"--config={tiny.ROOT / 'configs' / 'study' / 'smoke.py'}", "--dry_run"])
    assert stop.value.code == 0
    assert "21 runs" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
