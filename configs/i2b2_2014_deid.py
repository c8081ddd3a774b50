r"""De-identification of i2b2 2014: 30 types of what tells who a patient is, in longitudinal records.

    python -m jaxpeft.main --config=configs/i2b2_2014_deid.py
    python -m jaxpeft.main --config=configs/i2b2_2014_deid.py --workdir=runs/i2b2_2014_deid_own \
        --config.data.format=i2b2_2014 --config.data.path=DIR

Data: the made-up stand-in, 900 documents; the second command reads the corpus itself, in the folders of its owner.
LoRA on MiniLM, a tag a word on its first piece. The shared task scores characters: those are `f1_strict_characters`
and, over the types that HIPAA names, `f1_strict_hipaa_characters`.

Expect on test: strict F1 0.989 [0.987, 0.990], by characters 0.953 [0.948, 0.958], over HIPAA's
types 0.968 [0.963, 0.972]; the most frequent tag of each word has 0.277, 0.268, 0.125. 4 minutes of
training on one core.
"""

from jaxpeft.config import Config


def get_config() -> Config:
    """The experiment."""
    config = Config(name="i2b2_2014_deid", task="token_classification")
    config.data.synthetic.corpus = "i2b2_2014"
    config.data.synthetic.documents = 900
    config.data.max_length = 128
    config.peft.lora.alpha = 16.0
    config.train.epochs = 4
    config.train.batch_size = 16
    config.train.learning_rate = 3e-3
    config.train.head_learning_rate = 1e-2
    return config
