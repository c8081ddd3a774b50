"""What a study does about crashes, failures, locks and other processes; runs themselves are a stub's, or tiny."""

import contextlib
import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from absl import flags

from jaxpeft.config import Config
from jaxpeft.errors import InputError
from jaxpeft.study import entry, runner, store
from jaxpeft.study.__main__ import main
from jaxpeft.study.design import Choice, Grid, Study
from jaxpeft.study.entry import define_common
from jaxpeft.study.grid import Plan
from jaxpeft.study.planned import Planned
from jaxpeft.study.progress import Progress
from jaxpeft.training.workdir import Workdir, read_json
from tests import tiny

STUB = """
import fcntl, json, os, pathlib, signal, sys
channel = os.fdopen(int(sys.argv[1]), "w")
for line in sys.stdin:
    job = json.loads(line)
    folder, id = pathlib.Path(job["folder"]), job["id"]
    workdir = folder / "runs" / id
    workdir.mkdir(parents=True, exist_ok=True)
    with (folder / "tried").open("a") as tried:
        tried.write(id + "\\n")
    if id.startswith("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if id.startswith("exits"):
        sys.exit(3)
    answer = {"status": "done"}
    if id.startswith("fails"):
        answer = {"status": "failed", "kind": "input", "error": "train.epochs is 0"}
    else:
        (workdir / "result.json").write_text(json.dumps({"process": os.getpid(), "memory": {"peak_bytes": 5}}))
    channel.write(json.dumps(answer) + "\\n")
    channel.flush()
"""


def planned(*ids, base="package:a/b"):
    found = []
    for id in ids:
        config = Config(name=id)
        config.model.ref = base
        axes = {"experiment": "main", "model": "m", "method": "lora", "task": "t", "seed": 1}
        found.append(Planned(id, axes, config))
    return found


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-c", STUB))
    monkeypatch.setattr(runner, "SECONDS_BETWEEN_LOOKS", 0.02)


def run_all(runs, folder, *, fresh_process=True):
    return runner.run_all(runs, folder, fresh_process=fresh_process, progress=Progress(runs))


def tried(folder):
    return (folder / "tried").read_text().split()


def test_what_kills_a_run_does_not_kill_the_study(stub, tmp_path, capsys):
    outcome = run_all(planned("a", "killed", "exits", "fails", "b"), tmp_path, fresh_process=False)
    assert outcome.finished == 2
    assert outcome.failed == {"killed": "crash", "exits": "crash", "fails": "input"}
    failures = {name: read_json(store.failure_file(tmp_path, name)) for name in outcome.failed}
    assert "killed by SIGKILL: often the system's answer to too little memory" in failures["killed"]["error"]
    assert "exit code 3" in failures["exits"]["error"]
    assert failures["fails"] == {
        "id": "fails",
        "axes": planned("fails")[0].axes,
        "error": "train.epochs is 0",
        "kind": "input",
        "when": failures["fails"]["when"],
    }
    shown = capsys.readouterr().out
    assert "[5/5] b" in shown
    assert "done 2, failed 3, to do 0" in shown


def test_what_is_finished_never_runs_twice_and_what_failed_is_tried_again(stub, tmp_path):
    run_all(planned("a", "fails"), tmp_path)
    outcome = run_all(planned("a", "fails", "b"), tmp_path)
    assert tried(tmp_path) == ["a", "fails", "fails", "b"]
    assert outcome.finished == 2
    store.record_failure(tmp_path, planned("c")[0], "once", "fault")
    run_all(planned("c"), tmp_path)
    assert not store.failure_file(tmp_path, "c").exists()


def test_a_process_a_run_or_one_for_those_that_share_a_base(stub, tmp_path):
    def processes(folder, fresh):
        folder.mkdir()
        runs = planned("a", "b") + planned("c", base="package:c/d")
        run_all(runs, folder, fresh_process=fresh)
        return [read_json(Workdir(folder / "runs" / run.id).result)["process"] for run in runs]

    assert len(set(processes(tmp_path / "fresh", True))) == 3
    first, second, third = processes(tmp_path / "shared", False)
    assert first == second != third


