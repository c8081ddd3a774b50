"""python -m jaxpeft.compare, as its users run it."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxpeft import compare
from jaxpeft.data.bio import spans_of_tags
from jaxpeft.tasks.entity_scores import METRIC_NAMES as ENTITY_METRICS
from jaxpeft.tasks.entity_scores import entity_scores
from jaxpeft.tasks.metrics import METRIC_NAMES, classification_scores
from jaxpeft.tasks.relations import METRIC_NAMES as RELATION_METRICS
from tests import tiny

NAMES = ("no", "yes")


def classified(seed, rows=120, ids=True, groups=True, skill=1.0):
    """Prediction rows whose labels, ids and groups depend on the row alone."""
    data, noise = np.random.default_rng(0), np.random.default_rng(seed)
    labels = data.integers(0, 2, rows)
    found = []
    for row, label in enumerate(labels):
        p = 1 / (1 + np.exp(-(2 * label - 1) * skill - noise.normal()))
        one = {"row": row, "label": NAMES[label], "prediction": NAMES[int(p > 0.5)],
               "probabilities": {"no": 1 - p, "yes": p}}  # fmt: skip
        found.append(one | ({"id": f"n{row}"} if ids else {}) | ({"group": row // 3} if groups else {}))
    return found


def tagged(seed, rows=30):
    data, noise = np.random.default_rng(0), np.random.default_rng(seed)
    found = []
    for row in range(rows):
        labels = data.choice(["O", "B-A", "I-A", "B-B"], 6).tolist()
        predictions = [tag if noise.random() < 0.8 else "O" for tag in labels]
        found.append({"row": row, "labels": labels, "predictions": predictions, "entities": []})
    return found


@pytest.fixture
def run(tmp_path):
    """Makes a finished workdir of prediction rows."""

    def make(name, rows, labels=NAMES, split="test", negative_label=None):
        folder = tmp_path / name
        tiny.write_jsonl(folder / "predictions" / f"{split}.jsonl", rows)
        (folder / "result.json").write_text(json.dumps({"labels": list(labels)}))
        task = "relation_extraction" if negative_label else "sequence_classification"
        config = {"task": task, "data": {"negative_label": negative_label or "false"}}
        (folder / "config.json").write_text(json.dumps(config))
        return folder

    return make


@pytest.fixture
def cli(capsys):
    """compare in this process: cli(*arguments) -> (exit code, standard output, standard error)."""

    def call(*arguments):
        capsys.readouterr()
        try:
            compare.main(["compare", *map(str, arguments)])
            code = 0
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


def refused(cli, *arguments):
    """The one message of a call that must fail."""
    code, printed, message = cli(*arguments)
    assert (code, printed) == (2, "")
    assert message.startswith("error: ")
    assert "Traceback" not in message
    return message


def scores_of(rows, groups=None, **settings):
    probabilities = np.array([[row["probabilities"][name] for name in NAMES] for row in rows])
    labels = np.array([NAMES.index(row["label"]) for row in rows])
    return classification_scores(labels, probabilities, NAMES, groups, **settings)


def test_classifiers_are_compared_by_every_metric_over_patients(run, cli, tmp_path):
    rows = classified(1, skill=0.5), classified(2, skill=3.0)
    target = tmp_path / "new" / "difference.json"
    code, printed, message = cli(run("a", rows[0]), run("b", rows[1]), f"--json={target}")
    assert (code, message) == (0, "")
    report = json.loads(target.read_text())
    assert (report["rows"], report["clusters"], report["few_clusters"], report["split"]) == (120, 40, True, "test")
    assert tuple(report["metrics"]) == METRIC_NAMES
    first, second = (scores_of(one, [row // 3 for row in range(120)], resamples=2000) for one in rows)
    found = report["metrics"]["accuracy"]
    assert found["first"] == first.metrics["accuracy"]["value"]
    assert found["difference"] == second.metrics["accuracy"]["value"] - found["first"]
    gaps = second.drawn["accuracy"] - first.drawn["accuracy"]
    assert [found["low"], found["high"]] == np.percentile(gaps, [2.5, 97.5]).tolist()
    assert found["p"] < 0.01
    assert "fewer than 100" in printed
    line = next(line for line in printed.splitlines() if line.startswith("accuracy"))
    assert line.split()[1:4] == [f"{found['first']:.3f}", f"{found['second']:.3f}", f"{found['difference']:+.3f}"]


def test_nothing_is_written_unless_asked(run, cli, tmp_path):
    folders = run("a", classified(1)), run("b", classified(2))
    before = sorted(tmp_path.rglob("*"))
    assert cli(*folders)[0] == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_one_metric_and_another_split(run, cli):
    folders = [run(name, classified(seed), split="validation") for name, seed in (("a", 1), ("b", 2))]
    code, printed, _ = cli(*folders, "--split=validation", "--metric=f1_macro", "--resamples=100")
    assert code == 0
    assert "f1_macro" in printed
    assert "accuracy" not in printed
    assert "validation: 120 rows" in printed
    assert "test.jsonl cannot be read" in refused(cli, *folders)
    assert "--metric=f2: expected one of accuracy, f1_macro" in refused(
        cli, *folders, "--split=validation", "--metric=f2"
    )


def test_rows_are_matched_by_id_whatever_their_order_and_their_groups_numbers(run, cli, tmp_path):
    second = classified(2)
    shuffled = [second[row] | {"row": place} for place, row in enumerate(np.random.default_rng(3).permutation(120))]
    numbers = {group: number for number, group in enumerate(dict.fromkeys(row["group"] for row in shuffled))}
    shuffled = [row | {"group": numbers[row["group"]]} for row in shuffled]
    reports = []
    for name, rows in (("straight", second), ("shuffled", shuffled)):
        assert cli(run("a", classified(1)), run(name, rows), f"--json={tmp_path}/{name}.json")[0] == 0
        reports.append(json.loads((tmp_path / f"{name}.json").read_text())["metrics"])
    assert reports[0] == reports[1]


def test_labels_in_another_order_are_the_same_labels(run):
    first = run("a", classified(1))
    ours, theirs = (compare.compare(first, run(name, classified(2), labels=labels))["metrics"]
                    for name, labels in (("b", NAMES), ("c", NAMES[::-1])))  # fmt: skip
    assert ours == theirs


def test_without_ids_rows_are_matched_by_position_and_without_groups_each_is_its_own(run):
    first, second = (classified(seed, ids=False, groups=False) for seed in (1, 2))
    report = compare.compare(run("a", first), run("b", second))
    assert report["clusters"] == 120
    gap = scores_of(second).metrics["brier"]["value"] - scores_of(first).metrics["brier"]["value"]
    assert report["metrics"]["brier"]["difference"] == pytest.approx(gap)


def test_groups_of_one_file_serve_both(run):
    report = compare.compare(run("a", classified(1, groups=False)), run("b", classified(2)))
    assert report["clusters"] == 40


def test_entities_are_compared_by_their_spans(run):
    rows = tagged(1), tagged(2)
    report = compare.compare(run("a", rows[0], labels=["A", "B"]), run("b", rows[1], labels=["A", "B"]))
    assert tuple(report["metrics"]) == ENTITY_METRICS
    for name, one in zip(("first", "second"), rows, strict=True):
        gold, predicted = ([spans_of_tags(row[field]) for row in one] for field in ("labels", "predictions"))
        expected = entity_scores(gold, predicted, None, resamples=0).metrics
        assert all(report["metrics"][metric][name] == expected[metric]["value"] for metric in ENTITY_METRICS)


def test_relations_are_compared_over_their_positive_labels(run):
    folders = [run(name, classified(seed), negative_label="no") for name, seed in (("a", 1), ("b", 2))]
    assert tuple(compare.compare(*folders)["metrics"]) == RELATION_METRICS


def test_a_label_that_training_lacks_is_wrong_in_both(run):
    rows = classified(1)
    rows[0]["label"] = "maybe"
    metrics = compare.compare(run("a", rows), run("b", rows))["metrics"]
    assert metrics["accuracy"]["first"] < 1 - 1 / 120 + 1e-9
    assert metrics["accuracy"]["p"] == 1.0


def changed(rows, number, **fields):
    return [row | fields if place == number else row for place, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (classified(2)[:-1], r"1 ids are in .*a/predictions/test.jsonl alone and 0 in .*b/predictions"),
        (classified(2, ids=False)[:-1], "has 120 rows and .* 119: not the same data"),
        (changed(classified(2), 4, label="yes" if classified(2)[4]["label"] == "no" else "no"),
         r"differ in `label` in 1 of 120 rows \(matched by id\), first in line 5"),
        (changed(classified(2), 4, group=7), "group the rows in different ways"),
        (tagged(1), "of different tasks"),
        (changed(classified(2), 3, probabilities={"no": 1.0}), "line 4: the probabilities are not of the labels no"),
    ],
)  # fmt: skip
def test_other_data_is_refused_with_the_reason(run, cli, rows, message):
    found = refused(cli, run("a", classified(1)), run("b", rows))
    assert re.search(message, found), found


def test_other_labels_and_unfinished_runs_are_refused(run, cli, tmp_path):
    first, other = run("a", classified(1)), run("b", classified(2), labels=("no", "yes", "perhaps"))
    assert "different labels; only one has: perhaps" in refused(cli, first, other)
    (other / "result.json").unlink()
    assert "holds no result.json: expected the workdir of a finished run" in refused(cli, first, other)
    assert "holds no result.json" in refused(cli, tmp_path / "nowhere", first)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[]", "line 2: list, expected an object"),
        ('{"id": [1]}', "line 2: expected `id` to be a string"),
        ('{"label": "no", "probabilities": {"no": "1"}}', "line 2: expected `label` and `probabilities`"),
        ('{"row": 1}', "line 2: expected `label` and `probabilities`"),
        ('{"labels": ["O"], "predictions": ["O", "O"]}', "line 2: expected `labels` and `predictions`, a tag each"),
        ('{"labels": ["O"], "predictions": [1]}', "line 2: expected `labels` and `predictions`, a tag each"),
        ('{"labels": ["O"], "predictions": ["O"]}', "line 2: a row of another task than that of line 1"),
        (None, "test.jsonl holds no rows"),
    ],
)
def test_a_broken_prediction_file_is_named_with_its_line_and_not_its_content(run, cli, line, message):
    folder = run("a", classified(1))
    path = folder / "predictions" / "test.jsonl"
    rows = path.read_text().splitlines()
    path.write_text("" if line is None else "\n".join([rows[0], line, *rows[2:]]) + "\n")
    assert message in refused(cli, folder, run("b", classified(2)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected the folders of two finished runs, found 0"),
        (["a", "b", "c"], "found 3"),
        (["a", "b", "--split=train"], "--split=train: value should be one of <validation|test>"),
        (["a", "b", "--splt=test"], "Unknown command line flag 'splt'"),
        (["a", "b", "--resamples=5"], "5 is not integer >= 100"),
    ],
)
def test_flags_that_make_no_sense_are_one_message(cli, arguments, message):
    assert message in refused(cli, *arguments)


def test_help_says_how_it_is_called(cli):
    code, printed, _ = cli("--help")
    assert code == 0
    assert "python -m jaxpeft.compare" in printed
    assert "--metric" in printed


def test_a_json_file_that_cannot_be_written_is_a_message(run, cli, tmp_path):
    folders = run("a", classified(1)), run("b", classified(2))
    code, _, message = cli(*folders, f"--json={tmp_path}")
    assert code == 2
    assert f"{tmp_path} cannot be written" in message


def test_a_folder_that_cannot_be_looked_at_is_no_trouble_with_json(cli):
    code, _, message = cli("x" * 300, "y")
    assert code == 2
    assert "x" * 300 in message
    assert "--json" not in message


def test_as_a_program_without_jax(run):
    folders = [str(run(name, classified(seed))) for name, seed in (("a", 1), ("b", 2))]
    script = (
        "import sys, jaxpeft.compare as c; c.main(sys.argv); assert not {'jax', 'flax', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *folders],
        cwd=tiny.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "second - first" in done.stdout


def test_a_real_run_against_itself(finished):
    report = compare.compare(finished.root, finished.root)
    result = json.loads(finished.result.read_text())
    assert report["clusters"] == result["clusters"]["test"]
    for name, found in report["metrics"].items():
        assert found["first"] == result["metrics"]["test"][name]["value"]
        assert (found["difference"], found["p"]) == (0.0, 1.0)
