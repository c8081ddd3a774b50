"""What a run cost, by its result and its files, and what of that is unknown."""

import dataclasses

import pytest

from jaxpeft.study.costs import Cost, cost_of, mean_cost, price_of
from jaxpeft.study.store import Run

RESULT = {
    "timing": {"train_s": 360.0},
    "steps": 40,
    "best_step": 10,
    "flops": 10**15,
    "trainable_params": 7,
    "peft_params": 5,
    "total_params": 100,
    "memory": {"peak_bytes": 99},
    "device": {"kind": "NVIDIA H100 80GB HBM3", "count": 1},
}
PRICES = {"a100": 1.0, "h100": 3.0, "cpu": 0.5}


def run(folder, **changes):
    return Run("a", {}, folder, {}, {**RESULT, **changes}, None)


def test_costs_of_a_run_are_its_results(tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_bytes(b"12345")
    assert cost_of(run(tmp_path), PRICES) == Cost(
        seconds=360.0,
        seconds_to_best=90.0,
        money=pytest.approx(0.3),
        memory_bytes=99,
        storage_bytes=5,
        flops=1e15,
        trained=7,
        trained_without_head=5,
        total=100,
        devices=("NVIDIA H100 80GB HBM3 x 1",),
    )


def test_what_a_result_does_not_say_is_unknown(tmp_path):
    assert cost_of(Run("b", {}, tmp_path, {}, None, None), PRICES) == Cost()
    assert cost_of(run(tmp_path, timing=None, memory={"peak_bytes": None}, steps=0), PRICES).money is None
    assert cost_of(run(tmp_path), {"t4": 1.0}).money is None
    assert price_of("cpu x 1", {"h100": 3.0}) is None


def test_a_price_is_of_whole_words_and_the_longest_key_counts():
    assert price_of("NVIDIA L40S", {"l4": 0.7, "l40s": 1.9}) == 1.9
    assert price_of("NVIDIA RTX A1000", {"a100": 1.8}) is None
    assert price_of("NVIDIA A100-SXM4-80GB", {"a10": 0.9, "A100": 1.8, "a100-sxm4-80gb": 2.2}) == 2.2
    assert price_of("Tesla T4", {"t4": 0.4}) == 0.4


def test_every_card_is_paid_and_a_cpu_once(tmp_path):
    cards = {"kind": "NVIDIA H100 80GB HBM3", "count": 4}
    assert cost_of(run(tmp_path, device=cards), PRICES).money == pytest.approx(4 * 0.3)
    assert cost_of(run(tmp_path, device={"kind": "cpu", "count": 4}), PRICES).money == pytest.approx(0.05)


def test_a_task_adds_its_adapter_else_its_model_else_its_best_step_else_its_parameters(tmp_path):
    expected = 4 * RESULT["trainable_params"]
    for size, name in ((1000, "best"), (300, "model"), (20, "adapter")):  # merged: a model beside its adapter
        assert cost_of(run(tmp_path), PRICES).storage_bytes == expected
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_bytes(bytes(size))
        expected = size
    assert cost_of(run(tmp_path), PRICES).storage_bytes == 20
    assert cost_of(run(tmp_path, method="head"), PRICES).storage_bytes == 1000  # its model was merged later


def test_a_system_costs_the_mean_of_the_runs_that_tell(tmp_path):
    found = mean_cost([run(tmp_path), run(tmp_path, flops=None, timing={"train_s": 40.0})], PRICES)
    assert (found.seconds, found.flops, found.devices) == (200.0, 1e15, ("NVIDIA H100 80GB HBM3 x 1",))
    assert mean_cost([], PRICES) == Cost()


def test_a_run_by_jit_pays_for_the_one_device_that_it_used(tmp_path):
    cards = {"kind": "NVIDIA H100 80GB HBM3", "count": 4}
    one = dataclasses.replace(run(tmp_path, device=cards), config={"parallel": "jit"})
    assert cost_of(one, PRICES).money == pytest.approx(0.3)
    assert cost_of(one, PRICES).devices == ("NVIDIA H100 80GB HBM3 x 1",)