def test_a_run_that_another_process_has_is_waited_for_and_taken_over_when_that_dies(stub, tmp_path, capsys):
    hold = (
        "import fcntl, sys, time; file = open(sys.argv[1], 'w'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('held', flush=True); time.sleep(100)"
    )
    path = tmp_path / "locks" / "a"
    path.parent.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(path)], cwd=tiny.ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        looks = []

        def sleep(seconds):
            looks.append(tried(tmp_path))
            if len(looks) == 2:
                process.kill()  # leaves the lock's file behind
                process.wait()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runner.time, "sleep", sleep)
            outcome = run_all(planned("a", "b"), tmp_path)
    finally:
        process.kill()
        process.communicate()
    assert looks == [["b"], ["b"]]
    assert tried(tmp_path) == ["b", "a"]
    assert outcome.finished == 2
    assert capsys.readouterr().out.count("waiting for 1 runs") == 1


def test_what_another_process_has_just_seen_fail_is_not_tried_at_once(stub, tmp_path):
    a, b = planned("a", "b")
    run_all([a], tmp_path)

    class OtherProcess(Progress):
        def begin(self, run, log, *, beside=0):
            store.record_failure(tmp_path, b, "elsewhere", "fault")

    runs = planned("c", "b")
    outcome = runner.run_all(runs, tmp_path, fresh_process=True, progress=OtherProcess(runs))
    assert outcome.failed == {"b": "fault"}
    assert tried(tmp_path) == ["a", "c"]


def test_a_run_without_its_corpus_is_told_and_the_others_go_on(stub, tmp_path):
    here, not_here = planned("a", "b")
    runs = [dataclasses.replace(not_here, missing="its corpus is missing"), here]
    assert run_all(runs, tmp_path) == runner.Outcome(finished=1, failed={"b": "input"})
    assert tried(tmp_path) == ["a"]
    assert read_json(store.failure_file(tmp_path, "b"))["error"] == "its corpus is missing"
    assert run_all([not_here, here], tmp_path).finished == 2


def test_a_result_that_cannot_be_read_is_no_finished_run(stub, tmp_path):
    run_all(planned("a"), tmp_path)
    result = Workdir(tmp_path / "runs" / "a").result
    result.write_text("{")
    assert run_all(planned("a", "b"), tmp_path) == runner.Outcome(finished=1, failed={"a": "input"})
    assert tried(tmp_path) == ["a", "b"]
    assert f"delete {result.parent}, and the run begins anew" in read_json(store.failure_file(tmp_path, "a"))["error"]
    result.unlink()
    assert run_all(planned("a"), tmp_path).exit_code == 0


def test_a_failure_is_dated_by_the_clock_of_the_folder_whatever_this_machines_says(stub, tmp_path, monkeypatch):
    run_all(planned("fails"), tmp_path)
    real = time.time
    for hours in (-1, 1):
        monkeypatch.setattr(time, "time", lambda hours=hours: real() + 3600 * hours)
        run_all(planned("fails"), tmp_path)
    assert tried(tmp_path) == ["fails"] * 3


def test_what_is_left_counts_no_run_that_is_over_already(stub, tmp_path, capsys):
    run_all(planned("b", "c"), tmp_path)
    capsys.readouterr()
    lost = dataclasses.replace(planned("d")[0], missing="its corpus is missing")
    run_all([*planned("a", "b", "c"), lost], tmp_path)
    shown = capsys.readouterr().out
    assert "[4/4] a" in shown
    assert "done 3, failed 1, to do 0" in shown


