"""Pruned encoders: a run of a few of a checkpoint's layers is a run of a checkpoint that has no others."""

import json
import time

import jax
import numpy as np
import pytest

from jaxpeft.errors import InputError
from jaxpeft.models.pretrained import read_config
from jaxpeft.population import runs
from jaxpeft.training import system
from jaxpeft.training.adapters import Adapters
from jaxpeft.training.plan import plan
from jaxpeft.training.restore import Restored
from jaxpeft.training.run import train
from jaxpeft.training.workdir import Workdir
from jaxpeft.validate import validate
from tests import tiny

KEPT = (0, 2)
CHEAP = {"train__steps": 4, "data__buckets": 1, "train__learning_rate": 3e-2}


def pruned_tensors():
    """The tensors of the base as a pruned model has them."""
    dropped, last = "bert.encoder.layer.1.", "bert.encoder.layer.2."
    kept = {name: values for name, values in tiny.tensors().items() if not name.startswith(dropped)}
    return {name.replace(last, dropped): values for name, values in kept.items()}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    """The model folder that somebody saved who had cut layer 1 out of the base."""
    folder = tmp_path_factory.mktemp("pruned") / "base"
    return tiny.write_base(folder, pruned_tensors(), num_hidden_layers=2)


def trained(folder, base, data, **changes):
    workdir = Workdir(folder)
    train(tiny.experiment(base, data, **{**CHEAP, **changes}), workdir, started=time.time())
    return workdir


@pytest.fixture(scope="module")
def run(tmp_path_factory, base, data):
    return trained(tmp_path_factory.mktemp("runs") / "kept", base, data, model__keep_layers=KEPT)


def result(workdir):
    return json.loads(workdir.result.read_text())


def built(folder, data, **settings):
    config = tiny.experiment(folder, data, **settings)
    return system.build(config, tiny.LABELS, seed=3)


