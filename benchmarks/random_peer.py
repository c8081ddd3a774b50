"""The peer of `random_models`: the same shapes in torch + transformers + PEFT, on the GPU where there is one.

As its users run it there: base and arithmetic in bfloat16 (autocast), what trains in float32, AdamW in one kernel,
batches from pinned memory. Its loss is not asked for at every step, so that the host may run ahead as ours does.
"""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import peft
import torch
import transformers

from benchmarks.random_models import CLASSES, HORIZON, TARGETS, Case
from benchmarks.torch_peer import TorchPeer, pad
from benchmarks.turns import Work

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class RandomPeer(TorchPeer):
    """A classifier with LoRA and random weights."""

    def __init__(self, case: Case, *, compiled: bool):
        transformers.logging.set_verbosity_error()
        torch.manual_seed(0)
        dtype = getattr(torch, case.dtype)
        sizes = case.sizes()
        kind = sizes.pop("model_type")
        config = transformers.AutoConfig.for_model(kind, **sizes, num_labels=len(CLASSES), pad_token_id=0)
        with torch.device(DEVICE):
            model = transformers.AutoModelForSequenceClassification.from_config(
                config, attn_implementation=case.attention, dtype=dtype
            )
            if case.remat:
                model.gradient_checkpointing_enable({"use_reentrant": False})
            adapted = self._lora(model, case)
        for value in adapted.parameters():
            if value.requires_grad:
                value.data = value.data.float()
        self._prepare(adapted, case.config(), HORIZON)
        self._call = torch.compile(adapted) if compiled else adapted
        self._autocast = torch.autocast(DEVICE, dtype, enabled=dtype != torch.float32)

    @staticmethod
    def _lora(model: torch.nn.Module, case: Case) -> torch.nn.Module:
        lora, kind = case.config().peft.lora, model.config.model_type
        settings = peft.LoraConfig(
            task_type="SEQ_CLS",
            r=lora.rank,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(TARGETS[kind]),
        )
        return peft.get_peft_model(model, settings)

    def step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """One optimizer step; returns the loss on the device."""
        with self._autocast:
            loss = self._call(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()
        return loss.detach()

    def predict(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """The logits of a batch."""
        with torch.inference_mode(), self._autocast:
            return self._call(**batch).logits


def training(case: Case, compiled: bool) -> Work:
    """Steps of LoRA, batches padded and moved on the way."""
    peer = RandomPeer(case, compiled=compiled)
    peer.model.train()
    return _work(peer, case, peer.step, labels=True)


def prediction(case: Case, compiled: bool) -> Work:
    """Forward passes of one batch, dropout off."""
    peer = RandomPeer(case, compiled=compiled)
    peer.model.eval()
    return _work(peer, case, peer.predict, labels=False)


def _work(peer: RandomPeer, case: Case, take: Callable[[Any], torch.Tensor], *, labels: bool) -> Work:
    encoded, target = case.texts(), case.labels()
    ids = np.split(encoded.ids, encoded.starts[1:-1])
    starts, last = itertools.cycle(range(0, len(ids), case.batch)), torch.zeros(())

    def batch() -> dict[str, torch.Tensor]:
        start = next(starts)
        found = pad(ids[start : start + case.batch])
        if labels:
            found["labels"] = torch.from_numpy(target[start : start + case.batch]).long()
        return {name: moved(value) for name, value in found.items()}

    def run(steps: int) -> None:
        nonlocal last
        for _ in range(steps):
            last = take(batch())
        wait()

    def report() -> dict[str, Any]:
        trained = sum(value.numel() for value in peer.parameters)
        return {**memory(), "trained": trained, "mean_of_last": float(last.float().mean())}

    if DEVICE == "cuda":
        torch.cuda.reset_peak_memory_stats()
    return Work(run, case.batch, report=report)


def moved(value: torch.Tensor) -> torch.Tensor:
    """On the device, without waiting for it."""
    return value.pin_memory().to(DEVICE, non_blocking=True) if DEVICE == "cuda" else value


def wait() -> None:
    """Until the device has done what it was given."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def memory() -> dict[str, Any]:
    """The most memory that torch's allocator had given out."""
    return {"peak_bytes": torch.cuda.max_memory_allocated() if DEVICE == "cuda" else None}
