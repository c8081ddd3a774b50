"""The pictures: drawn from what a run logs, without warnings, without traces outside their path."""

import os
import subprocess
import sys

import matplotlib
import matplotlib.image
import numpy as np
import pytest

from jaxpeft.training import canvas
from jaxpeft.training.plots import (
    _reliability,
    _smoothed,
    confusion_matrix,
    learning_curve,
    precision_recall_curves,
    reliability_diagram,
    roc_curves,
    type_scores,
)


@pytest.fixture(autouse=True)
def _as_users_see_them(monkeypatch):
    monkeypatch.setattr(canvas, "LAYOUT", "constrained")
    monkeypatch.setattr(canvas, "SAVING", {"dpi": 150, "bbox_inches": "tight", "pad_inches": 0.12})


def drawn(path):
    """The picture's pixels, once it is sure that something is on it."""
    pixels = matplotlib.image.imread(path)
    assert pixels.std() > 0.01
    return pixels


def records(steps):
    for step in range(1, steps + 1):
        yield {"step": step, "loss": 2.0 / step, "learning_rate": 1e-3}
        if step % 10 == 0:
            yield {"step": step, "validation": {"f1_macro": 1 - 1 / step, "auroc_macro": None}}


@pytest.mark.parametrize("metric", ["f1_macro", "auroc_macro"])
def test_learning_curve_with_and_without_the_metric(tmp_path, metric):
    learning_curve(list(records(60)), tmp_path / "curve.png", metric)
    height = drawn(tmp_path / "curve.png").shape[0]
    assert (height < 600) == (metric == "auroc_macro")  # one panel, or two


@pytest.mark.parametrize("logged", [[], [{"step": 3, "loss": 0.5}], [{"step": 3, "loss": float("nan")}] * 2])
def test_learning_curve_of_next_to_nothing(tmp_path, logged):
    learning_curve(logged, tmp_path / "curve.png")
    drawn(tmp_path / "curve.png")


def test_a_step_logged_again_after_a_resume_counts_once(tmp_path):
    straight = list(records(30))
    learning_curve(straight, tmp_path / "straight.png")
    resumed = [{"step": step, "loss": 9.0} for step in range(20, 26)]
    learning_curve(straight[:20] + resumed + straight[20:], tmp_path / "resumed.png")
    assert np.array_equal(drawn(tmp_path / "straight.png"), drawn(tmp_path / "resumed.png"))


def test_smoothing_keeps_a_constant_and_bridges_nans():
    values = np.full(40, 2.0)
    values[7] = np.nan
    assert np.allclose(_smoothed(values), 2.0)
    assert np.isnan(_smoothed(np.array([1.0, np.nan]))[1])  # too few to smooth
    assert _smoothed(np.arange(100.0))[50] == 50.0


@pytest.mark.parametrize("count", [1, 3, 30])
def test_scores_of_types_with_and_without_an_interval(tmp_path, count):
    interval = {"f1": 0.6, "f1_low": 0.5, "f1_high": 0.7}
    kinds = [interval, {"f1": 0.0, "f1_low": None, "f1_high": None}, {"f1": None, "f1_low": None, "f1_high": None}]
    rows = [{"name": f"$TYPE^{number}", "support": number, **kinds[number % 3]} for number in range(count)]
    type_scores(rows, tmp_path / "types.png", "test")
    drawn(tmp_path / "types.png")


@pytest.mark.parametrize(("classes", "unseen"), [(1, 0), (2, 1), (20, 1)])
def test_confusion_matrix_of_any_size(tmp_path, classes, unseen):
    names = [f"$class^{index} with a very long name indeed" for index in range(classes)]
    confusion = np.random.default_rng(0).integers(0, 9, (classes + unseen, classes))
    confusion[0] = 0  # a class that the split lacks
    confusion_matrix(confusion, names, tmp_path / "confusion.png", "Test $")
    drawn(tmp_path / "confusion.png")


def some_answers(classes, rows=60):
    rng = np.random.default_rng(0)
    return rng.integers(-1, classes, rows), rng.dirichlet(np.ones(classes), rows)


@pytest.mark.parametrize("draw", [roc_curves, precision_recall_curves])
@pytest.mark.parametrize("classes", [2, 3, 12])
def test_curves_of_any_number_of_classes(tmp_path, draw, classes):
    labels, probabilities = some_answers(classes)
    draw(labels, probabilities, ["_$a", "b^$", *"cdefghijkl"][:classes], 1, tmp_path / "curves.png", "Test $")
    drawn(tmp_path / "curves.png")


@pytest.mark.parametrize("draw", [roc_curves, precision_recall_curves])
def test_curves_of_one_class_alone_are_empty(tmp_path, draw):
    draw(np.ones(4, int), np.full((4, 2), 0.5), ["a", "b"], 1, tmp_path / "curves.png", "Test")
    drawn(tmp_path / "curves.png")


def test_reliability_diagram_of_one_and_of_two_ways_to_answer(tmp_path):
    labels, probabilities = some_answers(3)
    sharper = probabilities**2 / (probabilities**2).sum(axis=1, keepdims=True)
    for number, answers in enumerate([{"as trained": probabilities}, {"a": probabilities, "b": sharper}]):
        reliability_diagram(labels, answers, tmp_path / f"{number}.png", "Test")
    assert not np.array_equal(drawn(tmp_path / "0.png"), drawn(tmp_path / "1.png"))


def test_reliability_is_counted_in_the_bins_of_the_calibration_error():
    labels, probabilities = np.array([0, 1, 0]), np.array([[0.9, 0.1], [0.91, 0.09], [0.6, 0.4]])
    confidence, accuracy, share = _reliability(labels, probabilities)
    assert confidence.tolist() == pytest.approx([0.6, 0.905])
    assert accuracy.tolist() == [1.0, 0.5]
    assert (share[8], share[13], share.sum()) == (pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx(1))


def test_no_global_state_is_left_and_none_is_read(tmp_path):
    confusion_matrix(np.eye(3, dtype=int), list("abc"), tmp_path / "ours.png", "Test")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40.0, "savefig.transparent": True}):
        before = dict(matplotlib.rcParams)
        confusion_matrix(np.eye(3, dtype=int), list("abc"), tmp_path / "theirs.png", "Test")
        assert dict(matplotlib.rcParams) == before
    assert np.array_equal(drawn(tmp_path / "ours.png"), drawn(tmp_path / "theirs.png"))


def test_a_home_that_cannot_be_written_to_draws_without_a_word(tmp_path):
    home = tmp_path / "home"
    home.touch()  # a file: no folder can be made in it, not even by root
    script = (
        "import sys, numpy; from jaxpeft.training.plots import confusion_matrix\n"
        "confusion_matrix(numpy.eye(2, dtype=int), ['a', 'b'], sys.argv[1], 'Test')\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    private = ("MPLCONFIGDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in private}
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path / "confusion.png")]
    done = subprocess.run(command, env=environment | {"HOME": str(home)}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert home.read_bytes() == b""
    drawn(tmp_path / "confusion.png")
