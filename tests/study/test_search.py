"""What a search does about spaces, deaths, failures and other processes; the score is a made-up one.

Of Optuna's own numbers nothing is tested.
"""

import contextlib
import dataclasses
import errno
import json
import math
import os
import shutil
import sys
import time

import pytest

pytest.importorskip("optuna")

from jaxpeft.errors import InputError
from jaxpeft.study.design import Choice
from jaxpeft.study.search import __main__ as program
from jaxpeft.study.search import job, outcome, supervisor
from jaxpeft.study.search.design import ALPHA_OVER_RANK, WIDE, LogUniform, OneOf, Search, Uniform, load_search
from jaxpeft.study.search.systems import systems_of
from jaxpeft.study.search.trials import STORAGE, Trials, open_storage
from jaxpeft.training.position import DivergenceError, Position
from tests import tiny

CONFIGS = tiny.ROOT / "configs"
SHIPPED = sorted((CONFIGS / "search").glob("*.py"))
LORA = {"learning_rate": LogUniform(1e-4, 1e-1), "rank": OneOf((2, 4)), ALPHA_OVER_RANK: OneOf((0.5, 2.0))}


def a_search(**changes):
    search = Search("tiny", "why?", {"task": ("task",), "method": ("lora",)}, {"lora": LORA}, trials=4, startup=2)
    return dataclasses.replace(search, **changes)


# What a search says


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_searches_resolve(path):
    search = load_search(path)
    systems = systems_of(search, path.parent, {"mimic3": str(path.parent)})
    assert len({system.name for system in systems}) == len(systems) > 1
    assert f"--config=configs/search/{path.name}" in path.read_text()


def test_the_wide_space_holds_for_every_method(place):
    search = a_search(axes={"task": ("task",), "method": tuple(WIDE)}, spaces=WIDE)
    assert [system.config.peft.method for system in systems_of(search, place)] == list(WIDE)


def test_alpha_goes_by_the_rank_that_was_drawn(place):
    (system,) = systems_of(a_search(), place)
    config = system.configured({ALPHA_OVER_RANK: 0.5, "learning_rate": 1e-3, "rank": 4})
    assert (config.peft.lora.alpha, config.peft.lora.rank, config.train.learning_rate) == (2.0, 4, 1e-3)
    assert system.config.peft.lora.rank == 8


def test_the_name_of_a_study_holds_what_its_trials_depend_on(place, base):
    def name(weights=base, **changes):
        model = {"model": (Choice("m", {"model.ref": str(weights)}),)}
        search = a_search(**{"axes": {"task": ("task",), "method": ("lora",), **model}, **changes})
        (system,) = systems_of(search, place)
        return system.name

    other = tiny.write_base(place / "other", tiny.tensors(seed=1))
    copied = tiny.write_base(place / "copied")
    names = [
        name(),
        name(weights=other),
        name(fields={"train.select_metric": "accuracy"}),
        name(fields={"train.batch_size": 4}),
        name(spaces={"lora": LORA | {"dropout": Uniform(0.0, 0.5)}}),
        name(startup=3),
    ]
    assert len(set(names)) == len(names)
    assert name(weights=copied) == names[0]  # the same tensors
    assert name(trials=9, seeds=(7,)) == names[0]  # a search may grow
    assert name(fields={"peft.lora.rank": 64}) == names[0]  # which is searched


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"spaces": {}}, "`spaces` has none for the method 'lora'"),
        ({"spaces": {"lora": {}}}, "its space is empty"),
        ({"spaces": {"lora": {"learning_rat": LogUniform(1, 2)}}}, "'learning_rat', and no config does; learning_rate"),
        ({"spaces": {"lora": {"train.select_metric": OneOf(("a",))}}}, "has to be the same in all trials"),
        ({"spaces": {"lora": {"seed": OneOf((1, 2))}}}, "has to be the same in all trials"),
        ({"spaces": {"lora": {"peft.prefix.tokens": OneOf((1,))}}}, "which lora does not read"),
        ({"spaces": {"lora": {"learning_rate": LogUniform(0.0, 1.0)}}}, "two finite rising bounds above 0"),
        ({"spaces": {"lora": {"dropout": Uniform(0.5, 0.5)}}}, "two finite rising bounds"),
        ({"spaces": {"lora": {"dropout": Uniform(0.1, math.nan)}}}, "two finite rising bounds"),
        ({"spaces": {"lora": {"rank": OneOf(())}}}, "expected OneOf of one or more"),
        ({"spaces": {"lora": {"rank": OneOf(4)}}}, "expected OneOf of one or more"),
        (
            {"spaces": {"lora": {"learning_rate": LogUniform("1e-5", "1e-3")}}},
            "expected LogUniform of two finite rising",
        ),
        ({"spaces": {"lora": {"rank": (1, 2)}}}, "rank is a tuple: expected LogUniform"),
        ({"spaces": {"lora": {"rank": OneOf((0, 4))}}}, "rank at 0: "),
        ({"spaces": {"lora": LORA | {"alpha": Uniform(1.0, 2.0)}}}, "both alpha and alpha_over_rank"),
        ({"axes": {"task": ("task",), "rank": (2, 4)}}, "the space and an axis both have 'rank'"),
        ({"axes": {"task": ("task",), "seed": (1, 2)}}, "no 'seed' here"),
        ({"seeds": (5, 12)}, "`seeds` has 12, which the trials have too"),
        ({"fields": {"population.seeds": (1, 2)}}, "config.population has to be empty"),
    ],
)
def test_what_no_search_can_be_is_refused(place, changes, message):
    with pytest.raises(InputError) as refused:
        systems_of(a_search(**changes), place)
    assert message in str(refused.value)


