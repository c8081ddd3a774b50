"""Temperature scaling: one number, fitted on validation, that brings confidence in line with accuracy.

Logits are divided by T > 0 before the softmax (Guo et al. 2017, "On Calibration of Modern Neural Networks",
section 4.2). No answer changes, and neither does the ranking of two classes; T > 1 says that the model was too sure.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxpeft.tasks.metrics import expected_calibration_error

BOUNDS = (0.05, 20.0)  # of T


def calibration_report(logits: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The temperature that fits the split `validation`, and what it does to every split.

    logits [N, C] and labels [N] (-1 = unseen in training) of each split. Returns `temperature` (None without a
    known label), `at_bound` (it may be anything beyond: the model errs nowhere, or is no better than chance), and
    for each split `nll` (over the rows whose label is known) and `ece`, each as `before` and `after`.
    """
    temperature = fit_temperature(logits["validation"], labels["validation"])
    report: dict[str, Any] = {
        "temperature": temperature,
        "at_bound": temperature is not None and _at_bound(temperature),
    }
    for split, values in logits.items():
        before = _quality(values, labels[split])
        after = dict.fromkeys(before) if temperature is None else _quality(values / temperature, labels[split])
        report[split] = {name: {"before": before[name], "after": after[name]} for name in before}
    return report


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float | None:
    """The temperature in `BOUNDS` with the least negative log-likelihood of labels [N] under logits [N, C].

    Rows of an unseen label are left out; None when none are left. The likelihood is concave in 1/T, so that
    there is one optimum; where a model is right in every row, it is at 0.
    """
    from scipy.optimize import minimize_scalar  # a second to import

    known = labels >= 0
    if not known.any():
        return None
    logits, labels = logits[known].astype(np.float64), labels[known]
    found = minimize_scalar(
        lambda log_temperature: _nll(logits / np.exp(log_temperature), labels),
        bounds=np.log(BOUNDS),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def _at_bound(temperature: float) -> bool:
    low, high = BOUNDS
    return not low * 1.01 < temperature < high / 1.01


def _quality(logits: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    known = labels >= 0
    return {
        "nll": _nll(logits[known], labels[known]) if known.any() else None,
        "ece": expected_calibration_error(labels, np.exp(_log_probabilities(logits))),
    }


def _nll(logits: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log-likelihood."""
    return -float(_log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    found: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
