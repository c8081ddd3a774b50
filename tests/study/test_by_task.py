"""The figure of quality by task: one drawing a model and score, of tasks that have it."""

import csv

from jaxpeft.study.report import build
from tests.study.fake_study import write_study


def described(tasks, models=("bert-base-uncased",)):
    return [
        {"model": model, "method": method, "task": task, "seed": seed, "patients": 40}
        for model in models
        for method in ("full", "lora")
        for task in tasks
        for seed in (12, 34)
    ]


def test_tasks_of_one_score_stand_beside_one_another(tmp_path):
    tasks = ("cardiology", "radiology", "i2b2_2010_ner")
    folder = write_study(tmp_path, described(tasks, ("bert-base-uncased", "nlpie/tiny-clinicalbert")))
    page = build(folder).read_text()
    with (folder / "report" / "by_task.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {line["task"] for line in lines} == {"cardiology", "radiology"}  # entities have a score of their own
    assert len(lines) == 2 * 2 * 2
    assert all(float(line["low"]) <= float(line["score"]) <= float(line["high"]) for line in lines)
    for number in (0, 1):
        assert f'<title id="by-task-f1_macro-{number}-title">' in page
    assert "bert-base-uncased: macro-F1 by task" in page


def test_tasks_of_different_scores_have_no_such_figure(tmp_path):
    folder = write_study(tmp_path, described(("cardiology", "i2b2_2010_ner")))
    build(folder)
    assert not (folder / "report" / "by_task.csv").exists()
