"""The peer: torch + transformers + PEFT, trained as their users train it, on token ids that both sides share."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import peft
import torch
import transformers

from jaxpeft.config import Config
from jaxpeft.tasks.registry import TASKS

TARGETS = {"lora": ["query", "value"], "ia3": ["key", "value", "output.dense"]}
HEADS = {  # our head -> theirs, and what PEFT calls it
    "sequence_classification": (transformers.AutoModelForSequenceClassification, "SEQ_CLS"),
    "token_classification": (transformers.AutoModelForTokenClassification, "TOKEN_CLS"),
}
NO_LABEL = -100  # of a token that the loss leaves out


class TorchPeer:
    """A classifier of texts or of tokens with PEFT's adapter (or none, for full fine-tuning) and AdamW."""

    def __init__(self, folder: Path, config: Config, classes: int, total_steps: int, seed: int):
        torch.manual_seed(seed)
        transformers.logging.set_verbosity_error()
        head, task_type = HEADS[TASKS[config.task].head]
        model = self._adapted(head.from_pretrained(folder, num_labels=classes), config, task_type)
        self._prepare(model, config, total_steps)

    def _prepare(self, model: torch.nn.Module, config: Config, total_steps: int) -> None:
        """The optimizer, fused as the trainer's default is, and schedule of a model's trained parameters."""
        self.model, settings = model, config.train
        trained = [(name, value) for name, value in self.model.named_parameters() if value.requires_grad]
        plain = [value for name, value in trained if name.endswith("bias") or "LayerNorm" in name]
        matrices = [value for name, value in trained if not (name.endswith("bias") or "LayerNorm" in name)]
        groups = [{"params": matrices}, {"params": plain, "weight_decay": 0.0}]
        rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self.optimizer = torch.optim.AdamW(groups, **rates, fused=True)
        warmup = round(settings.warmup_ratio * total_steps)
        self.schedule = transformers.get_linear_schedule_with_warmup(self.optimizer, warmup, total_steps)
        self.clip = settings.clip
        self.parameters = [value for _, value in trained]

    @staticmethod
    def _adapted(model: torch.nn.Module, config: Config, task_type: str) -> torch.nn.Module:
        if config.peft.method == "full":
            return model
        if config.peft.method == "ia3":
            kind = peft.IA3Config(
                task_type=task_type, target_modules=TARGETS["ia3"], feedforward_modules=["output.dense"]
            )
        else:
            lora = config.peft.lora
            kind = peft.LoraConfig(
                task_type=task_type,
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=TARGETS["lora"],
            )
        return peft.get_peft_model(model, kind)

    def train_step(self, ids: Sequence[np.ndarray], labels: np.ndarray | Sequence[np.ndarray]) -> float:
        """One optimizer step on a batch of token ids; returns the loss, which waits for the step.

        `labels` is a label a text [B], or the labels of each text's tokens, some of them NO_LABEL.
        """
        self.model.train()
        if isinstance(labels[0], np.ndarray):
            labels = padded(labels, NO_LABEL)
        loss = self.model(**pad(ids), labels=torch.tensor(labels).long()).loss
        loss.backward()
        if self.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss.item()

    def logits(self, ids: Sequence[np.ndarray], *, by_length: bool = True) -> list[np.ndarray]:
        """The logits of each text [C], or of its tokens [T, C], in batches sorted by length, or in the texts' order."""
        self.model.eval()
        order = np.argsort([len(one) for one in ids]) if by_length else np.arange(len(ids))
        found: list[np.ndarray] = [np.empty(0)] * len(ids)
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                chunk = order[start : start + 64]
                for example, logits in zip(
                    chunk, self.model(**pad([ids[i] for i in chunk])).logits.numpy(), strict=True
                ):
                    found[example] = logits if logits.ndim == 1 else logits[: len(ids[example])]
        return found


def pad(ids: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
    """Dynamic padding to the longest of the batch, as `DataCollatorWithPadding` does it."""
    mask = padded([np.ones(len(one), np.int64) for one in ids], 0)
    return {"input_ids": torch.from_numpy(padded(ids, 0)), "attention_mask": torch.from_numpy(mask)}


def padded(rows: Sequence[np.ndarray], filling: int) -> np.ndarray:
    """Rows of different lengths as one array."""
    whole = np.full((len(rows), max(map(len, rows))), filling, np.int64)
    for number, row in enumerate(rows):
        whole[number, : len(row)] = row
    return whole


def random_batches(count: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """The default of transformers' trainer: a shuffled epoch cut into batches, over and over."""
    generator = np.random.default_rng(seed)
    while True:
        order = generator.permutation(count)
        yield from (order[start : start + size] for start in range(0, count, size))


def grouped_batches(lengths: np.ndarray, size: int, seed: int) -> Iterator[np.ndarray]:
    """Its `group_by_length` (`LengthGroupedSampler`): within random stretches of batches, the longest text first.

    A stretch is a quarter of the epoch's batches, 50 at most; the longest text of all stands at the very front.
    """
    generator = np.random.default_rng(seed)
    stretch = (min(len(lengths) // (4 * size), 50) or 1) * size
    while True:
        order = generator.permutation(len(lengths))
        stretches = [order[start : start + stretch] for start in range(0, len(order), stretch)]
        stretches = [part[np.argsort(-lengths[part], kind="stable")] for part in stretches]
        longest = max(stretches, key=lambda part: lengths[part[0]])
        stretches[0][0], longest[0] = longest[0], stretches[0][0]
        by_length = np.concatenate(stretches)
        yield from (by_length[start : start + size] for start in range(0, len(by_length), size))
