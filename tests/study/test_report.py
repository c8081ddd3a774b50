"""The page of a study: what it says, that it stands alone, and that nothing missing breaks it."""

import concurrent.futures
import csv
import html.parser
import itertools
import json
import math
import re
import shutil

import pytest

from jaxpeft.errors import InputError
from jaxpeft.study.report import build, main
from jaxpeft.study.store import lock
from tests.study.fake_study import write, write_study

MODELS = {"bert-base-uncased": 1.4, "nlpie/tiny-clinicalbert": 0.8}
RUNS = [
    {
        "model": model,
        "method": method,
        "task": task,
        "seed": seed,
        "skill": skill + ahead,
        "patients": 60,
        "train_s": 60 - 300 * ahead,
    }
    for model, skill in MODELS.items()
    for method, ahead in {"full": 0.1, "lora": 0.0}.items()
    for task in ("mimic_triage", "i2b2_2010_ner")
    for seed in (12, 34)
]
RUNS += [
    {"rank": rank, "seed": seed, "patients": 60, "model": "bert-base-uncased"} for rank in (4, 32) for seed in (1, 2)
]
RUNS += [{"few_shot": n, "method": m, "patients": 60} for n in (16, 64) for m in ("full", "lora")]  # on one more model
FAILED = {"method": "full", "model": "Llama", "error": "RESOURCE_EXHAUSTED: out of memory <script>"}


class Page(html.parser.HTMLParser):
    """The elements of a page, by what tests ask."""

    VOID = ("meta", "br", "link", "img", "circle", "line", "use")

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.unclosed = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        if self.open[-1:] == [tag]:
            self.open.pop()
        elif tag not in self.VOID:
            self.unclosed.append(tag)

    def all(self, *tags):
        return [(tag, attrs, within) for tag, attrs, within in self.elements if tag in tags]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    study = {"prices": {"cpu": 0.5}, "currency": "EUR", "rules": ["One rule."], "price_source": "a list"}
    study["reference"] = {"model": "bert-base-uncased", "method": "full"}
    return write_study(tmp_path_factory.mktemp("study"), [*RUNS, FAILED], **study)


