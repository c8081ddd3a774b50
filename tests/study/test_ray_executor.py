"""Studies on Ray: what becomes of each task, with a Ray made of stand-ins; and one study on the real one."""

import contextlib
import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest

from jaxpeft.errors import InputError
from jaxpeft.study import ray_executor, runner, store
from jaxpeft.study.__main__ import main
from jaxpeft.study.progress import Progress
from jaxpeft.study.ray_executor import Share, WorkerDied
from jaxpeft.training.workdir import Workdir, read_json
from tests import tiny
from tests.study.test_runner import STUB, planned, tried

A_CORE = Share(cpus=1, gpus=0)


class FakeError(Exception):
    """Any of Ray's."""


class FakeTaskError(FakeError):
    def __init__(self, cause):
        self.cause = cause


class FakeRay:
    """Runs a task where its result is asked for, the latest first; keeps what it was told."""

    exceptions = types.SimpleNamespace(RayError=FakeError, RayTaskError=FakeTaskError)

    def __init__(self, attempt=None, **resources):
        self.attempt, self.resources = attempt, {"CPU": 4.0} | resources
        self.told, self.up = {}, 0

    def init(self, *address, **options):
        self.up += 1
        self.told |= {"address": address, "init": options}

    def shutdown(self):
        self.up -= 1

    def cluster_resources(self):
        return self.resources

    def nodes(self):
        return [{"Alive": True, "Resources": self.resources}, {"Alive": False, "Resources": self.resources}]

    def remote(self, **options):
        self.told["task"] = options
        return self._task

    def _task(self, function):
        self.function = self.attempt or function
        return types.SimpleNamespace(remote=lambda *arguments: FakeReference(arguments))

    def wait(self, references, timeout):
        return references[-1:], references[:-1]

    def get(self, reference):
        return self.function(*reference.arguments)


class FakeReference:
    def __init__(self, arguments):
        self.arguments = arguments


