r"""Triage on MIMIC-III: which of seven groups of diagnoses a discharge summary is about.

    python -m jaxpeft.main --config=configs/mimic_triage.py
    python -m jaxpeft.main --config=configs/mimic_triage.py --workdir=runs/mimic_triage_own \
        --config.data.format=mimic3 --config.data.path=DIR

Data: the made-up stand-in, 2,600 admissions; the second command reads the tables themselves.
LoRA on MiniLM.

Expect on test: accuracy 0.842 [0.810, 0.873], macro-F1 0.797 [0.743, 0.841]; the majority answer
has 0.440, 0.087. 7 minutes of training on one core.
"""

from jaxpeft.config import Config


def get_config() -> Config:
    """The experiment."""
    config = Config(name="mimic_triage")
    config.data.synthetic.corpus = "mimic3"
    config.data.synthetic.documents = 2600
    config.data.target = "triage"
    config.data.max_length = 192
    config.peft.lora.alpha = 16.0
    config.train.epochs = 4
    config.train.batch_size = 16
    config.train.learning_rate = 3e-3
    config.train.head_learning_rate = 1e-2
    return config
