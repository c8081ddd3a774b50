"""The loop over a tiny model: what it records, when it evaluates and compiles, and why it stops."""

import collections
import itertools
import types

import jax
import numpy as np
import pytest

from jaxpeft import runtime
from jaxpeft.data.batches import bucket_lengths
from jaxpeft.data.load import load
from jaxpeft.data.packing import Packing
from jaxpeft.errors import InputError
from jaxpeft.models.bert import BertForSequenceClassification
from jaxpeft.tasks.registry import task_of
from jaxpeft.training import loop as loop_module
from jaxpeft.training import position as position_module
from jaxpeft.training import system
from jaxpeft.training.evaluation import Evaluator, prepare
from jaxpeft.training.loop import Loop, seed_of
from jaxpeft.training.parallel import placement
from jaxpeft.training.progress import Progress
from jaxpeft.training.workdir import Workdir
from tests import tiny

STEPS_PER_EPOCH = 10


def make_loop(config, root):
    splits = load(config.data, seed_of(config, "data"), None, False)
    model = system.build(config, splits.labels, seed=seed_of(config, "init"))
    task = task_of(config, splits.labels)
    train, validation = (prepare(rows, model.encoder, task, None) for rows in (splits.train, splits.validation))
    buckets = bucket_lengths(train.encoded.lengths, config.data.buckets, config.data.max_length)
    place = placement(config.parallel, (config.train.batch_size,), config.mesh)
    packing, virtual = None, model.prompt_length()
    if config.data.packing:
        lengths = train.encoded.lengths
        size, passes = config.train.batch_size, config.train.accumulate
        packing = Packing.of(lengths, buckets, size, passes=passes, parts=place.parts, virtual=virtual)
    packs = virtual if config.data.packing else None
    root.mkdir(exist_ok=True)
    return Loop(
        config,
        model,
        task,
        train,
        validation,
        buckets=buckets,
        placement=place,
        evaluator=Evaluator(model.graphdef, place, buckets, config.train.eval_batch_size, packs),
        packing=packing,
        workdir=Workdir(root),
        progress=Progress(),
        memory=runtime.PeakMemory(),
    )


CHEAP = {"peft__method": "head", "data__buckets": 1, "train__checkpoint_every": None}
STANDSTILL = {"train__learning_rate": 1e-30}  # nothing ever improves


@pytest.fixture(scope="module")
def head_only(tmp_path_factory, data):
    """The experiment that compiles fastest."""
    quiet = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "num_hidden_layers": 1}
    folder = tiny.write_base(tmp_path_factory.mktemp("base"), tiny.tensors(num_hidden_layers=1), **quiet)
    return lambda **changes: tiny.experiment(folder, data, **{**CHEAP, **STANDSTILL, **changes})


def test_each_epoch_takes_every_example_once_in_an_order_of_its_own(head_only, tmp_path):
    loop = make_loop(head_only(train__batch_size=4, train__accumulate=2, data__packing=False), tmp_path)
    orders = []
    for epoch in range(2):
        plans, batches = zip(
            *(loop._batch(epoch * STEPS_PER_EPOCH + step) for step in range(STEPS_PER_EPOCH)), strict=True
        )
        orders.append(np.concatenate([plan.examples for plan in plans]))
        assert sorted(orders[-1]) == list(range(76))
        assert sum(batch["weight"].sum() for batch in batches) == 76
        assert {batch["ids"].shape for batch in batches} == {(2, 4, 32)}
    assert list(orders[0]) != list(orders[1])


def test_it_stops_at_the_limit_of_steps_and_evaluates_there(head_only, tmp_path):
    outcome = make_loop(head_only(train__steps=13), tmp_path).run()
    assert (outcome.position.step, outcome.position.stopped) == (13, "steps")
    records = Workdir(tmp_path).read_metrics()
    assert [record["step"] for record in records] == list(range(1, 14))
    assert [record["step"] for record in records if "validation" in record] == [10, 13]


def test_it_stops_when_nothing_improved_for_the_patience(head_only, tmp_path):
    outcome = make_loop(head_only(train__patience=2, train__eval_every=3), tmp_path).run()
    assert (outcome.position.step, outcome.position.stopped) == (9, "patience")
    assert outcome.position.best_step == 3
    assert outcome.tested_step == 3


def test_it_stops_when_the_seconds_are_used_up(head_only, tmp_path, monkeypatch):
    ticks = itertools.count()
    clock = types.SimpleNamespace(perf_counter=lambda: next(ticks), monotonic=lambda: 0.0, time=lambda: 0.0)
    monkeypatch.setattr(loop_module, "time", clock)
    monkeypatch.setattr(position_module, "time", clock)
    outcome = make_loop(head_only(train__seconds=12.0, data__packing=False), tmp_path).run()
    assert outcome.position.stopped == "seconds"
    assert 5 < outcome.position.step < 20
    assert outcome.position.train_seconds >= 12
    assert Workdir(tmp_path).read_metrics()[-1].keys() >= {"validation"}


def test_it_tests_the_best_step_or_the_last(head_only, tmp_path):
    rising = {"train__learning_rate": 1e-3, "train__steps": 6, "train__eval_every": 2}
    best, last = (make_loop(head_only(train__test_on=kind, **rising), tmp_path / kind) for kind in ("best", "last"))
    for one in (best, last):
        one._keep_best = types.MethodType(keep_first, one)
    found_best, found_last = best.run(), last.run()
    assert (found_best.tested_step, found_last.tested_step) == (2, 6)
    kernels = [np.asarray(found.trainable["classifier.kernel"]) for found in (found_best, found_last)]
    assert not np.array_equal(*kernels)
    np.testing.assert_array_equal(kernels[1], last.trainable["classifier.kernel"])


