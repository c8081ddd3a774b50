"""The part of the paper's study that needs one corpus: four models on the three tasks of MIMIC-III.

    python -m jaxpeft.study --config=configs/study/first_three.py --workdir=studies/first_three --corpus=mimic3=DIR

A biomedical model of each size by full fine-tuning, LoRA and IA3, three seeds, by the fixed protocol: 108 runs. The
models are fetched from the hub.
"""

from jaxpeft.study.design import Grid, Study, TaskSize
from jaxpeft.study.models import METHOD_RULES, PROTOCOL, TINY_RULE, choices

SIZES = {"mimic_mortality": (33_954, 2), "mimic_los": (30_421, 4), "mimic_triage": (9_559, 7)}


def get_study() -> Study:
    """The grid."""
    return Study(
        name="first_three",
        question="How much of full fine-tuning do LoRA and IA3 keep on notes of MIMIC-III, for what cost?",
        experiments={
            "main": Grid(
                {
                    "model": choices("BioBERT", "BioDistilBERT", "BioMobileBERT", "TinyBioBERT"),
                    "method": ("full", "lora", "ia3"),
                    "task": tuple(SIZES),
                    "seed": (12, 34, 56),
                }
            )
        },
        fields={**PROTOCOL, "train.test_on": "best", "model.allow_download": True, "data.format": "mimic3"},
        rules=(*METHOD_RULES, TINY_RULE),
        prices={"h100": 3.00, "a100": 1.80, "t4": 0.50, "cpu": 0.10},
        price_source="assumed, USD an hour of a machine: put your own here",
        reference={"model": "BioBERT", "method": "full"},
        sizes={task: TaskSize(*size) for task, size in SIZES.items()},
    )
