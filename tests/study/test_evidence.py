"""Draws of runs: paired where the rows are the same, on their own where not, and kept."""

import json

import numpy as np
import pytest

from jaxpeft.study.evidence import draws, sample
from jaxpeft.study.statistics import RESAMPLES
from jaxpeft.study.store import runs
from tests.study.fake_study import write_lines, write_study


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path, [{"seed": 1}, {"seed": 2}, {"task": "i2b2_2010_ner"}])


def test_the_draws_are_about_the_score_and_as_wide_as_its_interval(study, tmp_path):
    for run, metric in zip(runs(study), ("f1_macro", "auroc_macro", "f1_strict"), strict=True):
        drawn = draws(run, metric, tmp_path / "draws")
        score = run.result["metrics"]["test"][metric]
        assert drawn.shape == (RESAMPLES,)
        assert drawn.mean() == pytest.approx(score["value"], abs=0.02)
        assert np.percentile(drawn, 2.5) == pytest.approx(score["low"], abs=0.03)


def test_the_order_of_a_file_does_not_matter_to_rows_with_ids(study, tmp_path):
    run = runs(study)[0]
    before = draws(run, "f1_macro", tmp_path / "draws")
    path = run.workdir / "predictions" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, rows[::-1])
    assert np.array_equal(draws(run, "f1_macro", tmp_path / "draws"), before)


def test_runs_on_the_same_rows_are_paired_and_on_others_not(study, tmp_path):
    first, second, _ = runs(study)
    found = [draws(run, "accuracy", tmp_path / "draws") for run in (first, second)]
    assert np.corrcoef(*found)[0, 1] > 0.5
    path = second.workdir / "predictions" / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    write_lines(path, [row | {"id": f"elsewhere/{row['id']}"} for row in rows])
    assert abs(np.corrcoef(found[0], draws(second, "accuracy", tmp_path / "draws"))[0, 1]) < 0.2


def test_draws_are_kept_and_made_again_for_other_predictions(study, tmp_path):
    run, kept = runs(study)[0], tmp_path / "draws"
    draws(run, "f1_macro", kept)
    (file,) = kept.iterdir()
    np.save(file, np.zeros(RESAMPLES))
    assert not draws(run, "f1_macro", kept).any()
    path = run.workdir / "predictions" / "test.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[0].replace("triage/0", "triage/new") + "\n")
    assert draws(run, "f1_macro", kept).any()


def test_draws_that_a_kill_cut_short_are_made_again(study, tmp_path):
    run, kept = runs(study)[0], tmp_path / "draws"
    before = draws(run, "f1_macro", kept)
    (file,) = kept.iterdir()
    for size in (0, 100, file.stat().st_size - 8):
        file.write_bytes(file.read_bytes()[:size])
        assert np.array_equal(draws(run, "f1_macro", kept), before)
    assert [path.name for path in kept.iterdir()] == [file.name]


@pytest.mark.parametrize("text", [None, "", "{not json", '{"label": 3}\n', '{"label": "x", "probabilities": {}}\n'])
def test_predictions_that_are_missing_or_broken_leave_the_score_without_draws(study, tmp_path, text, caplog):
    first, second, _ = runs(study)
    path = first.workdir / "predictions" / "test.jsonl"
    path.unlink()
    if text is not None:
        path.write_text(text)
    found = sample([first, second], "f1_macro", tmp_path / "draws")
    assert found.drawn is None
    assert len(found.values) == 2
    assert first.id in caplog.text


def test_a_score_that_predictions_do_not_give_has_no_draws(study, tmp_path):
    assert draws(runs(study)[0], "paper_f1_micro", tmp_path / "draws") is None
    assert draws(runs(study)[0], "paper_f1_micro", tmp_path / "draws") is None  # and that is kept as well