@pytest.mark.parametrize("kind", ["none", "int8"])
def test_the_pruned_base_is_the_one_that_was_saved_pruned(base, pruned, data, kind):
    ours = built(base, data, model__keep_layers=KEPT, model__quantise=kind)
    theirs = built(pruned, data, model__quantise=kind)
    assert ours.base_sha256 == theirs.base_sha256
    assert ours.count() == theirs.count()
    assert ours.step_flops(4, 16) == theirs.step_flops(4, 16)
    assert ours.new_tensors == theirs.new_tensors
    assert ours.ignored_tensors == ()
    for mine, other in ((ours.frozen, theirs.frozen), (ours.trainable, theirs.trainable)):
        assert mine.keys() == other.keys()
        for ours_leaf, theirs_leaf in zip(jax.tree.leaves(mine), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(ours_leaf, theirs_leaf)


def test_all_layers_by_number_are_all_layers(base, data):
    assert built(base, data, model__keep_layers=(0, 1, 2)).base_sha256 == built(base, data).base_sha256
    assert built(base, data, model__keep_layers=KEPT).base_sha256 != built(base, data).base_sha256


def test_a_run_is_that_of_the_pruned_checkpoint(tmp_path, pruned, data, run):
    other = trained(tmp_path, pruned, data)
    for name in ("metrics", "base_sha256", "flops", "total_params", "peft_params"):
        assert result(run)[name] == result(other)[name]
    assert run.predictions("test").read_text() == other.predictions("test").read_text()


def test_evaluate_gives_the_same_to_the_bit(run):
    report = Restored(run.root).evaluate("test")
    assert report["against_result"] == {"checked": "to the bit", "same": True, "largest_difference": 0.0}


@pytest.mark.parametrize("parallel", ["pmap", "sharded"])
def test_however_it_is_placed(tmp_path, base, data, run, parallel):
    other = trained(tmp_path, base, data, model__keep_layers=KEPT, parallel=parallel)
    ours, theirs = (result(one)["metrics"]["test"]["brier"]["value"] for one in (run, other))
    assert abs(ours - theirs) < 1e-5


def test_members_of_a_population_are_pruned_too(tmp_path, base, data, run):
    settings = {"model__keep_layers": KEPT, "population__seeds": (12, 13)}
    config = tiny.experiment(base, data, **CHEAP, **settings)
    assert [member.config.model.keep_layers for member in runs(config)] == [KEPT, KEPT]
    train(config, Workdir(tmp_path), started=time.time())
    member = Workdir(tmp_path / "members" / "seed12")
    assert result(member)["base_sha256"] == result(run)["base_sha256"]
    assert result(member)["total_params"] == result(run)["total_params"]
    same = Restored(member.root).evaluate("test")["against_result"]
    assert same["same"]


def test_a_merged_model_is_a_base_of_its_own(tmp_path, data, base):
    workdir = trained(tmp_path / "full", base, data, model__keep_layers=KEPT, peft__method="full")
    folder = workdir.model
    assert read_config(folder)["num_hidden_layers"] == 2
    again = trained(tmp_path / "again", folder, data, peft__method="full", train__steps=0)
    assert result(again)["metrics"]["test"] == result(workdir)["metrics"]["test"]


def test_distilbert_calls_its_depth_otherwise():
    from jaxpeft.models.distilbert import DistilBertConfig

    hf_config = {"model_type": "distilbert", "n_layers": 6, "dim": 24, "n_heads": 4}
    sizes = DistilBertConfig.from_hf(hf_config).keeping((1, 3)).sizes_in(hf_config)
    assert sizes == {**hf_config, "n_layers": 2}


def test_a_plan_counts_the_layers_that_are_left(base, pruned, data):
    ours, theirs = plan(tiny.experiment(base, data, model__keep_layers=KEPT)), plan(tiny.experiment(pruned, data))
    assert ours.counts == theirs.counts
    assert ours.work == theirs.work


def test_an_adapter_says_what_its_base_is(tmp_path, base, pruned, data, run):
    assert json.loads((run.adapter / "labels.json").read_text())["keep_layers"] == [0, 2]
    settings = json.loads((run.adapter / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] is None  # PEFT would load all layers
    for folder, changes in ((base, {"model__keep_layers": KEPT}), (pruned, {})):
        again = trained(
            tmp_path / folder.parent.name, folder, data, **changes, peft__init_from=str(run.adapter), train__steps=0
        )
        assert result(again)["metrics"]["test"] == result(run)["metrics"]["test"]


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ((), r"for a base of 2 layers \(model.keep_layers=\(0, 2\)\), the base here has 3"),
        ((0, 1), r"another base than model.ref: sha256 '\w+' \(model.keep_layers=\(0, 2\)\) there, \w+ \(model.keep_l"),
    ],
)
def test_an_adapter_is_refused_on_other_layers(tmp_path, base, data, run, kept, message):
    with pytest.raises(InputError, match=message):
        trained(tmp_path, base, data, model__keep_layers=kept, peft__init_from=str(run.adapter))


def test_the_adapter_of_all_layers_is_refused_on_some(tmp_path, base, data):
    whole = trained(tmp_path / "whole", base, data)
    with pytest.raises(InputError, match="layer"):
        trained(tmp_path / "some", base, data, model__keep_layers=KEPT, peft__init_from=str(whole.adapter))


def test_runs_of_other_layers_share_no_base(tmp_path, base, data, run):
    whole = trained(tmp_path / "whole", base, data)
    adapters = Adapters()
    adapters.attach("pruned", str(run.root))
    with pytest.raises(InputError, match="another base"):
        adapters.attach("whole", str(whole.root))


@pytest.mark.parametrize("layers", [(1, 0), (1, 1), (-1,), (0, 2, 2)])
def test_numbers_that_do_not_rise_are_refused(base, data, layers):
    with pytest.raises(InputError, match="expected numbers of layers, from 0 and rising, none twice") as caught:
        validate(tiny.experiment(base, data, model__keep_layers=layers))
    assert len(caught.value.problems) == 1


def test_a_layer_that_is_not_there_is_told(base, data):
    with pytest.raises(InputError, match="names layer 3, and the model has 3 layers: expected numbers from 0 to 2"):
        built(base, data, model__keep_layers=(0, 3))