def test_a_log_is_utf_8_whatever_the_locale(stub, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    monkeypatch.setattr(runner, "WORKER", (sys.executable, "-c", "print('≥ 65', flush=True)\n" + STUB))
    assert run_all(planned("a"), tmp_path).finished == 1
    assert store.log_file(tmp_path, "a").read_text(encoding="utf-8") == "≥ 65\n"


def test_a_log_that_is_deleted_while_its_run_goes_on_ends_nothing(tmp_path, capsys):
    (run,) = planned("a")
    progress = Progress([run])
    progress._live = True
    progress.begin(run, tmp_path / "gone.log")
    progress.tick()
    assert "[1/1] a" in capsys.readouterr().out


def test_shards_are_all_runs_and_share_none():
    runs = planned(*"abcdefg")
    shards = [runner.shard_of(runs, number, 3) for number in (1, 2, 3)]
    assert [[run.id for run in shard] for shard in shards] == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


# The folder


def a_study(**more):
    return Study("s", "why?", {"main": Grid({"task": ("t",), "model": (Choice("m", {"model.ref": "x"}),)})}, **more)


def test_a_folder_is_read_back_in_the_order_of_its_grid(stub, tmp_path):
    runs = planned("b", "fails", "a", "todo")
    plan = Plan(tuple(runs), {"main": [run.id for run in runs]})
    store.write_study(tmp_path, a_study(fresh_process=False), plan)
    run_all(runs[:3], tmp_path)
    found = store.runs(tmp_path)
    assert [run.id for run in found] == ["b", "fails", "a", "todo"]
    assert [run.error for run in found] == [None, "train.epochs is 0", None, None]
    assert [run.result is not None for run in found] == [True, False, True, False]
    assert found[0].result["memory"] == {"peak_bytes": None, "how": store.SHARED}
    assert found[0].workdir == tmp_path / "runs" / "b"
    description = read_json(tmp_path / "study.json")
    assert description["axes"]["model"] == ["m"]
    assert description["choices"] == {"model": {"m": {"model.ref": "x"}}}
    (found[2].workdir / "result.json").write_text("{")
    assert "unreadable" in store.runs(tmp_path)[2].error
    store.write_study(tmp_path, a_study(), plan)  # it may change
    assert store.runs(tmp_path)[0].result["memory"] == {"peak_bytes": 5}


def test_a_folder_without_a_study_has_no_runs(tmp_path):
    assert store.runs(tmp_path) == []


def test_a_folder_of_another_study_or_of_other_things_is_refused(tmp_path):
    plan = Plan((), {})
    store.write_study(tmp_path / "one", a_study(), plan)
    other = Study("other", "", {})
    with pytest.raises(InputError, match="holds the study 's', this one is 'other'"):
        store.write_study(tmp_path / "one", other, plan)
    with pytest.raises(InputError, match=r"holds files, but no study\.json"):
        store.write_study(tmp_path, other, plan)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made or opened: Not a directory; name another"):
        store.write_study(tmp_path / "file" / "below", other, plan)


def test_a_run_goes_on_where_its_data_lies_now(tmp_path):
    workdir, config = Workdir(tmp_path / "run"), Config()
    workdir.claim(config)
    config.data.path, config.seed = "/elsewhere", 5
    store.follow_places(workdir, config)
    kept = read_json(workdir.config)
    assert (kept["data"]["path"], kept["seed"]) == ("/elsewhere", 12)  # another seed is another run


# The command line


def test_the_command_line_refuses_in_one_message(refused, tmp_path):
    smoke, first_three = (str(tiny.ROOT / "configs" / "study" / f"{name}.py") for name in ("smoke", "first_three"))
    for arguments, message in (
        ([], "--config=FILE.py is missing"),
        ([f"--config={smoke}", "--shard=3/2"], "--shard=3/2: expected i/n"),
        ([f"--config={smoke}", "--corpus=mimic3"], "--corpus=mimic3: expected NAME=PATH"),
        ([f"--config={smoke}", "--corpus=mimic3=/nowhere"], "there is no /nowhere"),
        (
            [f"--config={smoke}", *(f"--corpus=mimic3={path}" for path in (tmp_path, "/"))],
            f"--corpus=mimic3=/: mimic3 is named twice, first as {tmp_path}; leave one out",
        ),
        ([f"--config={smoke}", "--serve", "--port=70000"], "port"),
        ([f"--config={smoke}", "stray"], "unexpected argument 'stray'"),
        ([f"--config={first_three}"], "and all others: its corpus is missing: --corpus=mimic3=PATH says where it is"),
        (["--cofnig=a"], "cofnig"),
    ):
        assert message in refused(main, f"--workdir={tmp_path / 'w'}", *arguments)
    assert not (tmp_path / "w").exists()


def test_a_folder_below_home_is_found_though_a_shell_leaves_its_tilde(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "mine").touch()
    message = refused(main, f"--config={tiny.ROOT / 'configs' / 'study' / 'smoke.py'}", "--workdir=~/w")
    assert f"{tmp_path}/w holds files, but no study.json" in message


def test_a_terminal_that_is_not_unicode_ends_nothing(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="latin-1", write_through=True))
    values = flags.FlagValues()
    define_common(values)
    with pytest.raises(SystemExit) as stop:
        entry.run(["study"], values, None, lambda _: print("no score: –"))
    assert (stop.value.code, shown.getvalue()) == (None, b"no score: \\u2013\n")


