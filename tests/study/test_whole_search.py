"""Whole searches, with training: the best on seeds of its own, and a process that is killed."""

import dataclasses
import json
import os
import signal
import time

import pytest

pytest.importorskip("optuna")

from jaxpeft.study import runner, store, worker
from jaxpeft.study.search import __main__ as program
from jaxpeft.study.search import job, supervisor
from jaxpeft.study.search.design import load_search
from jaxpeft.study.search.systems import systems_of
from jaxpeft.study.search.trials import Trials, open_storage
from jaxpeft.training.workdir import read_json
from tests import tiny


@pytest.mark.slow
def test_only_the_best_is_tested_on_seeds_that_no_trial_had(place, monkeypatch, capsys):
    """All of the program, its processes' work in this one."""
    (place / "file.py").write_text(
        "from jaxpeft.study.search.design import *\n"
        "def get_search():\n"
        "    return Search('tiny', 'why?', {'task': ('task',), 'method': ('lora',)},\n"
        "        {'lora': {'learning_rate': LogUniform(1e-4, 1e-1)}}, trials=3, startup=1, seeds=(1, 2))\n"
    )
    folder = place / "search"

    def in_this_process(self, count, look):
        told = json.loads(self._job)
        search = load_search(place / "file.py")
        job.work(search, systems_of(search, place), folder, begun=told["begun"])
        look()

    monkeypatch.setattr(supervisor.Supervisor, "run", in_this_process)
    monkeypatch.setattr(
        runner,
        "_one",
        lambda of, job, folder, *_: worker._run(
            {"id": job.runs[0].id, "folder": folder, "config": dataclasses.asdict(job.runs[0].config)}, time.time()
        ),
    )
    arguments = ["search", f"--config={place / 'file.py'}", f"--workdir={folder}"]
    with pytest.raises(SystemExit) as stop:
        program.main(arguments)
    assert stop.value.code == 0
    assert not [path for name in ("result.json", "predictions") for path in (folder / "trials").rglob(name)]
    found = read_json(folder / "search.json")["systems"][0]
    best = max((one for one in found["trials"] if one["state"] == "complete"), key=lambda one: one["validation"])
    assert found["best"]["params"] == best["params"]
    assert best["validation"] == max(best["evaluations"])
    runs = store.runs(folder / "best")
    assert [run.result["seeds"]["init"] for run in runs] == [1, 2]
    assert {run.config["train"]["learning_rate"] for run in runs} == {best["params"]["learning_rate"]}
    scores = [run.result["metrics"]["test"]["f1_macro"]["value"] for run in runs]
    assert found["test"]["value"] == pytest.approx(sum(scores) / 2)
    assert found["test"]["low"] < found["test"]["value"] < found["test"]["high"]
    assert (folder / "best" / "report" / "index.html").exists()
    table = (folder / "search.md").read_text()
    assert f"{found['test']['low']:.3f} to {found['test']['high']:.3f}" in table
    assert f"f1_macro {best['validation']:.4f}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_process_that_is_killed_costs_its_trial_a_retry_and_the_other_goes_on(place, monkeypatch):
    """Two processes on one storage; one is killed in the middle of a trial."""
    task = tiny.read_config(place / "task.py")
    task.train.epochs = 12
    tiny.write_config(place / "task.py", task)
    (place / "file.py").write_text(
        "from jaxpeft.study.search.design import *\n"
        "def get_search():\n"
        "    return Search('tiny', 'why?', {'task': ('task',), 'method': ('lora',)},\n"
        "        {'lora': {'learning_rate': LogUniform(1e-4, 1e-1)}}, trials=3, startup=5)\n"
    )
    folder, killed = place / "search", []
    search = load_search(place / "file.py")
    (system,) = systems_of(search, place)
    begun = time.time()
    trials = Trials(search, system, folder, open_storage(folder), begun=begun)

    def look():
        running = [trial for trial in trials.all() if trial.state.name == "RUNNING"]
        checkpoints = list(folder.glob("trials/*/*/checkpoints/*[0-9]"))
        if not killed and len(running) == 2 and checkpoints:
            killed.append(running[0].number)
            holder = read_json(folder / "locks" / f"{system.name}.{running[0].number}")["process"]
            os.kill(holder, signal.SIGKILL)

    monkeypatch.setattr(supervisor, "SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.chdir(tiny.ROOT)
    told = {"config": str(place / "file.py"), "folder": str(folder), "trials": 3, "corpora": {}, "begun": begun}
    supervisor.Supervisor(told, folder / "logs" / "trials.log", restarts=1).run(2, look)
    found = {trial.number: trial for trial in trials.all()}
    assert [trial.number for trial in found.values() if trial.state.name == "FAIL"] == killed
    (retry,) = (trial for trial in found.values() if trial.user_attrs == {"retry_of": killed[0]})
    assert retry.state.name == "COMPLETE"
    assert retry.params == found[killed[0]].params
    assert sorted(retry.intermediate_values) == list(range(1, 13))  # those before the kill as well
    assert len(found) == 4
    assert sum(trial.state.name == "COMPLETE" for trial in found.values()) == 3
