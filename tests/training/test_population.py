"""Members of a population are the single runs that their configs say, and leave the same workdirs."""

import json
import time

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxpeft import peft, population, runtime
from jaxpeft.compare import compare
from jaxpeft.errors import InputError
from jaxpeft.models.dropout import example_seeds
from jaxpeft.training import population as population_module
from jaxpeft.training import restore, run_population
from jaxpeft.training.population import Population
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from jaxpeft.validate import validate
from tests import tiny

MEASURED = ("timing", "memory")  # differ from run to run


@pytest.fixture(scope="module")
def config(tmp_path_factory, data):
    """8 members on one layer, which compiles fastest. They stop at different steps, and seeds order the data."""
    base = tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(num_hidden_layers=1), num_hidden_layers=1)
    changes = {
        "population__ranks": (2, 5),
        "population__learning_rates": ("1e-2", "3e-2"),
        "population__seeds": (1, 2),
        "train__epochs": 4,
        "train__eval_every": 5,
        "train__patience": 3,
        "train__test_on": "last",
    }
    config = tiny.experiment(base, data, **changes)
    validate(config)
    return config


@pytest.fixture(scope="module")
def together(config, tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("population") / "run")
    train(config, workdir, started=time.time())
    return workdir


def member(workdir, name):
    return Workdir(workdir.members / name)


def result_of(workdir):
    return json.loads(workdir.result.read_text())


@pytest.mark.parametrize("name", ["rank2-lr0.01-seed1", "rank5-lr0.03-seed2"])
def test_a_member_is_its_single_run(name, config, together, tmp_path):
    alone, ours = Workdir(tmp_path / "run"), member(together, name)
    run = next(run for run in population.runs(config) if run.name == name)
    train(run.config, alone, started=time.time())
    assert ours.config.read_bytes() == alone.config.read_bytes()
    records, expected = ours.read_metrics(), alone.read_metrics()
    assert len(records) == len(expected) >= 20
    np.testing.assert_allclose([one["loss"] for one in records], [one["loss"] for one in expected], atol=1e-5)
    assert [one["learning_rate"] for one in records] == [one["learning_rate"] for one in expected]
    for one, other in zip(records, expected, strict=True):
        assert one.get("validation", {}) == pytest.approx(other.get("validation", {}), abs=1e-4)
    tensors, others = (load_file(one.adapter / "adapter_model.safetensors") for one in (ours, alone))
    assert tensors.keys() == others.keys()
    for key, values in others.items():
        np.testing.assert_allclose(tensors[key], values, atol=1e-4, err_msg=key)
    result, alone_result = result_of(ours), result_of(alone)
    for field in ("steps", "best_step", "tested_step", "stopped", "peft_params", "total_params", "seeds", "buckets"):
        assert result[field] == alone_result[field], field
    for split, scores in alone_result["metrics"].items():
        for metric, score in scores.items():
            assert result["metrics"][split][metric] == pytest.approx(score, abs=1e-4), (split, metric)
    files = {path.relative_to(ours.root) for path in ours.root.rglob("*") if path.parent.name != "tensorboard"}
    # data/ is the population's
    expected_files = {path.relative_to(alone.root) for path in alone.root.rglob("*")}
    left_out = {path for path in expected_files if path.parts[0] in ("data", "best") or path.parts[0] == "tensorboard"}
    assert files >= expected_files - left_out


def test_members_read_batches_of_different_lengths_and_stop_at_different_steps(config, together):
    results = [result_of(member(together, run.name)) for run in population.runs(config)]
    assert len({result["steps"] for result in results}) > 1
    assert len(results[0]["buckets"]) > 1
    assert {result["stopped"] for result in results} >= {"patience"}


