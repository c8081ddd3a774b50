"""One base and several finished runs on it."""

import time

import pytest

import jaxpeft
from jaxpeft.errors import InputError
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from tests import tiny

TEXTS = ["w1 w2 w3", "w30 w31", "w50 w51 w52 w53"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, base, data):
    """Three short runs on one base: two of one shape, one of another method."""
    folders = {}
    for name, changes in {"one": {}, "two": {"seed": 13}, "ia3": {"peft__method": "ia3"}}.items():
        folders[name] = tmp_path_factory.mktemp("runs") / name
        config = tiny.experiment(base, data, train__steps=8, data__max_length=24, **changes)
        train(config, Workdir(folders[name]), started=time.time())
    return folders


def attached(runs, *names):
    adapters = jaxpeft.adapters()
    for name in names:
        adapters.attach(name, runs[name])
    return adapters


def test_each_predicts_as_it_does_alone(runs):
    adapters = attached(runs, *runs)
    answers = {}
    for name, folder in runs.items():
        adapters.switch(name)
        answers[name] = adapters.predict(TEXTS)
        assert answers[name] == jaxpeft.load(folder).predict(TEXTS)
    assert answers["one"] != answers["two"]


def test_the_base_is_in_memory_once_and_programs_of_one_shape_are_shared(runs):
    adapters = attached(runs, *runs)
    one, two, other = adapters._attached.values()
    for run in (two, other):
        ours, theirs = run.system.base(), one.system.base()
        for path in run.system.frozen.keys() & theirs.keys():
            assert ours[path].unsafe_buffer_pointer() == theirs[path].unsafe_buffer_pointer(), path
    table = "embeddings.word.embedding"
    assert one._frozen[table] is two._frozen[table] is other._frozen[table]  # on the devices as well
    adapters.switch("one")
    adapters.predict(TEXTS)
    compiled = one._placement.compilations
    adapters.switch("two")
    adapters.predict(TEXTS)
    assert two._placement.compilations == compiled
    assert other._placement is not one._placement


def test_a_base_that_is_rounded_is_not_shared_with_a_run_that_was_trained_on_the_whole(runs, base, data, tmp_path):
    config = tiny.experiment(base, data, train__steps=1, data__max_length=24, model__dtype="bfloat16")
    train(config, Workdir(tmp_path / "rounded"), started=time.time())
    adapters = jaxpeft.adapters()
    adapters.attach("rounded", tmp_path / "rounded")
    with pytest.raises(InputError, match=r"rounded to bfloat16, the run was trained with model\.dtype=float32"):
        adapters.attach("one", runs["one"])


def test_they_are_listed_with_parameters_and_bytes(runs):
    listed = attached(runs, "one", "ia3").listed()
    head, lora, ia3 = 24 * 3 + 3, 2 * 3 * (24 * 8 + 8 * 24), 3 * (3 * 24 + 40)
    assert listed == [
        {"name": "one", "active": False, "method": "lora", "labels": tiny.LABELS}
        | {"parameters": lora + head, "bytes": 4 * (lora + head)},
        {"name": "ia3", "active": True, "method": "ia3", "labels": tiny.LABELS}
        | {"parameters": ia3 + head, "bytes": 4 * (ia3 + head)},
    ]


@pytest.mark.parametrize("between", [{"peft__method": "full"}, {"peft__method": "bitfit"}, {"peft__lora__bias": "all"}])
def test_the_base_stays_what_it_was_when_the_run_that_read_it_has_gone(runs, base, data, tmp_path, between):
    config = tiny.experiment(base, data, train__steps=2, data__max_length=24, **between)
    train(config, Workdir(tmp_path / "between"), started=time.time())
    adapters = attached({**runs, "between": tmp_path / "between"}, "one", "between")
    adapters.detach("one")
    adapters.attach("two", runs["two"])
    assert adapters.predict(TEXTS) == jaxpeft.load(runs["two"]).predict(TEXTS)


def test_what_is_detached_predicts_no_more(runs):
    adapters = attached(runs, "one", "two")
    adapters.detach("two")
    with pytest.raises(InputError, match="no adapter is active"):
        adapters.predict(TEXTS)
    with pytest.raises(InputError, match="no adapter 'two' is attached; attached: 'one'"):
        adapters.switch("two")
    adapters.switch("one")
    assert len(adapters.predict(TEXTS)) == 3


def test_a_taken_name_and_another_base_are_refused(runs, tmp_path, data):
    adapters = attached(runs, "one")
    with pytest.raises(InputError, match="'one' is attached already"):
        adapters.attach("one", runs["two"])
    base = tiny.write_base(tmp_path / "base", tiny.tensors(seed=1))
    train(tiny.experiment(base, data, train__steps=2), Workdir(tmp_path / "run"), started=time.time())
    with pytest.raises(InputError, match="another base than the one in memory"):
        adapters.attach("other", tmp_path / "run")
    assert [run["name"] for run in adapters.listed()] == ["one"]