def test_trials_of_one_corpus_are_not_taken_for_those_of_another(place, data, tmp_path):
    (system,) = systems_of(a_search(), place)
    trials = Trials(a_search(), system, place / "s", open_storage(place / "s"), begun=0.0)
    program._check_corpus(trials)
    moved = shutil.copytree(data, tmp_path / "moved")
    system.config.data.path = str(moved)
    program._check_corpus(trials)
    with (moved / "train.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"read other files than are in .*moved now"):
        program._check_corpus(trials)


def test_the_command_line_refuses_in_one_message(refused, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    smoke, elsewhere = f"--config={CONFIGS / 'search' / 'smoke.py'}", tmp_path / "elsewhere"
    (elsewhere / "file").mkdir(parents=True)
    study, paper = (f"--config={CONFIGS / name}.py" for name in ("study/smoke", "search/paper"))
    for arguments, message in (
        ([], "--config=FILE.py is missing"),
        ([study], "expected a function get_search()"),
        ([smoke, "--trials=0"], "trials is 0: expected a whole number, 1 or more"),
        ([smoke, "--jobs=0"], "jobs"),
        ([paper], "error: its corpus is missing: --corpus=mimic3=PATH says where it is\n"),
        ([paper, f"--corpus=mimc3={tmp_path}"], "--corpus=mimc3=...: no data.format; there are jsonl"),
        ([smoke, "stray"], "unexpected argument 'stray'"),
        (["--config=~/nowhere.py"], f"--config={tmp_path}/nowhere.py: no such file"),
        ([smoke, f"--workdir={elsewhere}"], "holds files, but no search.json"),
    ):
        assert message in refused(program.main, f"--workdir={tmp_path / 'w'}", *arguments)
    assert not (tmp_path / "w").exists()


def test_processes_that_end_by_themselves_end_the_search_in_one_message(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(supervisor, "JOB", (sys.executable, "-c", "raise SystemExit(3)"))
    monkeypatch.setattr(supervisor, "SECONDS_BETWEEN_LOOKS", 0.01)
    with pytest.raises(SystemExit) as stop:
        program.main(["search", f"--config={CONFIGS / 'search' / 'smoke.py'}", f"--workdir={tmp_path / 'w'}"])
    told = capsys.readouterr().err
    assert stop.value.code == program.NOTHING_FOUND
    assert "a process of the search ended with exit code 3; " in told
    assert told.endswith("trials.log says more; the same command goes on from here\n")


# Trials, with a made-up score


class Training:
    """In place of `train`: three evaluations; the score is the rate's logarithm, unless `happens` says otherwise."""

    def __init__(self, happens=lambda config, count: None):
        self.configs, self.happens = [], happens

    def __call__(self, config, workdir, *, started, on_evaluation):
        self.configs.append(config)
        self.happens(config, len(self.configs))
        workdir.root.mkdir(parents=True, exist_ok=True)
        value = math.log10(config.train.learning_rate)
        for step in (1, 2, 3):
            workdir.append_metrics({"step": step, "validation": {"f1_macro": value + step / 10}})
            stopped = "epochs" if step == 3 else None
            position = Position("", step=step, best_value=value + step / 10, stopped=stopped)
            if reason := on_evaluation(position, {}):
                return dataclasses.asdict(position) | {"stopped": reason}
        raise AssertionError("a trial that is at its end has to end untested")


def work(search, place, training, monkeypatch, *, begun=None):
    """Runs a search's trials in this process; returns them."""
    monkeypatch.setattr(job, "train", training)
    (system,) = systems_of(search, place)
    folder, begun = place / "search", time.time() if begun is None else begun
    with contextlib.suppress(InputError):
        job.work(search, [system], folder, begun=begun)
    return Trials(search, system, folder, open_storage(folder), begun=begun)


def test_what_is_retrained_on_one_base_is_no_run_of_another(place, base, monkeypatch):
    def ids():
        trials = work(a_search(trials=1), place, Training(), monkeypatch)
        return trials.best().params, [run.id for run in outcome.retrained(a_search(), trials)]

    params, first = ids()
    config = tiny.read_config(place / "task.py")
    config.model.ref = str(tiny.write_base(place / "other", tiny.tensors(seed=1)))
    tiny.write_config(place / "task.py", config)
    again, second = ids()
    assert again == params  # drawn from the sampler's seed alone
    assert len({*first, *second}) == len(first) + len(second) == 6


def test_a_full_disk_ends_a_process_as_what_the_user_has_to_mend(place, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "trials.jsonl")

    tiny_search = "from jaxpeft.study.search.design import *\ndef get_search():\n    return " + repr(a_search())
    (place / "file.py").write_text(tiny_search)
    monkeypatch.setattr(job, "work", full)
    for name in ("volunteer", "_end_with_parent"):
        monkeypatch.setattr(job, name, lambda: None)
    answers, write = os.pipe()
    told = {"config": str(place / "file.py"), "folder": str(place / "s"), "trials": 1, "corpora": {}, "begun": 0.0}
    with pytest.raises(SystemExit) as stop:
        job.main(told, write)
    assert stop.value.code == job.BAD_INPUT
    assert json.loads(os.read(answers, 1000)) == ["trials.jsonl: No space left on device"]


def states(trials):
    return [trial.state.name for trial in trials.all()]


def test_trials_are_spent_once_and_the_best_has_the_highest_validation_score(place, monkeypatch):
    training = Training()
    trials = work(a_search(), place, training, monkeypatch)
    assert len(trials.all()) == len(training.configs) == 4
    complete = [trial for trial in trials.all() if trial.state.name == "COMPLETE"]
    assert trials.best().value == max(trial.value for trial in complete)
    assert trials.best().value == pytest.approx(math.log10(trials.best().params["learning_rate"]) + 0.3)
    work(a_search(), place, training, monkeypatch)
    assert len(training.configs) == 4
    assert len(work(a_search(trials=6), place, training, monkeypatch).all()) == 6


def test_one_process_draws_the_same_trials_again(place, monkeypatch):
    first = [trial.params for trial in work(a_search(), place, Training(), monkeypatch).all()]
    (place / "search").rename(place / "first")
    assert [trial.params for trial in work(a_search(), place, Training(), monkeypatch).all()] == first
    assert len({params["learning_rate"] for params in first}) == 4


def test_a_trial_below_the_median_of_others_ends_early(place, monkeypatch):
    trials = work(a_search(trials=12), place, Training(), monkeypatch)
    pruned = [trial for trial in trials.all() if trial.state.name == "PRUNED"]
    assert pruned
    assert all(sorted(trial.intermediate_values) == [1, 2] for trial in pruned)  # prune_from
    assert states(trials)[:2] == ["COMPLETE"] * 2  # startup


def test_a_trial_that_diverges_is_a_bad_one_and_no_failure(place, monkeypatch):
    def diverge(config, count):
        if count == 2:
            raise DivergenceError("the loss is nan")

    trials = work(a_search(), place, Training(diverge), monkeypatch)
    assert states(trials)[1] == "PRUNED"
    assert trials.all()[1].user_attrs == {"diverged": True}
    assert len(trials.all()) == 4


def test_a_trial_that_died_has_failed_and_is_tried_again_in_its_own_folder(place, monkeypatch):
    class Death(BaseException):
        """Of the process: nobody tells Optuna anything."""

    def die(config, count):
        if count == 2:
            raise Death

    training = Training(die)
    with pytest.raises(Death):
        work(a_search(), place, training, monkeypatch)
    trials = work(a_search(), place, training, monkeypatch)
    assert states(trials)[1] == "FAIL"
    assert trials.all()[2].user_attrs == {"retry_of": 1}
    assert trials.all()[2].params == trials.all()[1].params
    assert len(trials.all()) == 5  # the four that were asked for, and one again
    folders = list((place / "search" / "trials" / trials.system.name).iterdir())
    assert len(folders) == 4


def test_what_dies_each_time_is_given_up(place, monkeypatch):
    class Death(BaseException):
        pass

    def die(config, count):
        raise Death

    begun = time.time()
    for _ in range(3):
        with pytest.raises(Death):
            work(a_search(trials=1), place, Training(die), monkeypatch, begun=begun)
    trials = work(a_search(trials=1), place, Training(die), monkeypatch, begun=begun)
    assert states(trials) == ["FAIL"] * 3
    assert trials.best() is None
    with pytest.raises(Death):  # the next start tries it once more
        work(a_search(trials=1), place, Training(die), monkeypatch)


def test_what_the_user_has_to_mend_ends_the_search_and_what_is_ours_one_trial(place, monkeypatch):
    def happens(config, count):
        if count == 1:
            raise KeyError("mrs. quennell has gout")
        if count == 3:
            raise InputError("data.path is gone")

    training, search = Training(happens), a_search(startup=9)
    trials = work(search, place, training, monkeypatch)
    assert states(trials) == ["FAIL", "COMPLETE", "FAIL"]
    errors = [trial.user_attrs.get("error") for trial in trials.all()]
    assert errors[0].startswith("fault: KeyError at test_search.py:")
    assert errors[2] == "input: data.path is gone"
    trials = work(search, place, training, monkeypatch)  # mended
    assert sorted(states(trials)) == ["COMPLETE"] * 4 + ["FAIL"] * 2
    assert [trial.user_attrs.get("retry_of") for trial in trials.all()] == [None, None, None, 0, 2, None]


def test_the_same_values_are_not_trained_twice(place, monkeypatch):
    training = Training()
    search = a_search(spaces={"lora": {"rank": OneOf((2,))}})
    trials = work(search, place, training, monkeypatch)
    assert states(trials) == ["COMPLETE"] * 4
    assert len(training.configs) == 1


def test_half_a_line_of_a_killed_process_is_cut_away(place, monkeypatch):
    work(a_search(), place, Training(), monkeypatch)
    path = place / "search" / STORAGE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code": 4, "wor')
    assert len(work(a_search(trials=5), place, Training(), monkeypatch).all()) == 5
    assert path.read_bytes().startswith(whole)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_drawn_corpus_keeps_its_cut_and_a_published_one_does_not(place, monkeypatch):
    trials = work(a_search(seeds=(5, 6)), place, Training(), monkeypatch)
    runs = outcome.retrained(a_search(seeds=(5, 6)), trials)
    assert [(run.config.seed, run.config.seeds.data) for run in runs] == [(5, None), (6, None)]
    trials.note("drawn", True)  # as of one file: another seed would test on rows that chose the trial
    runs = outcome.retrained(a_search(seeds=(5, 6)), trials)
    assert [(run.config.seed, run.config.seeds.data) for run in runs] == [(5, 12), (6, 12)]
