"""The plan mode: what it says before a run, and that it leaves nothing behind."""

import functools
import types

import jax
import numpy as np
import pytest

from jaxpeft import peft
from jaxpeft.models.flops import step_flops
from jaxpeft.training import plan as plans
from jaxpeft.training import plan_work
from jaxpeft.training.blueprint import draw
from jaxpeft.training.plan import EXAMPLES, plan
from jaxpeft.training.plan_memory import evaluation_memory, training_memory
from jaxpeft.training.system import build
from tests import tiny
from tests.training.test_loop import make_loop

CHEAP = {"peft__method": "head"}  # compiles fastest


@pytest.mark.parametrize("kind", ["none", "int8", "nf4"])
def test_what_is_planned_is_what_a_run_holds(base, data, kind):
    config = tiny.experiment(base, data, model__quantise=kind)
    planned, built = draw(config, ("a", "b")), build(config, ("a", "b"), seed=0)

    def sizes(tree):
        return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)

    assert sizes(planned.frozen) == sizes(built.frozen)
    assert sizes(planned.trainable) == sizes(built.trainable)
    assert planned.labels == built.labels


# Work and time


def test_an_epoch_has_the_batches_of_the_first_one(base, data, tmp_path):
    config = tiny.experiment(base, data, **CHEAP, train__epochs=3)
    loop, found = make_loop(config, tmp_path), plan(config, rate_tflops=1.0)
    assert found.examples == len(loop.train.encoded)
    assert (found.work.steps_per_epoch, found.work.steps) == (loop.steps_per_epoch, loop.total)
    batches = [loop._batch(number) for number in range(loop.steps_per_epoch)]
    assert len({plan.length for plan, _ in batches}) == 2
    assert any("grid" in batch for _, batch in batches)
    size = config.train.batch_size
    done = [
        operations(loop.system, size, plan.length, batch["ids"].size if "grid" in batch else None)
        for plan, batch in batches
    ]
    assert found.work.epoch == sum(done)
    assert found.work.step == operations(loop.system, size, 32) > max(done)
    assert found.work.run == 3 * found.work.epoch
    assert found.rate == 1e12


def operations(built, texts, length, tokens=None):
    leaves = {**built.trainable, **built.frozen}
    sizes = {path: leaf.size for path, leaf in leaves.items()}
    trained = {path: label != peft.FROZEN for path, label in built.labels.items()}
    return step_flops(peft.unflatten(built.graphdef, leaves), sizes, trained, texts, length, tokens)


def test_without_data_examples_are_assumed_and_said_to_be(base):
    config = tiny.experiment(base, None, **CHEAP, data__path=None, train__steps=7, train__accumulate=2)
    found = plan(config, rate_tflops=1.0)
    assert (found.examples, found.classes) == (EXAMPLES, 2)
    assert any("no data.path: 1,000 training examples of 32 tokens, 2 labels" in note for note in found.assumptions)
    assert (found.work.steps_per_epoch, found.work.steps) == (63, 7)  # 1000 texts by 16
    assert found.work.epoch == 63 * found.work.step
    assert found.work.run == 7 * found.work.step
    config.data.labels = ("a", "b", "c")
    assert plan(config, rate_tflops=1.0).classes == 3


def test_layers_that_are_recomputed_are_work_once_more(base, data):
    full = [tiny.experiment(base, data, peft__method="full", model__remat=remat) for remat in (False, True)]
    plain, again = (draw(config, tiny.LABELS) for config in full)
    forward = plan_work.step_operations(draw(tiny.experiment(base, data, **CHEAP), tiny.LABELS), 8, 32)
    extra = plan_work.step_operations(again, 8, 32) - plan_work.step_operations(plain, 8, 32)
    assert extra == pytest.approx(forward, rel=0.02)  # training the head alone is hardly more than a forward pass


