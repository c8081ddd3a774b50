"""Temperature scaling."""

import json

import numpy as np
import pytest

from jaxpeft.tasks.calibration import BOUNDS, calibration_report, fit_temperature


def drawn(rng, rows, temperature, classes=3):
    """Labels drawn from softmax(logits / temperature)."""
    logits = 4 * rng.normal(size=(rows, classes))
    scaled = np.exp(logits / temperature)
    probabilities = scaled / scaled.sum(axis=1, keepdims=True)
    labels = (probabilities.cumsum(axis=1) < rng.random((rows, 1))).sum(axis=1)
    return logits.astype(np.float32), labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature):
    logits, labels = drawn(np.random.default_rng(0), 20_000, temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.05)


def test_no_temperature_nearby_is_better():
    logits, labels = drawn(np.random.default_rng(1), 300, 2.0)
    best = fit_temperature(logits, labels)

    def nll(temperature):
        scaled = logits.astype(np.float64) / temperature
        return -(scaled[np.arange(300), labels] - np.log(np.exp(scaled).sum(axis=1))).mean()

    assert nll(best) < min(nll(best * 1.01), nll(best / 1.01))
    assert calibration_report({"validation": logits}, {"validation": labels})["validation"]["nll"] == {
        "before": pytest.approx(nll(1.0)), "after": pytest.approx(nll(best)),
    }  # fmt: skip


def test_an_overconfident_model_is_mended_on_test_by_what_validation_says():
    rng = np.random.default_rng(2)
    logits, labels = {}, {}
    for split in ("validation", "test"):
        logits[split], labels[split] = drawn(rng, 4000, 3.0)
    report = calibration_report(logits, labels)
    assert report["temperature"] == pytest.approx(3.0, rel=0.15)
    assert report["at_bound"] is False
    assert report["test"]["ece"]["after"] < 0.03 < 0.15 < report["test"]["ece"]["before"]
    assert report["test"]["nll"]["after"] < report["test"]["nll"]["before"]
    json.dumps(report, allow_nan=False)


def test_a_model_that_errs_nowhere_or_knows_nothing_ends_at_a_bound():
    right = np.eye(3)[[0, 1, 2]].astype(np.float32)
    for logits, bound in ((right, BOUNDS[0]), (-right, BOUNDS[1])):
        report = calibration_report({"validation": logits}, {"validation": np.array([0, 1, 2])})
        assert report["temperature"] == pytest.approx(bound, rel=0.01)
        assert report["at_bound"] is True


def test_unseen_labels_have_no_likelihood_but_count_as_wrong():
    logits, labels = drawn(np.random.default_rng(3), 500, 1.0)
    odd = np.concatenate([labels, [-1] * 100])
    more = np.concatenate([logits, logits[:100]])
    assert fit_temperature(more, odd) == fit_temperature(logits, labels)
    plain, found = (
        calibration_report({"validation": one}, {"validation": other})["validation"]
        for one, other in ((logits, labels), (more, odd))
    )
    assert found["nll"] == plain["nll"]
    assert found["ece"]["before"] > plain["ece"]["before"] + 0.05


def test_without_a_known_label_there_is_no_temperature():
    logits = np.zeros((2, 2), np.float32)
    report = calibration_report({"validation": logits}, {"validation": np.array([-1, -1])})
    assert report == {
        "temperature": None, "at_bound": False,
        "validation": {"nll": {"before": None, "after": None}, "ece": {"before": 0.5, "after": None}},
    }  # fmt: skip
