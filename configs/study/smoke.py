"""Every part of a study at toy size: two random models, no download, a few minutes on two CPU cores.

    python -m jaxpeft.study --config=configs/study/smoke.py --workdir=studies/smoke

Three methods on two tasks with two seeds, then a second model, relations, ranks, few examples, time budgets, and the
paper's protocol beside the fixed one. The models know no language, so the scores say nothing; that every run ends and
the report stands does.
"""

from jaxpeft.study.design import Choice, Grid, Rule, Study

TINY_BERT = Choice("tiny-bert", {"model.ref": "random:tiny-bert"})
TINY_DISTILBERT = Choice("tiny-distilbert", {"model.ref": "random:tiny-distilbert"})
ENTITIES, RELATIONS, TRIAGE = "i2b2_2010_ner", "i2b2_2010_re", "mimic_triage"
LORA = {"model": (TINY_BERT,), "method": ("lora",), "task": (TRIAGE,), "seed": (12,)}


def get_study() -> Study:
    """Twenty-one runs: those that two experiments share are one."""
    return Study(
        name="smoke",
        question="Does every part of a study run?",
        experiments={
            "main": Grid(
                {
                    "model": (TINY_BERT,),
                    "method": ("full", "lora", "ia3"),
                    "task": (TRIAGE, ENTITIES),
                    "seed": (12, 34),
                }
            ),
            "models": Grid({**LORA, "model": (TINY_BERT, TINY_DISTILBERT)}),
            "relations": Grid({**LORA, "task": (RELATIONS,)}),
            "rank": Grid({**LORA, "rank": (2, 8, 16)}),
            "few_shot": Grid({**LORA, "few_shot": (4, 16)}),
            "budget": Grid({**LORA, "seconds": (1.0, 3.0)}, {"train.steps": 60}),
            "protocol": Grid({**LORA, "protocol": ("fixed", "paper")}),
        },
        fields={
            "parallel": "jit",
            "data.max_length": 32,
            "data.buckets": 1,
            "data.near_duplicates": False,
            "data.synthetic.documents": 300,
            "train.steps": 12,
            "train.batch_size": 8,
            "train.eval_every": 6,
        },
        rules=(
            Rule({"task": (ENTITIES, RELATIONS)}, "i2b2: 20 documents", {"data.synthetic.documents": 20}),
            Rule({"method": "full"}, "full fine-tuning: learning rate 1e-3", {"train.learning_rate": 1e-3}),
        ),
        prices={"cpu": 0.10},
        price_source="made up",
        reference={"model": "tiny-bert", "method": "full"},
        fresh_process=False,
    )
