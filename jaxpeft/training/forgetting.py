"""Forgetting: what the adapted encoder has lost of what its base knew.

Where the checkpoint has the head that the base was pretrained with, that head reads both encoders, the untouched one
and the tested step's, on the same places of the same texts. Its loss is in nats a word piece:
    masked_lm_loss   15 % of each text's word pieces are hidden, and it says which stand there
    next_token_loss  it says which comes next at every place (Llama)
A hidden piece is always the mask token. Pretraining leaves a tenth of them as they are and swaps another tenth, so
that states of unhidden words learn something too; here that would only mix copying into the figure.
The head is the base's, as it was: with full fine-tuning its tied decoder too is the base's table of words.

Where there is no such head (a sentence encoder's is thrown away) it is how far the encoder's own states have moved:
    hidden_drift     1 - the mean cosine of each word piece's last hidden states, before and after; 0 is no change
"""

import dataclasses
import functools
from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxpeft import peft
from jaxpeft.config import Config
from jaxpeft.data.batches import MULTIPLE
from jaxpeft.data.tokenise import Encoded
from jaxpeft.errors import InputError
from jaxpeft.models import pretrained
from jaxpeft.models.language_head import LanguageHead, read_language_head
from jaxpeft.training import system
from jaxpeft.training.parallel import Placement

MASKED, NEXT, DRIFT = "masked_lm_loss", "next_token_loss", "hidden_drift"
SHARE = 0.15  # of the word pieces are hidden (Devlin et al. 2019)
LONGEST = 128  # tokens of a text that are read
ROWS = 16  # texts a forward pass: a vocabulary of logits for each of its places fits anywhere
SEED = 0  # not the run's: runs on the same texts are asked the same
_MASKS = ("[MASK]", "<mask>")


@dataclasses.dataclass(frozen=True)
class Questions:
    """What both encoders are asked, of N texts in rows of T tokens, at up to M places each.

    ids int32, mask bool and segments int32 (None without pairs) [N, T]; places int32, words int32 (which stand or
    come there) and asked bool (False: not a place, but what fills the row) [N, M].
    """

    ids: np.ndarray
    mask: np.ndarray
    segments: np.ndarray | None
    places: np.ndarray
    words: np.ndarray
    asked: np.ndarray


def measure(config: Config, model: system.System, trainable: peft.Tree, validation: Encoded) -> dict[str, Any] | None:
    """`kind`, `before`, `after`, `texts` and `tokens` (places asked) as result.json has them.

    `trainable` are the leaves of the tested step on the host or one device. None where `diagnostics.forgetting_texts`
    is 0; where it cannot be measured `kind` is None and `reason` says why. Never raises: a finished run has its result.
    """
    if not config.diagnostics.forgetting_texts:
        return None
    try:
        return _measured(config, model, trainable, validation)
    except InputError as error:
        return {"kind": None, "reason": str(error)}
    except Exception as error:  # the run is trained: whatever goes wrong here, out of memory above all, is not its end
        return {"kind": None, "reason": type(error).__name__}


def _measured(config: Config, model: system.System, trainable: peft.Tree, validation: Encoded) -> dict[str, Any]:
    if config.mesh.model > 1 or config.mesh.fully_sharded:
        raise InputError("the base is split over devices, and forgetting is measured on one")
    structure, leaves = _base(config, model, trainable)
    kind, head, mask_id = _ability(config, model, peft.unflatten(structure, leaves))
    special = [id for id, token in model.encoder.tokenizer.get_added_tokens_decoder().items() if token.special]
    asked = questions(validation, config.diagnostics.forgetting_texts, kind, special, mask_id)
    tokens = int(asked.asked.sum())
    if not tokens:
        raise InputError("no validation text has a word piece to ask for")
    put = Placement().replicate
    head, before, after = put(head), put(leaves), put({**trainable, **model.frozen})
    totals = np.zeros(2)
    for batch in _batches(asked):
        states = _states(structure, before, batch), _states(model.graphdef, after, batch)
        totals += _sums(*states, head, batch)
    if not np.isfinite(totals).all():
        raise InputError("it is no number: the states overflow")
    first, last = (totals / tokens).tolist()
    return {"kind": kind, "before": first, "after": last, "texts": len(asked.ids), "tokens": tokens}


def _base(config: Config, model: system.System, trainable: peft.Tree) -> tuple[Any, peft.Tree]:
    """The base without its adapters; read again where training has overwritten values of its encoder."""
    graphdef, leaves = _detached(model.graphdef, {**trainable, **model.frozen})
    head = peft.unflatten(graphdef, leaves).head_layers
    own = {path for path in map(peft.base_path, trainable) if path in leaves and path.split(".")[0] not in head}
    if not own:
        return graphdef, leaves
    again = system.build(config, model.classes, seed=0, new=model.new_tensors)
    if again.base_sha256 != model.base_sha256:
        raise InputError(f"model.ref {config.model.ref!r} holds other tensors than when the run began")
    return _detached(again.graphdef, {**again.trainable, **again.frozen})


def _detached(graphdef: Any, leaves: peft.Tree) -> tuple[Any, peft.Tree]:
    return peft.flatten(peft.detach(peft.unflatten(graphdef, leaves)))


