"""Seeds that train as one population: who is grouped, what a kill leaves, and that results are those of single runs."""

import dataclasses
import sys

import pytest

from jaxpeft import population
from jaxpeft.config import Config
from jaxpeft.study import costs, runner, store, together
from jaxpeft.study.__main__ import main
from jaxpeft.study.planned import Planned
from jaxpeft.study.progress import Progress
from jaxpeft.training.restore import Restored
from jaxpeft.training.workdir import Workdir, read_json
from tests import tiny

STUB = """
import json, os, pathlib, sys
channel = os.fdopen(int(sys.argv[1]), "w")
for line in sys.stdin:
    job = json.loads(line)
    folder = pathlib.Path(job["folder"])
    ids = job.get("together", [job["id"]])
    with (folder / "tried").open("a") as tried:
        tried.write("+".join(ids) + "\\n")
    answer = {"status": "failed", "kind": "memory", "error": "too large"} if "large" in ids else {"status": "done"}
    for id in ids:
        workdir = folder / "runs" / id
        if answer["status"] == "done" and (len(ids) == 1 or not id.startswith("diverges")):
            workdir.mkdir(parents=True, exist_ok=True)
            (workdir / "result.json").write_text("{}")
    channel.write(json.dumps(answer) + "\\n")
    channel.flush()
"""


def planned(*ids, **changes):
    """Runs that differ in their seed, and those of another method where an id says so."""
    found = []
    for seed, id in enumerate(ids):
        config = Config(name=f"{id}-s{seed}", seed=seed)
        config.peft.method = "full" if id.startswith("full") else "lora"
        for name, value in changes.items():
            tiny.set_field(config, name.replace("__", "."), value)
        axes = {"experiment": "main", "model": "m", "method": config.peft.method, "task": "t", "seed": seed}
        found.append(Planned(id, axes, config))
    return found


@pytest.fixture
def run_all(monkeypatch, tmp_path):
    """Runs a study with a stub in place of training; returns the outcome, and what the stub was given."""
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-c", STUB))

    def run(runs, seeds_together=True):
        (tmp_path / "tried").unlink(missing_ok=True)
        progress = Progress(runs)
        outcome = runner.run_all(runs, tmp_path, fresh_process=True, progress=progress, seeds_together=seeds_together)
        tried = tmp_path / "tried"
        return outcome, tried.read_text().split() if tried.exists() else []

    return run


def names(groups):
    return ["+".join(run.id for run in group) for group in groups]


def test_seeds_of_a_system_are_a_group_where_they_can_share_a_base():
    others = planned("d", "e", peft__lora__rank=4)
    assert names(together.groups([*planned("a", "b", "full1", "c", "full2"), *others])) == [
        "a+b+c",
        "full1",
        "full2",
        "d+e",
    ]
    assert names(together.groups(planned("a", "b", train__seconds=5.0))) == ["a", "b"]
    lost = [dataclasses.replace(run, missing="no corpus") for run in planned("a", "b")]
    assert names(together.groups(lost)) == ["a", "b"]
    config = together.joint(tuple(planned("a", "b")))
    assert (config.name, config.population.seeds) == ("a", (0, 1))


def test_shards_keep_groups_whole():
    runs = planned("a", "b", "full1", "full2")
    shards = [runner.shard_of(runs, number, 2, seeds_together=True) for number in (1, 2)]
    assert [[run.id for run in shard] for shard in shards] == [["a", "b", "full2"], ["full1"]]


def test_a_group_is_one_job_and_each_of_its_runs_is_told(run_all, capsys):
    outcome, tried = run_all(planned("a", "b", "full"))
    assert (outcome.finished, tried) == (3, ["a+b", "full"])
    shown = capsys.readouterr().out
    assert "[1/3] a, with 1 more of its seeds" in shown
    assert "done 3, failed 0, to do 0" in shown
    assert run_all(planned("a", "b", "full"))[1] == []  # finished


def test_without_being_asked_each_run_is_by_itself(run_all):
    assert run_all(planned("a", "b"), seeds_together=False)[1] == ["a", "b"]