def test_evaluate_gives_a_members_score_to_the_bit(together):
    workdir = member(together, "rank2-lr0.03-seed2")
    report = restore.Restored(workdir.root).evaluate("test")
    assert report["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}


def test_the_time_of_a_member_is_that_of_all(config, together):
    whole = result_of(together)
    for run in population.runs(config):
        result = result_of(member(together, run.name))
        assert result["timing"] == whole["timing"]
        assert result["timing"]["members"] == result["memory"]["members"] == 8
    assert whole["timing"]["train_s"] > 0
    assert whole["timing"]["eval_s"] > 0


def test_the_whole_lists_members_and_their_spread(config, together):
    whole = result_of(together)
    assert [one["name"] for one in whole["members"]] == [run.name for run in population.runs(config)]
    scores = {}
    for one in whole["members"]:
        result = result_of(Workdir(together.root / one["workdir"]))
        assert one["metrics"]["test"]["accuracy"] == result["metrics"]["test"]["accuracy"]["value"]
        assert (one["steps"], one["best_step"]) == (result["steps"], result["best_step"])
        scores.setdefault((one["values"]["ranks"], one["values"]["learning_rates"]), []).append(
            one["metrics"]["test"]["f1_macro"]
        )
    assert len(whole["spread"]) == len(scores) == 4
    for group in whole["spread"]:
        values = scores[group["values"]["ranks"], group["values"]["learning_rates"]]
        found = group["metrics"]["test"]["f1_macro"]
        assert found == {"mean": pytest.approx(np.mean(values)), "sd": pytest.approx(np.std(values, ddof=1)), "runs": 2}


def test_two_members_can_be_compared_and_the_whole_cannot(together):
    first, second = (member(together, f"rank{rank}-lr0.01-seed1").root for rank in (2, 5))
    assert compare(first, second, resamples=100)["rows"] == 40
    with pytest.raises(InputError, match="members/NAME"):
        compare(first, together.root)
    with pytest.raises(InputError, match="members/NAME"):
        restore.Finished(together.root)


def test_finished_it_prints_its_result_again(config, together, capsys):
    assert train(config, together, started=time.time()) == result_of(together)
    assert "is finished" in capsys.readouterr().out


def test_another_config_is_refused_once_members_are_there(config, tmp_path):
    changed = tiny.experiment(config.model.ref, config.data.path, population__seeds=(1, 2, 3))
    begun = Workdir(tmp_path / "run")
    begun.claim(config)
    begun.members.mkdir()
    with pytest.raises(InputError, match="another config"):
        begun.claim(changed)


def test_broken_off_and_started_again_it_ends_as_if_nothing_had_happened(
    config, together, tmp_path, monkeypatch, capsys
):
    workdir, step = Workdir(tmp_path / "run"), Population._take_step

    def broken(self, going):
        if self.position.step == 27:  # the latest checkpoint is of step 25, and some members have stopped
            self.checkpoints.close()
            raise KeyboardInterrupt
        step(self, going)

    monkeypatch.setattr(Population, "_take_step", broken)
    with pytest.raises(KeyboardInterrupt):
        train(config, workdir, started=time.time())
    monkeypatch.undo()
    train(config, workdir, started=time.time())
    assert "continues at step 25" in capsys.readouterr().out
    assert not workdir.checkpoints.exists()
    for run in population.runs(config):
        ours, expected = member(workdir, run.name), member(together, run.name)
        assert ours.read_metrics() == expected.read_metrics()
        assert without_times(result_of(ours)) == without_times(result_of(expected))
        tensors = ((one.adapter / "adapter_model.safetensors").read_bytes() for one in (ours, expected))
        assert len(set(tensors)) == 1
    assert without_times(result_of(workdir)) == without_times(result_of(together))


def without_times(result):
    return {name: value for name, value in result.items() if name not in MEASURED}


HEAD = {"peft__method": "head", "data__buckets": 1, "train__epochs": 1}


def test_a_member_that_diverges_stops_and_the_others_go_on(config, tmp_path, capsys):
    changes = {"population__learning_rates": ("1e-2", "3e38"), "train__warmup_ratio": 0.0}
    workdir = Workdir(tmp_path / "run")
    result = train(tiny.experiment(config.model.ref, config.data.path, **HEAD, **changes), workdir, started=time.time())
    good, bad = result["members"]
    assert (good["stopped"], bad["stopped"]) == ("epochs", "diverged")
    assert bad["metrics"] is None
    assert not member(workdir, "lr3e+38").result.exists()
    assert [group["finished"] for group in result["spread"]] == [1, 0]
    records = member(workdir, "lr3e+38").read_metrics()
    assert all(np.isfinite(record["loss"]) for record in records)
    assert "lr3e+38: the loss is no number any more" in capsys.readouterr().out


def test_few_shot_draws_have_examples_of_their_own(config, tmp_path):
    changes = {"population__draws": (1, 2), "data__few_shot": 6, "train__steps": 2}
    drawn = tiny.experiment(config.model.ref, config.data.path, **(HEAD | changes))
    result = train(drawn, Workdir(tmp_path / "run"), started=time.time())
    assert [one["values"] for one in result["members"]] == [{"draws": 1}, {"draws": 2}]
    results = [result_of(Workdir(tmp_path / "run" / one["workdir"])) for one in result["members"]]
    assert [one["seeds"] for one in results] == [{"data": draw, "init": 12, "dropout": 12} for draw in (1, 2)]
    assert [one["examples"]["train"] for one in results] == [18, 18]
    losses = [member(Workdir(tmp_path / "run"), f"draw{draw}").read_metrics()[0]["loss"] for draw in (1, 2)]
    assert losses[0] != losses[1]


@pytest.mark.parametrize("more", [{"peft__lora__rank_pattern": ("query=12",)}, {"peft__method": "bitfit"}], ids=str)
def test_members_of_a_method_without_a_common_rank_begin_as_their_single_runs(more, config, tmp_path):
    short = HEAD | {"peft__method": "lora", "train__steps": 2} | more
    together = tiny.experiment(config.model.ref, config.data.path, population__seeds=(1, 2), **short)
    train(together, Workdir(tmp_path / "run"), started=time.time())
    single = population.runs(together)[1]
    alone = Workdir(tmp_path / "alone")
    train(single.config, alone, started=time.time())
    losses, expected = (
        [record["loss"] for record in one.read_metrics()] for one in (member(Workdir(tmp_path / "run"), "seed2"), alone)
    )
    np.testing.assert_allclose(losses, expected, atol=1e-5)


def test_no_step_leaves_every_member_at_its_start(config, tmp_path):
    still = tiny.experiment(config.model.ref, config.data.path, population__seeds=(1, 2), **HEAD, train__steps=0)
    result = train(still, Workdir(tmp_path / "run"), started=time.time())
    assert [one["steps"] for one in result["members"]] == [0, 0]


@pytest.mark.parametrize("seed", [0, 12, 2**31, 2**32 - 1])
def test_a_seed_of_an_array_drops_like_the_number(seed):
    step, examples = np.uint32(3), np.arange(4, dtype=np.uint32)
    of_array = jax.jit(example_seeds)(np.uint32(seed), step, examples)
    np.testing.assert_array_equal(of_array, example_seeds(seed, step, examples))


def test_the_joint_step_leaves_attention_to_xla_and_members_keep_their_own(config, tmp_path):
    together = run_population._gather(config, None, Workdir(tmp_path), runtime.PeakMemory())

    def attention(model):
        return peft.unflatten(model.graphdef, {**model.trainable, **model.frozen}).config.attention

    assert attention(together.common) == "xla"
    assert attention(together.members[0].system) == "auto"
    asks = tiny.experiment(config.model.ref, config.data.path, population__seeds=(1, 2), model__attention="cudnn")
    assert any("cannot train a population" in problem for problem in population.problems(asks))


def test_several_processes_are_refused(config, tmp_path, monkeypatch):
    monkeypatch.setattr(run_population.processes, "several", lambda: True)
    with pytest.raises(InputError, match="one process"):
        run_population.train_population(config, None, Workdir(tmp_path), started=0.0)


def test_its_checkpoints_come_as_often_as_the_config_says(config, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        population_module.Checkpoints, "save", lambda self, *trees: saved.append(trees[-1]["step"]), raising=True
    )
    changes = {"population__seeds": (1, 2), "train__eval_every": 100, "train__checkpoint_every": 4}
    train(tiny.experiment(config.model.ref, config.data.path, **HEAD, **changes), Workdir(tmp_path), started=0.0)
    assert saved == [4, 8, 10]
