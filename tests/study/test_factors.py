"""Which setting explains the differences: what of a study is taken apart, what is left out, and what is said."""

import csv
import dataclasses
import itertools
import json

import pytest

from jaxpeft.study import report
from jaxpeft.study.factors import explain
from jaxpeft.study.factors_page import factors_sentence, left_out
from jaxpeft.study.findings import findings_of
from jaxpeft.study.store import Run, runs
from tests.study.fake_study import write_study

RANKS, RATES, SEEDS = (2, 16), (1e-3, 3e-3), (12, 34)


DEFAULT = {"model": "nlpie/tiny-biobert", "method": "lora", "task": "mimic_triage"}  # as `write_run` has them


def grid(skill=lambda rank, rate: 1.0 + (rate > 2e-3), ranks=RANKS, rates=RATES, seeds=SEEDS):
    return [
        {"rank": rank, "learning_rate": rate, "seed": seed, "skill": skill(rank, rate), "patients": 60}
        for rank, rate, seed in itertools.product(ranks, rates, seeds)
    ]


def folder_of(tmp_path, described, alpha=None):
    """A study whose only experiment holds all; `alpha` gives that of a rank and a rate."""
    ids = [f"{number:03d}-{run.get('method', 'lora')}" for number, run in enumerate(described)]
    folder = write_study(tmp_path / "study", described, experiments={"sensitivity": ids})
    for name, run in zip(ids, described, strict=True):
        path = folder / "runs" / name / "config.json"
        config = json.loads(path.read_text())
        config["peft"]["lora"]["alpha"] = alpha(run["rank"]) if alpha else 8.0
        path.write_text(json.dumps(config))
    return folder


def explained_of(folder):
    found = findings_of(runs(folder), folder / "report" / "draws", [], {})
    ids = json.loads((folder / "study.json").read_text())["experiments"]
    return explain(found, ids, folder / "report" / "draws")


def test_the_setting_that_matters_is_found_and_said(tmp_path):
    (one,) = explained_of(folder_of(tmp_path, grid()))
    assert [share.name for share in one.shares] == ["rank", "learning_rate", "interactions", "seeds"]
    shares = {share.name: share.part.share for share in one.shares}
    assert shares["learning_rate"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)
    sentence = factors_sentence([one])
    assert sentence.startswith("Of how scores differ on ICD-9 triage (twin) in the experiment “sensitivity”, ")
    assert f"learning rate explains {100 * shares['learning_rate']:.0f} % of the variance (95 % interval" in sentence
    assert left_out([one]) == ""