def test_the_rate_of_products_is_looked_at_for_two_seconds_at_most(monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 0.25))  # a look at the clock takes a quarter of a second
    monkeypatch.setattr(plan_work, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    rate = plan_work._rate_of_products(10**9, 8, 16, "float32", None)
    assert rate == 2 * 128 * 8 * 16 / 0.25  # the second product; a third would have ended after two seconds
    monkeypatch.undo()
    assert plan_work._rate_of_products(200, 8, 16, "bfloat16", None) > 0


def test_the_measured_rate_and_the_share_of_it_are_said(base, data, monkeypatch):
    monkeypatch.setattr("jaxpeft.training.plan.measured_rate", lambda blueprint: 4e12)
    found = plan(tiny.experiment(base, data, **CHEAP))
    assert found.rate == 2e12
    assert any("50% of the 4 TFLOP/s of a plain matrix product" in note for note in found.assumptions)


# Memory


def test_a_card_is_not_charged_for_a_cpus_copy_in_float32(base, data):
    drawn = (
        draw(plans.sized_alike(tiny.experiment(base, data, model__dtype=dtype)), tiny.LABELS)
        for dtype in ("bfloat16", "float32")
    )
    found, wide = (training_memory(one, 8, here=False) for one in drawn)
    key = "activations, temporaries"
    assert found[key] < wide[key]  # by the CPU's own program it is more, before jax 0.12
    assert found["frozen base"] == wide["frozen base"] // 2


def test_a_card_is_not_charged_for_layers_that_a_cpu_has_in_a_row(base, data):
    config = tiny.experiment(base, data, **CHEAP, model__unroll=None)
    assert plan(config, rate_tflops=1.0).training != plan(config, rate_tflops=1.0, memory_gib=1).training
    assert [plans.sized_alike(tiny.experiment(base, data, model__unroll=n)).model.unroll for n in (None, 2)] == [1, 2]


def test_the_largest_batches_are_over_all_devices(base, data):
    config = tiny.experiment(base, data, **CHEAP, parallel="pmap")
    found = plan(config, rate_tflops=1.0, memory_gib=0.002)
    drawn = draw(config, tiny.LABELS)
    assert (found.devices, found.rate) == (4, 4e12)
    memory = {
        "train.batch_size": functools.partial(training_memory, here=False),
        "train.eval_batch_size": functools.partial(evaluation_memory, here=False),
    }
    for name, batch in found.fit.batches.items():
        assert batch % 4 == 0
        fits = batch // 4  # on one device
        used, over = (sum(memory[name](drawn, size).values()) for size in (fits, fits * 11 // 10 + 1))
        assert used <= found.fit.limit < over
    assert found.training == training_memory(drawn, 2, here=False)  # of a batch of 8


def test_a_model_of_130_gigabytes_is_planned_without_taking_them(base, data):
    config = tiny.experiment(base, data, model__ref="shape:llama-2-70b", model__dtype="bfloat16")
    before = sum(array.nbytes for array in jax.live_arrays())
    found = plan(config, rate_tflops=300.0, memory_gib=1.0)
    assert found.training["frozen base"] == 2 * 68_714_504_192
    assert found.fit.batches == {"train.batch_size": 0, "train.eval_batch_size": 0}
    assert sum(array.nbytes for array in jax.live_arrays()) <= before + 2**20


# The command line


def test_a_plan_is_printed_and_nothing_is_written(cli, config_file, tmp_path, monkeypatch):
    file = config_file(**CHEAP)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    code, shown, _ = cli("--mode=plan", f"--config={file}", "--memory_gib=0.01", "--rate_tflops=0.5")
    assert code == 0
    assert sorted(tmp_path.iterdir()) == before
    for fragment in (
        "tiny: head on ",
        "adapter     0 ",
        "head        75 ",
        "memory of a device, MiB",
        "optimizer state",
        "largest batches in 0.01 GiB",
        "train.batch_size ",
        "an epoch: 76 examples, 10 steps",
        "the run: 60 steps",
        "- a step reaches 0.5 TFLOP/s on one device, as given",
    ):
        assert fragment in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.model.ref=shape:gpt-5"], "'shape:gpt-5': no such shape; there are shape:bert-base"),
        (["--config.model.ref=some-group/some-bert"], "model.allow_download=True"),
        (["--config.data.path=/nowhere"], "/nowhere: no such file or folder"),
        (["--config.data.max_length=99"], "data.max_length is 99, but"),
        (["--config.train.epochs=0"], "config.train.epochs is 0"),
        (["--card=abacus"], "--card=abacus: no such card; there are t4-16g"),
        (["--card=t4-16g", "--memory_gib=3"], "--card and --memory_gib are both set"),
        (["--memory_gib=many"], "memory_gib"),
        (["--rate_tflops=0"], "--rate_tflops is 0.0, expected more than 0"),
        (["--rate_tflops=nan"], "--rate_tflops is nan, expected more than 0"),
    ],
)
def test_what_a_plan_cannot_take_is_one_message(cli, config_file, arguments, message):
    code, shown, error = cli("--mode=plan", f"--config={config_file(**CHEAP)}", *arguments)
    assert code == 2
    assert shown == ""
    assert error.startswith("error: ")
    assert message in error
    assert "Traceback" not in error


def test_a_plan_needs_a_config(cli):
    code, _, error = cli("--mode=plan")
    assert code == 2
    assert "--mode=plan needs --config=FILE.py" in error


def test_a_run_refuses_sizes_without_weights_before_it_writes(cli, config_file, tmp_path):
    code, _, error = cli(f"--config={config_file()}", "--config.model.ref=shape:bert-base", f"--workdir={tmp_path}/run")
    assert code == 2
    assert "'shape:bert-base' is sizes without weights: only --mode=plan takes it" in error
    assert not (tmp_path / "run").exists()