def test_a_failure_is_that_of_all_its_runs(run_all, tmp_path):
    outcome, _ = run_all(planned("large", "b"))
    assert outcome.failed == {"large": "memory", "b": "memory"}
    assert read_json(store.failure_file(tmp_path, "b"))["error"] == "too large"
    outcome, tried = run_all(planned("large", "b"))
    assert (tried, outcome.failed) == (["large", "b"], {"large": "memory"})


def test_a_run_that_has_begun_by_itself_goes_on_by_itself(run_all, tmp_path):
    (tmp_path / "runs" / "b").mkdir(parents=True)
    assert run_all(planned("a", "b"))[1] == ["a", "b"]


def finish(workdir):
    workdir.root.mkdir(parents=True)
    workdir.result.write_text("{}")


def test_what_a_kill_left_without_its_place_gets_it_and_a_seed_that_comes_later_is_alone(run_all, tmp_path):
    finish(together.workdir_of(["a", "b"], tmp_path))
    finish(Workdir(tmp_path / "runs" / "a"))
    assert run_all(planned("a", "b"))[1] == ["a+b"]
    assert run_all(planned("a", "b", "c"))[1] == ["c"]


def test_a_group_of_which_one_is_finished_alone_goes_on_alone(run_all, tmp_path):
    together.workdir_of(["a", "b"], tmp_path).root.mkdir(parents=True)  # it had begun
    finish(Workdir(tmp_path / "runs" / "a"))
    assert run_all(planned("a", "b"))[1] == ["b"]


def test_links_lead_to_members_with_a_result_wherever_the_study_lies(tmp_path):
    folder, ids = tmp_path / "study", ["a", "b", "c"]
    config = together.joint(tuple(planned(*ids)))
    members = [Workdir(together.workdir_of(ids, folder).members / run.name) for run in population.runs(config)]
    for member in members[:2]:
        finish(member)
    (folder / "runs").mkdir()
    (folder / "runs" / "a").symlink_to("gone")
    for _ in range(2):
        together.link_members(config, ids, folder)
    folder = folder.rename(tmp_path / "moved")
    assert [store.is_finished(folder, id) for id in ids] == [True, True, False]


def test_one_that_diverges_is_told_and_trains_by_itself_at_the_next_start(run_all, tmp_path):
    outcome, _ = run_all(planned("a", "diverges"))
    assert (outcome.finished, outcome.failed) == (1, {"diverges": "input"})
    assert "the loss diverged" in read_json(store.failure_file(tmp_path, "diverges"))["error"]
    outcome, tried = run_all(planned("a", "diverges"))
    assert (outcome.finished, tried) == (2, ["diverges"])


STUDY = """
from jaxpeft.study.design import Choice, Grid, Study

def get_study():
    return Study("tiny", "Does it run?", {{"main": Grid({{
        "model": (Choice("base", {{"model.ref": {base!r}}}),),
        "task": ("task",),
        "seed": (1, 2),
    }})}}, fresh_process=False, prices={{"cpu": 3600.0}}, seeds_together={together})
"""


@pytest.mark.slow
def test_what_stands_in_the_runs_places_is_what_single_runs_leave(base, data, tmp_path):
    tiny.write_config(tmp_path / "task.py", tiny.experiment(base, data, train__epochs=2))
    found = {}
    for joint in (True, False):
        (tmp_path / "tiny.py").write_text(STUDY.format(base=str(base), together=joint))
        folder = tmp_path / f"study-{joint}"
        with pytest.raises(SystemExit) as stop:
            main(["study", f"--config={tmp_path / 'tiny.py'}", f"--workdir={folder}"])
        assert stop.value.code == 0
        found[joint] = store.runs(folder)
    assert all(path.is_symlink() for path in (tmp_path / "study-True" / "runs").iterdir())
    for one, alone in zip(found[True], found[False], strict=True):
        assert one.id == alone.id
        for metric, score in alone.result["metrics"]["test"].items():
            assert one.result["metrics"]["test"][metric]["value"] == pytest.approx(score["value"], abs=1e-4)
        assert one.result["memory"]["how"] == store.TOGETHER
        seconds = costs.cost_of(one, {"cpu": 3600.0}).seconds
        assert seconds == pytest.approx(one.result["timing"]["train_s"] / 2)
        assert Restored(one.workdir).evaluate("test")["against_result"]["same"]