def keep_first(self, values):
    if self.position.best_step == 0:
        Loop._keep_best(self, values)


def test_an_update_that_spoils_the_model_where_it_is_evaluated_is_a_divergence_too(head_only, tmp_path):
    loop = make_loop(head_only(train__steps=2), tmp_path)
    loop.evaluator.logits = lambda trainable, frozen, examples: np.full((len(examples), 3), np.nan)
    with pytest.raises(position_module.DivergenceError, match=r"not finite at step 2: lower train\.learning_rate"):
        loop.run()


def test_a_loss_that_is_no_number_stops_at_its_step_and_keeps_earlier_checkpoints(head_only, tmp_path):
    exploding = {"train__learning_rate": 3e38, "train__warmup_ratio": 1.0, "train__clip": None}
    config = head_only(**exploding, train__checkpoint_every=1)
    with pytest.raises(InputError) as raised:
        make_loop(config, tmp_path).run()
    logged = Workdir(tmp_path).read_metrics()
    assert logged
    assert all(np.isfinite(record["loss"]) for record in logged)
    step = logged[-1]["step"] + 1
    assert f"at step {step}:" in str(raised.value)
    assert max(int(folder.name) for folder in Workdir(tmp_path).checkpoints.iterdir()) == step - 1
    again = make_loop(config, tmp_path)
    with pytest.raises(InputError, match=f"at step {step}:"):
        again.run()


def test_seeds_share_a_program_so_that_one_compilation_serves_them_all(base, data, tmp_path):
    def program(seed):
        loop, programs = make_loop(tiny.experiment(base, data, seed=seed, data__buckets=1), tmp_path / str(seed)), []

        def lowered(*arguments):
            programs.append(step._function.lower(*arguments).as_text())
            raise KeyboardInterrupt

        step, loop.step_function = loop.step_function, lowered
        with pytest.raises(KeyboardInterrupt):
            loop.run()
        loop.checkpoints.close()
        return programs

    assert program(1) == program(2)


def test_frozen_leaves_stay_as_they_were_and_each_mode_is_traced_once_a_bucket(base, data, tmp_path, monkeypatch):
    traces = collections.Counter()
    original = BertForSequenceClassification.__call__

    def counted(self, ids, *arguments, seeds=None, **others):
        traces[ids.shape, seeds is not None] += 1
        return original(self, ids, *arguments, seeds=seeds, **others)

    monkeypatch.setattr(BertForSequenceClassification, "__call__", counted)
    loop = make_loop(tiny.experiment(base, data, data__packing=False), tmp_path)
    before = {path: np.array(leaf) for path, leaf in loop.system.frozen.items()}
    started = {path: np.array(leaf) for path, leaf in loop.system.trainable.items()}
    outcome = loop.run()
    assert outcome.position.step == 6 * STEPS_PER_EPOCH
    assert len(loop.buckets) > 1
    assert set(traces.values()) == {1}
    assert len(traces) <= 2 * len(loop.buckets)
    assert loop.placement.compilations == len(traces)
    for path, leaf in before.items():
        np.testing.assert_array_equal(np.asarray(loop.frozen[path]), leaf, err_msg=path)
    for path, leaf in started.items():
        assert not np.array_equal(np.asarray(loop.trainable[path]), leaf), path


def test_an_optimizer_step_accumulates_what_it_is_told_to(head_only, tmp_path):
    rising = {"train__learning_rate": 1e-2, "train__steps": 4}
    one = make_loop(head_only(**rising), tmp_path / "one").run()
    config = head_only(train__batch_size=2, train__accumulate=4, **rising)
    four = make_loop(config, tmp_path / "four").run()
    assert one.position.examples == four.position.examples
    losses = [[record["loss"] for record in Workdir(tmp_path / name).read_metrics()] for name in ("one", "four")]
    np.testing.assert_allclose(losses[0], losses[1], atol=1e-5)


def test_operations_are_those_of_the_batches_at_their_padded_lengths(head_only, tmp_path):
    cut = {"train__steps": 13, "train__batch_size": 4, "train__accumulate": 2, "data__buckets": 2}
    config = head_only(**cut, data__packing=False)
    loop = make_loop(config, tmp_path)
    lengths = [loop.plan(step).length for step in range(13)]
    assert len(set(lengths)) == 2
    assert loop.run().position.flops == sum(loop.system.step_flops(8, length) for length in lengths)


def test_operations_of_several_devices_and_processes_are_counted_once(head_only, tmp_path):
    loop = make_loop(head_only(parallel="sharded", train__batch_size=4, train__accumulate=2), tmp_path)
    needed = loop.system.step_flops(8, 32)
    assert loop._flops(loop._batch(0)[1]) == needed
    loop.placement._own_parts = loop.placement._own_parts[:2]  # as if another process had the other two devices
    half = loop._batch(0)[1]
    assert half["ids"].shape == (2, 2, 32)
    assert loop._flops(half) == needed


def test_all_devices_lead_where_one_does(head_only, tmp_path):
    rising = {"train__learning_rate": 1e-2, "train__epochs": 1}
    found = {}
    for name in ("jit", "pmap"):
        loop = make_loop(head_only(parallel=name, **rising), tmp_path / name)
        assert loop.placement.parts == (4 if name == "pmap" else 1)
        outcome = loop.run()
        logits = loop.evaluator.logits(loop.trainable, loop.frozen, loop.validation)
        found[name] = [record["loss"] for record in Workdir(tmp_path / name).read_metrics()], logits, outcome.trainable
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found["pmap"], found["jit"])
