"""The head that a base was pretrained with against transformers': the same loss of the same hidden words."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers

from jaxpeft.models.language_head import read_language_head
from jaxpeft.models.pretrained import Checkpoint, read_config

from . import peers

MASKED = ("bert", "roberta", "distilbert", "mobilebert")


def head_of(folder):
    model = peers.whole(peers.our_system(folder, "head"))
    return model, read_language_head(model, read_config(folder), Checkpoint(folder, model))


def losses(folder, kind, batch, words, asked):
    """Ours and transformers', one a place that is asked for."""
    model, head = head_of(folder)
    states, _ = model.encode(**{name: batch[name] for name in ("ids", "mask", "segments") if name in batch})
    ours = head.losses(states, jnp.asarray(words))[asked]
    theirs = getattr(transformers, kind).from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = theirs(**peers.torch_inputs(batch)).logits[torch.tensor(asked)]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(words[asked]).long(), reduction="none")
    return ours, expected.numpy()


@pytest.mark.parametrize("changes", [{}, {"tie_word_embeddings": False}], ids=["tied", "untied"])
@pytest.mark.parametrize("model_type", MASKED)
def test_masked_words(tmp_path, model_type, changes):
    folder = peers.tiny_model(tmp_path, model_type, "AutoModelForMaskedLM", **changes)
    batch = peers.batch_for(folder)
    words, asked = batch["ids"], batch["mask"].astype(bool) & (np.arange(13) % 3 == 1)
    batch["ids"] = np.where(asked, 4, words)
    ours, theirs = losses(folder, "AutoModelForMaskedLM", batch, words, asked)
    assert len(ours) > 5
    assert np.ptp(theirs) > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("tied", [False, True])
def test_next_words_of_llama(tmp_path, tied):
    folder = peers.tiny_model(tmp_path, "llama", "AutoModelForCausalLM", tie_word_embeddings=tied)
    batch = peers.batch_for(folder)
    words = np.roll(batch["ids"], -1, axis=1)
    asked = np.roll(batch["mask"], -1, axis=1).astype(bool) & (np.arange(13) < 12)
    ours, theirs = losses(folder, "AutoModelForCausalLM", batch, words, asked)
    np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)


@pytest.mark.parametrize("model_type", [*MASKED, "llama"])
def test_a_classifier_has_none(folder_of, model_type):
    head = head_of(folder_of(model_type, peers.SEQUENCE))[1]
    assert head is None