STUDY = """
from jaxpeft.study.design import Choice, Grid, Study

def get_study():
    return Study("tiny", "Does it run?", {{"main": Grid({{
        "model": (Choice("base", {{"model.ref": {base!r}}}),),
        "task": ("task",),
        "seed": (1,),
        "data.max_length": ({lengths}),
    }})}}, fresh_process=False)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_a_bad_run_is_told(base, data, tmp_path, capsys):
    """One run of 60 steps, the study killed in it; the other wants more positions than the model has."""
    tiny.write_config(tmp_path / "task.py", tiny.experiment(base, data))
    (tmp_path / "tiny.py").write_text(STUDY.format(base=str(base), lengths="32, 500"))
    folder = tmp_path / "study"
    command = [f"--config={tmp_path / 'tiny.py'}", f"--workdir={folder}"]
    process = subprocess.Popen([sys.executable, "-m", "jaxpeft.study", *command], cwd=tiny.ROOT, start_new_session=True)
    try:
        while not any(folder.glob("runs/*/checkpoints/*[0-9]")):
            assert process.poll() is None
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)  # the study alone: its worker ends by itself
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
    first = store.runs(folder)[0]
    assert first.result is None
    with pytest.raises(SystemExit) as stop:
        main(["study", *command])
    assert stop.value.code == 2
    good, bad = store.runs(folder)
    assert good.result["steps"] == 60
    assert "data.max_length is 500" in bad.error
    assert read_json(store.failure_file(folder, bad.id))["kind"] == "input"
    assert "continues at step" in (folder / "logs" / f"{good.id}.log").read_text()
    assert "1 of 2 runs are finished, 1 failed" in capsys.readouterr().out
    steps = [record["step"] for record in Workdir(good.workdir).read_metrics()]
    assert steps == list(range(1, 61))


def test_of_an_unexpected_error_only_its_type_and_place_are_told():
    from jaxpeft.study.worker import told

    def failure(error):
        try:
            raise error
        except Exception as caught:
            return told(caught)

    kind, message = failure(KeyError("mrs. quennell has gout"))
    assert kind == "fault"
    assert message.startswith("KeyError at test_runner.py:")
    assert failure(RuntimeError("RESOURCE_EXHAUSTED: 5 bytes"))[0] == "memory"
    assert failure(ValueError("RESOURCE_EXHAUSTED: No space left on device"))[0] == "input"
    assert failure(InputError("x is 1")) == ("input", "x is 1")
    assert failure(OSError(28, "No space left on device", "f"))[1] == "f: No space left on device"


def test_json_is_what_a_worker_is_told(stub, tmp_path):
    run = planned("a", base="random:tiny-bert")[0]
    config = runner.placed(run.config, tmp_path)
    assert config.model.ref == str(tmp_path / "bases" / "tiny-bert")
    assert json.loads((tmp_path / "bases" / "tiny-bert" / "config.json").read_text())["hidden_size"] == 32
    assert run.config.model.ref == "random:tiny-bert"