def run_all(ray, runs, folder, *, share=A_CORE, address=None):
    return ray_executor._run_all(ray, address, share, runs, folder, progress=Progress(runs))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-c", STUB))
    monkeypatch.setattr(ray_executor, "SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(ray_executor, "SECONDS_OF_GRACE", 0.0)
    (tmp_path / "study.json").write_text("{}")
    return tmp_path


@contextlib.contextmanager
def taken(folder, id):
    """As if another process ran it: another open file has the lock."""
    path = folder / "locks" / id
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def attempt(folder, id, *, begun=0.0, share=A_CORE):
    return ray_executor._attempt(runner.job_of(planned(id)[0], folder), begun, share, folder)


def test_an_attempt_answers_as_the_worker_does_and_its_death_is_ray_s_to_mend(folder):
    assert attempt(folder, "a")["status"] == "done"
    assert attempt(folder, "a")["status"] == "held"  # finished, by whoever: the study looks again
    with taken(folder, "b"):
        assert attempt(folder, "b")["status"] == "held"
    assert attempt(folder, "fails")["kind"] == "input"
    with pytest.raises(WorkerDied, match="killed by SIGKILL"):
        attempt(folder, "killed")
    with pytest.raises(WorkerDied, match="exit code 3"):
        attempt(folder, "exits")
    begun = time.time() - 1
    store.record_failure(folder, planned("c")[0], "elsewhere", "fault")
    assert attempt(folder, "c", begun=begun)["status"] == "held"
    assert tried(folder) == ["a", "fails", "killed", "exits"]


def test_a_machine_that_does_not_see_the_study_runs_nothing(folder):
    (folder / "study.json").unlink()
    answer = attempt(folder, "a")
    assert answer["kind"] == "input"
    assert "--workdir has to be on storage that all share" in answer["error"]
    assert not (folder / "locks").exists()


def test_a_run_on_cores_takes_as_many_threads_as_it_has_cores(folder, monkeypatch):
    tell = 'import json, os, sys; input(); print(json.dumps(os.environ.get("NPROC")), file=open(int(sys.argv[1]), "w"))'

    class Telling(runner.Worker):
        def run(self, job, log, tick):
            return {"threads": super().run(job, log, tick)}

    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-c", tell))
    monkeypatch.setattr(ray_executor, "Worker", Telling)
    monkeypatch.delenv("NPROC", raising=False)
    assert attempt(folder, "a", share=Share(cpus=3, gpus=0))["threads"] == "3"
    assert attempt(folder, "a", share=Share(cpus=3, gpus=1))["threads"] is None


def test_every_run_ends_once_and_a_lost_one_is_a_failure_that_tells_no_text(folder, capsys):
    def lose(job, *rest):
        ways = {"died": FakeTaskError(WorkerDied("killed by SIGKILL")), "lost": FakeError("mrs. quennell has gout")}
        ways["old"] = FakeTaskError(ModuleNotFoundError("jaxpeft"))
        if job["id"] in ways:
            raise ways[job["id"]]
        return ray_executor._attempt(job, *rest)

    ray = FakeRay(lose)
    runs = planned("a", "died", "lost", "old", "fails", "b")
    run_all(FakeRay(), runs[:1], folder)
    outcome = run_all(ray, runs, folder)
    assert outcome.finished == 2
    assert outcome.failed == {"died": "crash", "lost": "crash", "old": "fault", "fails": "input"}
    errors = {name: read_json(store.failure_file(folder, name))["error"] for name in outcome.failed}
    assert errors["died"] == "killed by SIGKILL; tried again in vain"
    assert "(FakeError)" in errors["lost"]
    assert "quennell" not in errors["lost"]
    assert "is this jaxpeft installed everywhere?" in errors["old"]
    assert tried(folder) == ["a", "b", "fails"]
    assert "[6/6] died" in capsys.readouterr().out
    assert ray.up == 0


def test_what_another_process_runs_is_waited_for_and_then_taken_over(folder, monkeypatch, capsys):
    hold = contextlib.ExitStack()
    hold.enter_context(taken(folder, "a"))
    monkeypatch.setattr(ray_executor.time, "sleep", lambda seconds: hold.close())
    assert run_all(FakeRay(), planned("a", "b"), folder).finished == 2
    assert tried(folder) == ["b", "a"]
    assert capsys.readouterr().out.count("waiting for 1 runs") == 1


def test_ray_is_told_what_a_run_takes_and_what_to_try_again(folder, capsys):
    ray = FakeRay()
    run_all(ray, planned("a"), folder, share=Share(cpus=2, retries=5))
    assert ray.told["address"] == ("local",)
    assert ray.told["init"]["include_dashboard"] is False
    assert ray.told["task"] == {
        "num_cpus": 2,
        "num_gpus": 0,
        "max_retries": 5,
        "retry_exceptions": [WorkerDied],
        "max_calls": 0,
    }
    assert "2 CPUs and 0 GPUs a run, 2 at a time" in capsys.readouterr().out
    ray = FakeRay(GPU=2.0)  # a card a run where there are any
    run_all(ray, planned("b"), folder, share=Share())
    assert ray.told["task"]["num_gpus"] == 1
    assert "1 CPUs and 1 GPUs a run, 2 at a time" in capsys.readouterr().out


def test_what_no_machine_has_is_refused_here_and_waited_for_in_a_cluster(folder, capsys):
    with pytest.raises(InputError, match="5 CPUs and 0 GPUs, more than this machine has"):
        run_all(FakeRay(), planned("a"), folder, share=Share(cpus=5))
    run_all(FakeRay(), planned("a"), folder, share=Share(cpus=5), address="auto")  # a node may join
    assert "they wait for a machine that has them" in capsys.readouterr().out


def test_a_cluster_that_does_not_answer_is_one_message(folder):
    class Refusing(FakeRay):
        def init(self, *address, **options):
            raise ConnectionError("Could not find any running Ray instance.\nMore")

    with pytest.raises(InputError, match=r"--address=auto: .*any running Ray instance\.$"):
        run_all(Refusing(), planned("a"), folder, address="auto")
    with pytest.raises(InputError, match=r"--address=127\.0\.0\.1:1: .*refused"):
        run_all(FakeRay(), planned("a"), folder, address="127.0.0.1:1")


def test_the_time_that_is_left_is_shared_by_the_runs_that_go_on_at_once(capsys):
    runs = planned(*"abcde")
    progress = Progress(runs)
    progress.at_once = 2
    progress.end(runs[0], {"status": "done", "seconds": 60.0})
    assert "0:01:00; done 1, failed 0, to do 4, about 0:02:00 left" in capsys.readouterr().out


# The command line


def test_no_ray_or_flags_of_ray_alone_are_one_message(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setitem(sys.modules, "ray", None)
    command = [f"--config={tiny.ROOT / 'configs/study/smoke.py'}", f"--workdir={tmp_path / 'w'}"]
    for arguments, message in (
        (["--executor=ray"], "--executor=ray needs Ray: pip install ray"),
        (["--address=auto", "--cpus_per_run=2"], "--address, --cpus_per_run: only with --executor=ray"),
        (["--executor=ray", "--cpus_per_run=0"], "cpus_per_run"),
        (["--executor=dask"], "executor"),
    ):
        assert message in refused(main, *command, *arguments)
    assert not (tmp_path / "w").exists()


def test_a_ray_of_this_machine_reports_nothing_has_a_key_and_runs_at_this_priority(monkeypatch):
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setitem(sys.modules, "ray", FakeRay())
    ray_executor.executor()
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert len(os.environ["RAY_AUTH_TOKEN"]) == 64
    assert os.environ["RAY_worker_niceness"] == "0"  # noqa: SIM112 (Ray's spelling)
    monkeypatch.setattr(os, "environ", {"RAY_ADDRESS": "auto"})  # a cluster has its own
    ray_executor.executor()
    assert not {"RAY_AUTH_TOKEN", "RAY_worker_niceness"} & os.environ.keys()


# On Ray

STUDY = """
from jaxpeft.study.design import Choice, Grid, Study

def get_study():
    return Study("tiny", "Does it run?", {{"main": Grid({{
        "model": (Choice("base", {{"model.ref": {base!r}}}),),
        "task": ("task",),
        "seed": (12, 34),
    }})}})
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install ray")
def test_two_runs_each_killed_once_cost_a_retry_each_and_end_as_if_nothing_had_been(base, data, finished, tmp_path):
    """One loses the process that trains, the other Ray's process above that."""
    tiny.write_config(tmp_path / "task.py", tiny.experiment(base, data))
    (tmp_path / "tiny.py").write_text(STUDY.format(base=str(base)))
    folder = tmp_path / "study"
    command = [f"--config={tmp_path / 'tiny.py'}", f"--workdir={folder}", "--executor=ray"]
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxpeft.study", *command], cwd=tiny.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        kill_each_once(folder, process)
        shown, _ = process.communicate()
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "2 of 2 runs are finished, 0 failed" in shown
    runs = store.runs(folder)
    for run in runs:
        assert [record["step"] for record in Workdir(run.workdir).read_metrics()] == list(range(1, 61))
        assert (folder / "logs" / f"{run.id}.log").read_text().count("continues at step") == 1
    same = next(run for run in runs if run.axes["seed"] == 12)  # as that of the fixture
    predictions = [Workdir(root).predictions("test").read_bytes() for root in (same.workdir, finished.root)]
    assert predictions[0] == predictions[1]


def kill_each_once(folder, process):
    """As soon as a run has a checkpoint: the first its own process, the second Ray's."""
    killed = []
    while len(killed) < 2:
        assert process.poll() is None
        for checkpoint in folder.glob("runs/*/checkpoints/*[0-9]"):
            id = checkpoint.parents[1].name
            if id not in killed:
                trains = json.loads((folder / "locks" / id).read_text())["process"]
                os.kill(parent_of(trains) if killed else trains, signal.SIGKILL)
                killed.append(id)
        time.sleep(0.01)


def parent_of(process):
    with open(f"/proc/{process}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
