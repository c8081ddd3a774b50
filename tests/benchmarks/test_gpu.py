import pickle
import subprocess
import sys

import pytest

from benchmarks import gpu, random_attention, random_models
from benchmarks.random_models import Case
from benchmarks.turns import LeftOutError

MISSING = {"datasets", "ml_collections", "tensorboardX", "qwix", "datasketch", "torch", "transformers", "peft"}


def test_ours_needs_none_of_what_a_machine_for_gpus_may_lack():
    code = f"""
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {MISSING}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Missing())
from benchmarks import gpu, random_models
work = random_models.training(random_models.Case("tinybert", 2, 16, "auto", toy=True))
work.run(2)
assert work.report()["mean_of_last"] > 0
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("part", gpu.PARTS)
def test_every_table_can_be_sent_to_processes(part):
    tables = list(gpu.PARTS[part](False))
    assert tables
    assert len(pickle.dumps([table.sides for table in tables]))
    assert all(case.length in (128, 480) for table in tables for _, case, *_ in table.sides.values())


def test_shares_are_of_a_plain_product_and_of_what_ours_does():
    found = {
        gpu.OURS: {"examples": 4, "operations": 80.0, "examples_per_s": 10.0},
        gpu.TORCH: {"examples": 4, "operations": 0.0, "examples_per_s": 5.0},
        gpu.PRODUCT: {"examples": 4, "operations": 100.0, "step_s": 0.25},
        gpu.COMPILED: {"error": "x"},
    }
    rows = gpu.compared(found, 2.5)
    assert rows[gpu.OURS]["utilisation"] == pytest.approx(0.5)
    assert rows[gpu.TORCH]["utilisation"] == pytest.approx(0.25)
    assert rows[gpu.TORCH]["ours_over_this"] == 2
    assert rows[gpu.TORCH]["paper_examples_per_s"] == 2.5
    assert rows[gpu.PRODUCT]["operations_per_s"] == 400
    assert rows[gpu.COMPILED] == {"error": "x"}


def test_operations_leave_out_what_is_recomputed_and_a_population_has_its_members():
    case = Case("llama-2-7b", 2, 16, "xla", toy=True)
    recomputing = Case("llama-2-7b", 2, 16, "xla", toy=True, remat=True)
    once = random_models.training(case)
    assert random_models.training(recomputing).operations == once.operations
    assert random_models.population(case, 3).operations == 3 * once.operations
    assert random_models.prediction(case).operations < once.operations / 1.9


def test_a_quarter_of_the_texts_is_shorter_and_every_batch_has_a_whole_one():
    lengths = Case("tinybert", 32, 480, "xla").texts().lengths.reshape(-1, 32)
    assert (lengths.max(axis=1) == 480).all()
    assert 0.15 < (lengths < 480).mean() < 0.35


def test_attention_reports_how_far_it_is_from_that_in_float32():
    work = random_attention.ours(Case("bert-base", 2, 16, "xla", toy=True))
    work.run(1)
    differences = work.report()["differences"]
    assert set(differences) == {"output", "query", "key", "value"}
    assert all(0 < difference < 0.05 for difference in differences.values())


def test_what_cudnn_cannot_do_is_left_out_with_the_reason():
    with pytest.raises(LeftOutError, match="NVIDIA GPU"):
        random_models.training(Case("bert-base", 2, 16, "cudnn", toy=True))