def test_the_report_has_the_sentence_the_table_and_its_csv(tmp_path):
    folder = folder_of(tmp_path, grid())
    page = report.build(folder).read_text()
    assert "What explains the differences" in page
    text = (folder / "report" / "report.md").read_text()
    assert "learning rate explains" in text.split("\n")[4]
    with (folder / "report" / "factors_sensitivity_mimic_triage.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["factor"] for line in lines] == ["rank", "learning_rate", "interactions", "seeds"]
    assert {line["runs"] for line in lines} == {"8"}
    assert all(0 <= float(line["low"]) <= float(line["high"]) <= 1 for line in lines)


@pytest.mark.parametrize(
    ("described", "reason"),
    [
        (grid()[2:], "1 of the 4 combinations of its settings have no finished run"),
        (grid()[1:], "its combinations have from 1 to 2 seeds"),
    ],
)
def test_what_is_not_balanced_is_left_out_and_said(tmp_path, described, reason):
    explained = explained_of(folder_of(tmp_path, described))
    assert left_out(explained).endswith(f"“sensitivity” on ICD-9 triage (twin): {reason}.")
    assert factors_sentence(explained) == ""


def test_what_a_method_brings_with_it_is_no_factor(tmp_path):
    described = [
        {"model": model, "method": method, "rank": 8 if method == "lora" else None, "seed": seed, "patients": 60}
        for model, method, seed in itertools.product(("a", "b"), ("lora", "ia3"), SEEDS)
    ]
    (one,) = explained_of(folder_of(tmp_path, described))
    assert [share.name for share in one.shares] == ["model", "method", "interactions", "seeds"]


def test_a_setting_of_some_methods_alone_is_said_to_be_one(tmp_path):
    described = [
        {"method": method, "rank": rank, "seed": seed, "patients": 60}
        for (method, rank), seed in itertools.product((("lora", 4), ("lora", 16), ("ia3", None)), SEEDS)
    ]
    explained = explained_of(folder_of(tmp_path, described))
    assert left_out(explained).endswith("(twin): only some of its methods have rank.")


def test_a_level_whose_runs_have_all_failed_is_missing_and_not_none(tmp_path):
    described = grid()
    failed = [{"rank": 64, "learning_rate": rate, "seed": seed} for rate, seed in itertools.product(RATES, SEEDS)]
    folder = folder_of(tmp_path, described)
    study = json.loads((folder / "study.json").read_text())
    study["runs"] += [{"id": f"x{number}", "axes": one | DEFAULT} for number, one in enumerate(failed)]
    study["experiments"]["sensitivity"] += [f"x{number}" for number in range(len(failed))]
    (folder / "study.json").write_text(json.dumps(study))
    reason = "2 of the 6 combinations of its settings have no finished run"
    assert reason in left_out(explained_of(folder))


def test_scores_that_are_all_equal_have_nothing_to_explain(tmp_path):
    folder = folder_of(tmp_path, grid())
    for path in (folder / "runs").glob("*/result.json"):
        result = json.loads(path.read_text())
        result["metrics"]["test"]["f1_macro"]["value"] = 0.5
        path.write_text(json.dumps(result))
    assert left_out(explained_of(folder)).endswith("ICD-9 triage (twin): all scores are equal.")


def test_one_setting_alone_is_no_question(tmp_path):
    assert explained_of(folder_of(tmp_path, grid(rates=(1e-3,)))) == []


def test_with_one_seed_interactions_and_seeds_are_one(tmp_path):
    (one,) = explained_of(folder_of(tmp_path, grid(seeds=(12,))))
    assert [share.name for share in one.shares] == ["rank", "learning_rate", "interactions and seeds"]


def test_alpha_fixed_the_rank_is_not_told_from_the_scale(tmp_path):
    (one,) = explained_of(folder_of(tmp_path, grid()))
    assert one.overlapping == []
    assert one.note.startswith("Each rank has one scale")


def scaled(rule, rank):
    return {"8": 8.0, "rank": float(rank), "2 rank": 2.0 * rank}[rule]


def test_the_scale_is_a_grouping_beside_the_factors(tmp_path):
    rules = ("8", "rank", "2 rank")
    described = [
        {"rank": rank, "alpha": rule, "seed": seed, "patients": 60, "skill": min(scaled(rule, rank) / rank, 2.0)}
        for rank, rule, seed in itertools.product((2, 16, 64), rules, SEEDS)
    ]
    folder = folder_of(tmp_path, described)
    for path, run in zip(sorted((folder / "runs").iterdir()), described, strict=True):
        config = json.loads((path / "config.json").read_text())
        config["peft"]["lora"] = {"rank": run["rank"], "alpha": scaled(run["alpha"], run["rank"])}
        (path / "config.json").write_text(json.dumps(config))
    (one,) = explained_of(folder)
    (scale,) = one.overlapping
    assert scale.levels == 5  # 1, 2, and with alpha 8 also 4, 0.5 and 0.125
    assert scale.part.share > max(share.part.share for share in one.shares)
    assert "two of rank, alpha and scale fix the third" in one.note
    assert "scale" not in factors_sentence([one])


def test_another_methods_runs_have_no_scale(tmp_path):
    from jaxpeft.study.factors import _rank_and_scale

    run = Run("a", {}, tmp_path, {"peft": {"method": "lora", "lora": {"rank": 4, "alpha": 8.0}}}, {}, None)
    assert _rank_and_scale(run) == (4, 2.0)
    root = {"peft": {"method": "lora", "lora": {"rank": 4, "alpha": 8.0, "rslora": True}}}
    assert _rank_and_scale(dataclasses.replace(run, config=root)) == (4, 4.0)
    assert _rank_and_scale(dataclasses.replace(run, config={"peft": {"method": "ia3"}})) is None
