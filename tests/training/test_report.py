"""The table that a finished run prints."""

from jaxpeft.training.report import final_table

RESULT = {
    "method": "lora",
    "peft_params": 1200,
    "head_params": 300,
    "trainable_params": 1500,
    "total_params": 1_000_000,
    "steps": 400,
    "best_step": 200,
    "tested_step": 300,
    "metrics": {
        "validation": {
            "accuracy": {"value": 0.9, "low": 0.85, "high": 0.95},
            "auroc_macro": {"value": None, "low": None, "high": None},
        },
        "test": {
            "accuracy": {"value": 0.875, "low": 0.8, "high": 0.9},
            "auroc_macro": {"value": 0.5, "low": None, "high": None},
        },
    },
    "majority": {
        "validation": {"accuracy": 0.5, "auroc_macro": None},
        "test": {"accuracy": 0.25, "auroc_macro": 0.5},
    },
    "few_clusters": True,
    "per_class": {
        "test": [
            {"name": "no", "support": 30, "predicted": 29, "precision": 1.0, "recall": 0.9, "f1": 0.95, "auroc": 0.5,
             "auprc": None},
        ]
    },
    "timing": {"train_s": 12.34, "compile_s": 3.0, "eval_s": 1.5, "examples_per_s": 250.0},
    "memory": {"peak_bytes": 512 * 2**20, "device": "cpu", "how": "resident memory"},
}  # fmt: skip

EXPECTED = """\
metric       validation            majority  test                  majority
---------------------------------------------------------------------------
accuracy     0.900 [0.850, 0.950]  0.500     0.875 [0.800, 0.900]  0.250
auroc_macro  -                     -         0.500                 0.500
Fewer than 100 patients, documents or rows to resample: the intervals are too narrow.

class (test)  support  predicted  precision  recall  f1     auroc  auprc
------------------------------------------------------------------------
no            30       29         1.000      0.900   0.950  0.500  -

parameters  1,500 of 1,000,000 trained (0.15%): 1,200 lora, 300 head
steps       400, tested at step 300
time        12.3 s training (250.0 examples/s), 3.0 s compilation, 1.5 s evaluation
memory      512 MiB at the peak (cpu)
"""


def test_the_whole_table():
    assert final_table(RESULT) == EXPECTED


def test_of_which_split_the_intervals_are_too_narrow_is_said():
    told = final_table({**RESULT, "clusters": {"validation": 17, "test": 256}})
    assert "to resample: the intervals of validation (17) are too narrow." in told
    assert "too narrow" not in final_table({**RESULT, "clusters": {"validation": 100, "test": 256}})


def test_what_a_result_lacks_is_left_out():
    few = {**RESULT, "metrics": {"test": RESULT["metrics"]["test"]}, "few_clusters": False}
    del few["per_class"], few["memory"]
    table = final_table(few)
    assert table.startswith("metric       test                  majority\n---")
    for word in ("validation", "Fewer", "class", "memory"):
        assert word not in table
