"""Every part of a search at toy size: a random model, no download, a few minutes on two CPU cores.

    python -m jaxpeft.study.search --config=configs/search/smoke.py --workdir=searches/smoke

LoRA in the paper's space and IA3 on the stand-in of MIMIC-III, six trials each. The model knows no language, so the
scores say nothing; that trials are drawn, pruned and retrained does.
"""

from jaxpeft.study.design import Choice
from jaxpeft.study.search.design import PAPER, Search


def get_search() -> Search:
    """Two systems, twelve trials, six tested runs."""
    return Search(
        name="smoke",
        question="Does every part of a search run?",
        axes={
            "model": (Choice("tiny-bert", {"model.ref": "random:tiny-bert"}),),
            "method": ("lora", "ia3"),
            "task": ("mimic_triage",),
        },
        spaces=PAPER,
        fields={
            "parallel": "jit",
            "data.max_length": 32,
            "data.buckets": 1,
            "data.near_duplicates": False,
            "data.synthetic.documents": 300,
            "train.steps": 12,
            "train.batch_size": 8,
            "train.eval_every": 3,
        },
        trials=6,
        startup=2,
    )