@pytest.fixture(scope="module")
def text(study):
    return build(study).read_text()


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def rows_of(study, name):
    with (study / "report" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_answer_comes_first_and_says_how_sure_it_is(text):
    start = text[: text.index("<main")]
    assert "Which method, for what cost?" in start
    answer = re.search(r'class="answer">(.*?)</p>', start)[1]
    assert "LoRA" in answer
    assert "95\N{NO-BREAK SPACE}% interval" in answer
    assert "trained parameters" in answer
    assert "seeds of training (2 a system)" in start
    assert "generated stand-ins" in start
    assert "1 run failed" in start


def test_the_page_asks_for_nothing(text, page):
    assert "default-src 'none'" in text
    assert not page.all("script", "link", "img", "iframe", "object", "image", "base")
    for _, attrs, _ in page.elements:
        assert "src" not in attrs
        assert (attrs.get("href") or "#").startswith(("#", "data:text/csv;base64,"))
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_the_page_is_well_made_for_everybody(page):
    assert [tag for tag, _, _ in page.all("h1")] == ["h1"]
    levels = [int(tag[1]) for tag, _, _ in page.all("h1", "h2", "h3")]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs, _ in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    targets = [attrs["href"][1:] for _, attrs, _ in page.elements if (attrs.get("href") or "").startswith("#")]
    assert set(targets) <= set(ids)
    assert len(page.all("caption")) == len(page.all("table")) > 3
    assert all(attrs["scope"] in ("col", "row") for _, attrs, _ in page.all("th"))
    assert page.unclosed == []
    assert page.open == []


def test_every_drawing_has_words_and_the_colours_of_the_page(text, page):
    drawings = [attrs for _, attrs, _ in page.all("svg") if "strip" not in attrs["class"]]
    assert len(drawings) >= 6
    ids = {attrs["id"] for _, attrs, _ in page.elements if "id" in attrs}
    for attrs in drawings:
        assert attrs["role"] == "img"
        assert set(attrs["aria-labelledby"].split()) <= ids
    assert "macro-F1 against trained parameters" in text
    assert not re.search(r"#0[0-9a]0[0-9a]0[0-9a]\b", text)  # no placeholder is left
    assert "DejaVu" not in text


def test_every_table_and_figure_has_its_csv_and_names_its_command(study, text):
    names = set(re.findall(r'download="(\w+)\.csv"', text))
    assert {"methods", "glance", "task_mimic_triage", "size", "cost", "reuse", "rank", "few_shot"} <= names
    assert {"efficiency", "efficiency_by_task"} <= names
    for name in names:
        assert rows_of(study, name)
    assert text.count(f"made by <code>python -m jaxpeft.study.report {study.name}</code>") == len(names)


def test_figures_of_what_was_not_varied_are_left_out(study, text):
    assert 'id="figures-rank"' in text
    assert "Under a time budget" not in text
    assert not (study / "report" / "seconds.csv").exists()


def test_scores_in_the_tables_are_the_means_of_the_runs(study):
    found = {(row["model"], row["method"]): row for row in rows_of(study, "task_mimic_triage")}
    row = found["bert-base-uncased", "LoRA"]
    ids = [f"{number:03d}-lora" for number, run in enumerate(RUNS) if run == RUNS[4] | {"seed": run.get("seed")}]
    values = [json.loads((study / "runs" / one / "result.json").read_text()) for one in ids]
    values = [value["metrics"]["test"]["f1_macro"]["value"] for value in values]
    assert len(values) == 2
    assert float(row["score"]) == pytest.approx(sum(values) / 2)
    assert float(row["low"]) < float(row["score"]) < float(row["high"])
    assert float(row["cost_EUR"]) == pytest.approx(0.5 * 60 / 3600)
    assert len(found) == 4  # what a sweep sets is no row


def test_forgetting_is_told_by_model_and_method(tmp_path):
    runs = [{"method": method, "seed": seed, "patients": 20} for method in ("full", "lora") for seed in (12, 34)]
    folder = write_study(tmp_path, [*runs, {"method": "ia3", "patients": 20}])
    assert "What is left of the base" not in build(folder).read_text()
    results = sorted(folder.glob("runs/*/result.json"))
    measured = [("masked_lm_loss", 2.0, 3.0), ("masked_lm_loss", 2.0, 3.5)] + [("masked_lm_loss", 2.0, 2.25)] * 2
    for path, (kind, before, after) in zip(results, [*measured, (None, None, None)], strict=True):
        found = {"kind": kind, "before": before, "after": after, "texts": 8, "tokens": 90}
        write(path, json.loads(path.read_text()) | {"forgetting": found})
    page = build(folder).read_text()
    assert "What is left of the base" in page
    rows = rows_of(folder, "forgetting")
    assert [row["method"] for row in rows] == ["LoRA", "Full fine-tuning"]
    assert [[float(row[name]) for name in ("before", "after", "change", "least", "most", "runs")] for row in rows] == [
        [2.0, 2.25, 0.25, 0.25, 0.25, 2.0],
        [2.0, 3.25, 1.25, 1.0, 1.5, 2.0],
    ]
    assert {row["kind"] for row in rows_of(folder, "diagnostics")} >= {"forgetting"}


def test_forgetting_is_compared_over_the_tasks_that_all_methods_have(tmp_path):
    runs = [{"method": "full"}, {"method": "lora"}, {"method": "lora", "task": "mimic_mortality"}]
    folder = write_study(tmp_path, [{"patients": 20, **run} for run in runs])
    for path, after in zip(sorted(folder.glob("runs/*/result.json")), (3.0, 2.5, 9.0), strict=True):
        found = {"kind": "masked_lm_loss", "before": 2.0, "after": after, "texts": 8, "tokens": 90}
        write(path, json.loads(path.read_text()) | {"forgetting": found})
    build(folder)
    changes = {row["method"]: (float(row["change"]), row["runs"]) for row in rows_of(folder, "forgetting")}
    assert changes == {"LoRA": (0.5, "1"), "Full fine-tuning": (1.0, "1")}


def test_efficiency_is_skill_over_the_costs_beside_it(study, text):
    systems = {(row["model"], row["method"]): row for row in rows_of(study, "efficiency")}
    by_task = {(row["task"], row["model"], row["method"]): row for row in rows_of(study, "efficiency_by_task")}
    reference = systems["bert-base-uncased", "Full fine-tuning"]
    assert (reference["reference"], float(reference["relative_cost"])) == ("1", pytest.approx(1))
    assert float(reference["efficiency"]) == pytest.approx(float(reference["skill"]))
    for task in ("mimic_triage", "i2b2_2010_ner"):
        rows = {(row["model"], row["method"]): row for row in rows_of(study, f"task_{task}")}
        ours, theirs = rows["bert-base-uncased", "LoRA"], rows["bert-base-uncased", "Full fine-tuning"]
        ratios = [float(ours[name]) / float(theirs[name]) for name in ("cost_EUR", "peak_bytes", "bytes")]
        skill = (float(ours["score"]) - float(ours["majority"])) / (1 - float(ours["majority"]))
        found = by_task[task, "bert-base-uncased", "LoRA"]
        assert float(found["relative_cost"]) == pytest.approx(math.prod(ratios) ** (1 / 3))
        assert float(found["skill"]) == pytest.approx(skill)
        assert float(found["efficiency"]) == pytest.approx(skill / math.prod(ratios) ** (1 / 3))
        assert float(found["low"]) < float(found["efficiency"]) < float(found["high"])
    lora = systems["bert-base-uncased", "LoRA"]
    means = [
        float(by_task[task, "bert-base-uncased", "LoRA"]["efficiency"]) for task in ("mimic_triage", "i2b2_2010_ner")
    ]
    assert float(lora["efficiency"]) == pytest.approx(sum(means) / 2)
    assert float(lora["low"]) < float(lora["efficiency"]) < float(lora["high"])
    assert [lora["tasks"], float(lora["flops"])] == ["2", 73_728e9]
    assert "Efficiency is skill" in text


@pytest.mark.parametrize(
    ("study", "reason"),
    [
        ({}, "The study names no reference system."),
        ({"reference": {"method": "full"}}, "no finished run is of the reference system (method full)"),
        ({"reference": {"method": "lora"}}, "no price, in `prices` of the study, for cpu x 1"),
    ],
)
def test_without_a_price_or_a_reference_there_is_no_efficiency_and_the_page_says_why(tmp_path, study, reason):
    text = build(write_study(tmp_path, [{"patients": 40}], **study)).read_text()
    assert reason in text
    assert "No skill over cost here." in text
    assert not (tmp_path / "report" / "efficiency.csv").exists()


def test_the_papers_composite_stands_beside_ours_over_the_same_systems(tmp_path):
    models = {"dmis-lab/biobert-v1.1": 90.0, "nlpie/tiny-biobert": 9.0}
    runs = [
        {"patients": 40, "task": "mimic_mortality", "model": model, "method": method, "train_s": seconds}
        for model, seconds in models.items()
        for method in ("full", "lora", "ia3")
    ]
    for synthetic in (False, True):
        text = build(
            write_study(tmp_path / str(synthetic), [run | {"synthetic": synthetic} for run in runs])
        ).read_text()
        assert ("The paper’s composite" in text) is not synthetic
    rows = {(row["model"], row["method"]): row for row in rows_of(tmp_path / "False", "paper_composite")}
    assert len(rows) == 4  # the paper's has no IA3
    assert float(rows["nlpie/tiny-biobert", "LoRA"]["paper"]) == 1
    assert float(rows["dmis-lab/biobert-v1.1", "Full fine-tuning"]["paper"]) == 0  # dearest but for Llama
    assert float(rows["nlpie/tiny-biobert", "LoRA"]["composite"]) == 1
    assert float(rows["dmis-lab/biobert-v1.1", "Full fine-tuning"]["composite"]) == 0
    assert len(rows_of(tmp_path / "False", "paper_composite_dots")) == 4


def test_best_is_marked_where_paired_tests_say_so_and_nowhere_else(study, text):
    best = [row for name in ("mimic_triage", "i2b2_2010_ner") for row in rows_of(study, f"task_{name}")]
    marked = [row for row in best if row["best"] == "1"]
    for row in marked:
        others = [one for one in best if one["metric"] == row["metric"] and one is not row]
        assert all(float(one["p_of_highest_over_it"]) < 0.05 for one in others)
    assert text.count('class="best"') == 2 * len(marked)  # at a glance and in its task's table


def test_failed_runs_are_listed_with_error_and_advice(text):
    assert "RESOURCE_EXHAUSTED: out of memory &lt;script&gt;" in text
    assert "Lower train.batch_size" in text


def test_the_report_in_markdown_says_the_same(study, text):
    said = (study / "report" / "report.md").read_text()
    assert said.startswith("# A study of tests\n")
    assert "| System | macro-F1, test |" in said
    assert "`size.csv`" in said
    assert "RESOURCE_EXHAUSTED" in said


def test_a_second_report_is_the_same_to_the_byte(study, text):
    assert build(study).read_text() == text


def test_a_study_without_a_finished_run_says_so(tmp_path):
    (tmp_path / "study.json").write_text(json.dumps({"name": "New", "runs": [{"id": "a", "axes": {"seed": 1}}]}))
    text = build(tmp_path).read_text()
    assert "No run has finished yet" in text
    assert "0 of 1" in text
    assert not Page(text).all("table", "figure")


def test_one_run_alone_is_a_table_without_a_comparison(tmp_path):
    text = build(write_study(tmp_path, [{"patients": 40}])).read_text()
    assert "No two methods were run on the same model and task" in text
    assert "trained with one seed" in text
    assert "With one seed" not in text  # there is no comparison to say it of
    assert "Fewer than 100 test patients" in text
    assert 'class="best"' not in text


def test_results_of_another_version_that_lack_fields_are_shown_as_far_as_they_go(tmp_path):
    write_study(tmp_path, [{"patients": 40}, {"patients": 40, "method": "full"}, {"patients": 40, "method": "ia3"}])
    old = {"metrics": {"test": {"f1_macro": {"value": 0.25}}}}
    write(tmp_path / "runs" / "001-full" / "result.json", old)
    shutil.rmtree(tmp_path / "runs" / "001-full" / "predictions")
    write(tmp_path / "runs" / "002-ia3" / "result.json", {"metrics": {}, "timing": None})
    build(tmp_path)
    rows = {row["method"]: row for row in rows_of(tmp_path, "task_mimic_triage")}
    assert float(rows["Full fine-tuning"]["score"]) == 0.25
    assert rows["Full fine-tuning"]["low"] == rows["Full fine-tuning"]["train_s"] == ""
    assert "IA³" not in rows


def test_where_the_highest_is_untested_no_other_is_called_so(tmp_path):
    folder = write_study(tmp_path, [{"patients": 40}, {"patients": 40, "method": "full", "skill": 5.0}])
    shutil.rmtree(folder / "runs" / "001-full" / "predictions")
    page = build(folder).read_text()
    assert page.count("<td>untested</td>") == 2
    assert "<td>highest</td>" not in page


def test_the_paper_stands_beside_real_corpora_and_never_beside_a_twin(tmp_path):
    for synthetic in (False, True):
        folder = write_study(tmp_path / str(synthetic), [{"patients": 40, "synthetic": synthetic}])
        assert ("arXiv" in build(folder).read_text()) is not synthetic
    (row,) = rows_of(tmp_path / "False", "task_mimic_triage")
    assert (row["paper"], row["paper_metric"]) == ("0.599", "f1_macro")
    assert float(row["ours_so_counted"]) == pytest.approx(float(row["score"]))


def test_of_several_settings_none_is_said_to_be_the_papers(tmp_path):
    folder = write_study(tmp_path, [{"patients": 40, "synthetic": False, "rank": rank} for rank in (8, 64)])
    build(folder)
    assert {row.get("paper", "") for row in rows_of(tmp_path, "task_mimic_triage")} == {""}


def test_with_one_budget_of_time_validation_is_drawn_on_the_way_to_it(tmp_path):
    runs = [{"patients": 40, "seconds": 100, "method": method} for method in ("full", "lora")]
    text = build(write_study(tmp_path, runs)).read_text()
    assert "a line is a seed" in text
    assert 'class="answer">With one seed, LoRA ' in text
    assert [float(row["train_s"]) for row in rows_of(tmp_path, "seconds")][:4] == [15, 30, 45, 60]


def test_hostile_names_do_no_harm(tmp_path):
    name = '"><script>alert(1)</script>$x$'
    runs = [{"patients": 40, "model": name, "task": name, "method": method} for method in ("full", name)]
    page = Page(build(write_study(tmp_path, runs, name=name, question=name)).read_text())
    assert not page.all("script")
    assert page.open == []


def test_of_two_that_make_it_at_once_the_second_has_what_the_first_could_not_see(tmp_path):
    """Shards end together: the report that stays is of all runs."""
    write_study(tmp_path, [])
    with concurrent.futures.ThreadPoolExecutor() as pool:
        with lock(tmp_path, "report"):  # another process makes it
            ours = pool.submit(build, tmp_path)
            with pytest.raises(TimeoutError):
                ours.result(timeout=0.5)
            write_study(tmp_path, [{"error": "out of memory"}])
        assert "out of memory" in ours.result().read_text()


def test_a_folder_that_is_no_studys_is_one_message_and_stays_as_it_is(tmp_path, capsys):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(InputError, match=r"holds no study\.json"):
            build(folder)
    assert not any(tmp_path.iterdir())
    for argv in (["report", str(tmp_path / "missing")], ["report"], ["report", "--config=x"]):
        with pytest.raises(SystemExit) as ended:
            main(argv)
        assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    main(["report", "--help"])
    assert "python -m jaxpeft.study.report DIR" in capsys.readouterr().out