def _ability(config: Config, model: system.System, base: Any) -> tuple[str, LanguageHead | None, int | None]:
    """What can be measured of this base: its kind, and what that takes of a head and the id of a mask."""
    folder = pretrained.resolve(config.model.ref, allow_download=config.model.allow_download)
    checkpoint = pretrained.Checkpoint(folder, base, config.model.keep_layers)
    head = read_language_head(base, pretrained.read_config(folder), checkpoint)
    if head is not None and not head.masked:
        return NEXT, head, None
    mask_id = next((id for name in _MASKS if (id := model.encoder.tokenizer.token_to_id(name)) is not None), None)
    return (DRIFT, None, None) if head is None or mask_id is None else (MASKED, head, mask_id)


def questions(encoded: Encoded, texts: int, kind: str, special: Collection[int], mask_id: int | None) -> Questions:
    """What is asked of up to `texts` examples, drawn by a seed of its own. `special` are ids that nobody asks for."""
    generator = np.random.default_rng(SEED)
    chosen = np.sort(generator.permutation(len(encoded))[:texts])
    lengths = np.minimum(encoded.lengths[chosen], LONGEST)
    shape = (len(chosen), -(-int(lengths.max()) // MULTIPLE) * MULTIPLE)
    ids, words, segments = (np.zeros(shape, np.int32) for _ in range(3))
    mask = np.arange(shape[1]) < np.maximum(lengths, 1)[:, None]  # padding alone would have nothing to attend to
    asked = np.zeros(shape, bool)
    for row, (start, length) in enumerate(zip(encoded.starts[chosen], lengths, strict=True)):
        ids[row, :length] = encoded.ids[start : start + length]
        words[row, : length - (kind == NEXT)] = encoded.ids[start + (kind == NEXT) : start + length]
        if encoded.segments is not None:
            segments[row, :length] = encoded.segments[start : start + length]
        asked[row, : length - (kind == NEXT)] = True  # nothing comes after the last
    asked &= ~np.isin(words, list(special))
    if kind == MASKED:
        asked = np.stack([_some_of(one, generator) for one in asked])
        ids = np.where(asked, np.int32(mask_id or 0), ids)
    places = np.argsort(~asked, axis=1, kind="stable")[:, : max(int(asked.sum(axis=1).max()), 1)]  # those asked first
    words, asked = (np.take_along_axis(values, places, axis=1) for values in (words, asked))
    return Questions(ids, mask, None if encoded.segments is None else segments, places.astype(np.int32), words, asked)


def _some_of(askable: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A share of the places, one at least where there is any."""
    places = np.flatnonzero(askable)
    count = min(max(round(SHARE * len(places)), 1), len(places))
    chosen = np.zeros_like(askable)
    chosen[generator.choice(places, count, replace=False)] = True
    return chosen


def _batches(asked: Questions) -> Iterator[Questions]:
    """The rows in batches of one shape: what the last lacks is filled up with rows that are asked for nothing."""
    for start in range(0, len(asked.ids), ROWS):
        rows = np.arange(start, start + ROWS)
        real = rows < len(asked.ids)
        rows = np.where(real, rows, start)
        columns: dict[str, Any] = {name: None if one is None else one[rows] for name, one in vars(asked).items()}
        yield Questions(**columns | {"asked": asked.asked[rows] & real[:, None]})


def _sums(before: jax.Array, after: jax.Array, head: LanguageHead | None, asked: Questions) -> tuple[float, float]:
    """Before and after: losses of the head, or without one what cosines lack to 1, summed over the places asked."""
    if head is None:
        return 0.0, float(_drift(before, after, asked.asked))
    return float(_losses(head, before, asked.words, asked.asked)), float(_losses(head, after, asked.words, asked.asked))


def _states(structure: Any, leaves: peft.Tree, asked: Questions) -> jax.Array:
    """Last hidden states [B, M, D] at the places of a batch; dropout is off, virtual tokens are passed over."""
    inputs = {name: getattr(asked, name) for name in ("ids", "mask", "segments")}
    return _encode(structure, leaves, inputs, asked.places)


@functools.partial(jax.jit, static_argnums=0)  # one program for all that have this structure: members, full's two
def _encode(structure: Any, leaves: peft.Tree, inputs: dict[str, jax.Array], places: jax.Array) -> jax.Array:
    x, _ = peft.unflatten(structure, leaves).encode(**inputs)
    return jnp.take_along_axis(x[:, -inputs["ids"].shape[1] :], places[..., None], axis=1)


@jax.jit
def _losses(head: LanguageHead, states: jax.Array, words: jax.Array, asked: jax.Array) -> jax.Array:
    return jnp.where(asked, head.losses(states, words), 0.0).sum()


@jax.jit
def _drift(before: jax.Array, after: jax.Array, asked: jax.Array) -> jax.Array:
    before, after = before.astype(jnp.float32), after.astype(jnp.float32)
    norms = jnp.linalg.norm(before, axis=-1) * jnp.linalg.norm(after, axis=-1)
    cosines = (before * after).sum(axis=-1) / jnp.maximum(norms, 1e-12)
    return jnp.where(asked, 1.0 - cosines, 0.0).sum()
