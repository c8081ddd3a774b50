"""Cross-entropy as a sum over labelled answers, focused on the hard ones or balanced over classes if that is wanted.

The loss of a step is this sum over the sum of weights, so it does not depend on how a batch is cut.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax

_SMALLEST = 1e-12  # a chance of error below this counts as this: powers below 1 have no slope at 0


def loss_sum(logits: jax.Array, batch: Mapping[str, jax.Array], *, focal_gamma: float = 0.0) -> jax.Array:
    """The sum over all answers of weight x (1 - p)^gamma x -log p, p being the probability of the label.

    logits [..., C]; `label` and `weight` of the batch [...], padding weighs 0. gamma 0 is plain cross-entropy, more
    makes less of what is answered well already (Lin et al. 2017, equation 4).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    if focal_gamma:
        losses *= jnp.maximum(-jnp.expm1(-losses), _SMALLEST) ** focal_gamma
    return (losses * batch["weight"]).sum()


def balanced(label: np.ndarray, weight: np.ndarray, classes: int) -> np.ndarray:
    """The weights [...] scaled so that every class that occurs weighs the same and the sum stays what it was."""
    totals = np.bincount(label.ravel(), weights=weight.ravel(), minlength=classes)
    scale = totals.sum() / (np.count_nonzero(totals) * np.where(totals > 0, totals, np.inf))
    return (weight * scale[label]).astype(np.float32)
