"""The search of Taylor et al. 2024 (arXiv 2402.10597): 20 trials a model and rank on mortality, by macro-AUROC.

    python -m jaxpeft.study.search --config=configs/search/paper.py --workdir=searches/paper --corpus=mimic3=DIR

LoRA at five ranks and IA3, four models, by the paper's space and protocol; the models are fetched from the hub. The
best of each is retrained on three seeds that no trial had.
"""

from jaxpeft.study.models import PROTOCOL, TINY_RULE, choices
from jaxpeft.study.search.design import PAPER, Search


def get_search() -> Search:
    """Twenty-four systems, 480 trials."""
    searched = ("peft.lora.rank", "peft.lora.alpha", "peft.lora.dropout")
    return Search(
        name="paper",
        question="How good is each method at its best settings, by the paper's search?",
        axes={
            "model": choices("BioBERT", "BioDistilBERT", "BioMobileBERT", "TinyBioBERT"),
            "method": ("lora", "ia3"),
            "rank": (8, 16, 32, 64, 128),
            "task": ("mimic_mortality",),
        },
        spaces=PAPER,
        fields={
            **{field: value for field, value in PROTOCOL.items() if field not in searched},
            "model.allow_download": True,
            "data.format": "mimic3",
            "data.protocol": "paper",
            "train.select_metric": "auroc_macro",
        },
        rules=(TINY_RULE,),
        trials=20,
    )
