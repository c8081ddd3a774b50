"""LoRA on MiniLM, synthetic discharge summaries, seven diagnosis groups: the first thing to run."""

from jaxpeft.config import Config


def get_config() -> Config:
    """The experiment."""
    config = Config(name="lora_bert")
    config.data.synthetic.documents = 2600
    config.data.max_length = 128
    config.train.epochs = 3
    config.train.learning_rate = 1e-3
    return config
