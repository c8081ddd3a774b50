"""What is said of runs that look wrong, and that nothing is said of those that look well."""

import math
from pathlib import Path

import pytest

from jaxpeft.study.diagnostics import remarks_on_run
from jaxpeft.study.store import Run
from tests.study.fake_study import write_lines

WELL = [2.0 * math.exp(-step / 25) + 0.1 for step in range(100)]
GOOD = {
    "task": "sequence_classification",
    "select_metric": "f1_macro",
    "metrics": {"test": {"f1_macro": {"value": 0.7, "low": 0.6, "high": 0.8}}},
    "majority": {"test": {"f1_macro": 0.1}},
    "per_class": {"test": [{"name": "a", "predicted": 60}, {"name": "b", "predicted": 40}]},
    "truncated": {"test": 1},
    "examples": {"test": 100},
}


def kinds(folder, losses=WELL, scores=(0.5, 0.65, 0.69, 0.7), error=None, **result):
    records = [{"step": step, "loss": loss} for step, loss in enumerate(losses, start=1)]
    for place, score in enumerate(scores, start=1):
        records[place * len(records) // len(scores) - 1]["validation"] = {"f1_macro": score}
    write_lines(folder / "metrics.jsonl", records)
    run = Run("r", {}, folder, {}, None if error else GOOD | result, error)
    return [remark.kind for remark in remarks_on_run(run)]


def test_nothing_is_said_of_a_run_that_looks_well(tmp_path):
    assert kinds(tmp_path) == []


def test_a_loss_that_stops_falling_early_and_high_is_a_plateau(tmp_path):
    assert kinds(tmp_path, losses=[2.0] * 10 + [1.3] * 90) == ["plateau"]
    assert kinds(tmp_path, losses=[2.0] * 10 + [0.1] * 90) == []  # it ended low: that is learnt, not stuck


def test_a_loss_that_does_not_fall_is_no_learning(tmp_path):
    assert kinds(tmp_path, losses=[1.1] * 100) == ["does not learn"]


def test_validation_that_falls_while_training_goes_on_is_overfitting(tmp_path):
    assert kinds(tmp_path, scores=(0.6, 0.72, 0.68, 0.61, 0.6)) == ["overfitting"]
    assert kinds(tmp_path, scores=(0.6, 0.72, 0.718, 0.717, 0.716)) == []


def test_validation_that_still_rises_at_the_end_is_said(tmp_path):
    assert kinds(tmp_path, scores=(0.2, 0.4, 0.6, 0.8)) == ["still improving"]


def test_one_answer_to_everything_is_a_constant_predictor(tmp_path):
    constant = {"test": [{"name": "a", "predicted": 100}, {"name": "b", "predicted": 0}]}
    assert kinds(tmp_path, per_class=constant) == ["constant predictor"]
    none = {"test": [{"name": "problem", "predicted": 0}, {"name": "test", "predicted": 0}]}
    assert kinds(tmp_path, task="token_classification", per_class=none) == ["constant predictor"]
    one_type = {"test": [{"name": "problem", "predicted": 9}, {"name": "test", "predicted": 0}]}
    assert kinds(tmp_path, task="token_classification", per_class=one_type) == []


def test_a_score_within_reach_of_no_model_is_said(tmp_path):
    assert kinds(tmp_path, majority={"test": {"f1_macro": 0.62}}) == ["no better than no model"]


def test_texts_cut_are_said(tmp_path):
    assert kinds(tmp_path, truncated={"test": 90}) == ["texts cut"]


@pytest.mark.parametrize(
    ("kind", "after", "said"),
    [
        ("masked_lm_loss", 2.8, ["forgetting"]),
        ("masked_lm_loss", 2.6, []),
        ("masked_lm_loss", 0.5, []),
        ("next_token_loss", 2.8, ["forgetting"]),
        ("hidden_drift", 2.51, ["forgetting"]),
        ("hidden_drift", 2.4, []),
        (None, None, []),
        ("masked_lm_loss", float("nan"), []),
    ],
)
def test_a_base_that_is_forgotten_is_said(tmp_path, kind, after, said):
    assert kinds(tmp_path, forgetting={"kind": kind, "before": 2.0, "after": after}) == said


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("RESOURCE_EXHAUSTED: Out of memory while trying to allocate 8 GiB", ["out of memory"]),
        ("the process was killed by SIGKILL", ["out of memory"]),
        ("the loss is nan at step 7: lower train.learning_rate", ["diverged"]),
        ("the loss diverged among seeds that trained together", ["diverged"]),
        ("data.path=x: no such folder", []),
    ],
)
def test_an_error_is_told_by_its_kind(tmp_path, error, kind):
    assert kinds(tmp_path, error=error) == kind


def test_files_of_another_version_or_none_at_all_are_no_error(tmp_path):
    write_lines(tmp_path / "metrics.jsonl", [{"step": 1}, {"loss": None, "validation": None}])
    for result in ({"metrics": None}, {"per_class": {"test": None}, "majority": {}, "select_metric": "f1_macro"}):
        assert remarks_on_run(Run("r", {}, tmp_path, {}, result, None)) == []
    assert remarks_on_run(Run("r", {}, Path("nowhere"), {}, GOOD, None)) == []
    assert remarks_on_run(Run("r", {}, Path("nowhere"), {}, None, None)) == []
