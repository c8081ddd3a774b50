"""The study of Taylor et al. 2024 (arXiv 2402.10597) on the corpora themselves, by its protocol and by a fixed one.

    python -m jaxpeft.study --config=configs/study/paper.py --workdir=studies/paper --dry_run
    python -m jaxpeft.study --config=configs/study/paper.py --workdir=studies/paper --corpus=mimic3=DIR \
        --corpus=i2b2_2010=DIR --corpus=i2b2_2012=DIR --corpus=i2b2_2014=DIR

Fifteen models by full fine-tuning, LoRA and IA3 on seven tasks with three seeds; LoRA's rank with alpha fixed, as the
paper had it, and growing with the rank; few examples; and a budget of time. The models are fetched from the hub.
"""

from jaxpeft.study.design import Choice, Grid, Rule, Study, TaskSize
from jaxpeft.study.models import LARGE, LARGE_RULES, METHOD_RULES, PROTOCOL, TINY_RULE, choices

TASKS = (
    "mimic_mortality",
    "mimic_los",
    "mimic_triage",
    "i2b2_2010_re",
    "i2b2_2010_ner",
    "i2b2_2012_ner",
    "i2b2_2014_deid",
)
MIMIC, I2B2_2010 = TASKS[:3], TASKS[3:5]
FORMATS = {"mimic3": MIMIC, "i2b2_2010": I2B2_2010, "i2b2_2012": (TASKS[5],), "i2b2_2014": (TASKS[6],)}
METHODS = ("full", "lora", "ia3")
PROTOCOLS = ("paper", "fixed")
SEEDS = (12, 34, 56)
SMALL = ("BioDistilBERT", "BioMobileBERT", "TinyBioBERT")
SCALING = (
    Choice("alpha 8", {"peft.lora.alpha": 8.0}),
    Choice("alpha = rank", {"peft.lora.alpha": lambda axes: float(axes["rank"])}),
)
BUDGETS = {2000.0: SMALL, 6000.0: ("BioBERT",), 43200.0: LARGE}
EVERY = {"protocol": PROTOCOLS, "seed": SEEDS}

RULES = (
    *METHOD_RULES,
    TINY_RULE,
    *LARGE_RULES,
    *(Rule({"task": tasks}, f"the corpus {name} itself", {"data.format": name}) for name, tasks in FORMATS.items()),
    Rule({"protocol": "fixed"}, "fixed: the best step is tested; the paper tests the last", {"train.test_on": "best"}),
)


def get_study() -> Study:
    """All experiments."""
    mortality = {"task": ("mimic_mortality",), **EVERY}
    return Study(
        name="paper",
        question="Which model, which method, on which clinical task, for what cost?",
        experiments={
            "main": Grid({"model": choices(), "method": METHODS, "task": TASKS, **EVERY}),
            "rank": Grid(
                {
                    "model": choices("BioBERT", *SMALL),
                    "method": ("lora",),
                    "rank": (8, 16, 32, 64, 128),
                    "scaling": SCALING,
                    **mortality,
                },
                rules=(
                    Rule({"method": "lora"}, "ranks: learning rate 1e-3", {"train.learning_rate": 1e-3}),
                    Rule({"rank": 8, "scaling": "alpha = rank"}, "at rank 8 both alphas are 8", leave_out=True),
                ),
            ),
            "few_shot": Grid(
                {
                    "model": choices("BioBERT", "BioMobileBERT", "distil-biobert", "TinyBioBERT", *LARGE),
                    "method": ("full", "lora"),
                    "few_shot": (16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
                    **mortality,
                },
                {"train.epochs": 10},
            ),
            "budget": Grid(
                {
                    "model": choices("BioBERT", *SMALL, *LARGE),
                    "method": ("full", "lora"),
                    "seconds": tuple(BUDGETS),
                    **mortality,
                },
                {"train.epochs": 100, "train.schedule": "constant", "train.eval_every": 200},
                tuple(
                    Rule({"seconds": other, "model": models}, f"{', '.join(models)}: {own:,.0f} s", leave_out=True)
                    for own, models in BUDGETS.items()
                    for other in BUDGETS
                    if other != own
                ),
            ),
        },
        fields={**PROTOCOL, "model.allow_download": True},
        rules=RULES,
        prices={"h100": 3.00, "a100": 1.80, "t4": 0.50, "cpu": 0.10},
        price_source="assumed, USD an hour of a machine: put your own here",
        reference={"model": "BioBERT", "method": "full"},
        sizes={
            "mimic_mortality": TaskSize(33_954, 2),
            "mimic_los": TaskSize(30_421, 4),
            "mimic_triage": TaskSize(9_559, 7),
            "i2b2_2010_re": TaskSize(22_256, 9),
            "i2b2_2010_ner": TaskSize(14_500, 7),
            "i2b2_2012_ner": TaskSize(7_500, 13),  # lines of 190 documents: a guess
            "i2b2_2014_deid": TaskSize(45_000, 51),  # lines of 790 documents: a guess
        },
    )
