"""The report of a study, from its runs' own folders: the answer, tables, figures, and what looks wrong.

python -m jaxpeft.study.report DIR

Leaves DIR/report/index.html, one file that opens anywhere and asks for nothing; report.md, the same without figures;
a CSV for every table and figure; and draws/, the resamples of each run's predictions, so that the next report takes
seconds. Made again at any time, of whatever the study has by then.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxpeft.command_line import report_and_exit
from jaxpeft.errors import InputError
from jaxpeft.study.answer import answer, caveats
from jaxpeft.study.cells import Table, as_csv
from jaxpeft.study.diagnostics import remarks_on
from jaxpeft.study.efficiency_page import efficiency_figure, efficiency_table
from jaxpeft.study.factors import Explained, explain
from jaxpeft.study.factors_page import factors_sentence, factors_table, left_out
from jaxpeft.study.figures import figures_of
from jaxpeft.study.findings import Findings, findings_of, reference_title
from jaxpeft.study.forgetting_table import forgetting_table
from jaxpeft.study.page import Part, Report, Section, html, markdown
from jaxpeft.study.palette import Palette
from jaxpeft.study.paper_composite import compared_with_paper, composite_figure, composite_table
from jaxpeft.study.standings import standings_of
from jaxpeft.study.statistics import RESAMPLES
from jaxpeft.study.store import lock, runs
from jaxpeft.study.systems import method_of
from jaxpeft.study.tables import (
    failed_table,
    glance_table,
    methods_table,
    other_scores_table,
    remarks_table,
    task_table,
)
from jaxpeft.training.workdir import read_json, write_text


def build(folder: Path) -> Path:
    """Makes the report of a study; returns the page. Raises InputError for a folder that is no study's."""
    if not (folder / "study.json").exists():
        raise InputError(f"{folder} holds no study.json: expected the folder of a study (of a search: its best/)")
    with lock(folder, "report", wait=True):  # of shards that end together the last has everything, and is the last
        return _build(folder)


def _build(folder: Path) -> Path:
    study = read_json(folder / "study.json")
    target = folder / "report"
    experiments, prices = study.get("experiments") or {}, study.get("prices") or {}
    found = findings_of(runs(folder), target / "draws", experiments.values(), prices)
    explained = explain(found, experiments, target / "draws")
    report = _report(study, found, explained, folder.resolve().name)
    for name, table in _csv_tables(report):
        write_text(target / f"{name}.csv", as_csv(table))
    write_text(target / "report.md", markdown(report))
    write_text(target / "index.html", html(report))
    return target / "index.html"


def main(argv: Sequence[str]) -> None:
    """Makes a report again; every user error becomes one message and exit code 2."""
    try:
        if "--help" in argv:
            print(__doc__)
            return
        if len(argv) != 2 or argv[1].startswith("-"):
            raise InputError("usage: python -m jaxpeft.study.report DIR, the folder of a study")
        print(build(Path(argv[1])))
    except InputError as error:
        report_and_exit(error)


def _report(study: Mapping[str, Any], found: Findings, explained: Sequence[Explained], folder: str) -> Report:
    return Report(
        name=str(study.get("name") or folder),
        question=str(study.get("question") or ""),
        answer=f"{answer(found)} {factors_sentence(explained)}".strip(),
        caveats=caveats(found),
        tiles=_tiles(found),
        sections=[section for section in _sections(study, found, explained) if section.parts or section.text],
        notes=_notes(found),
        facts=_facts(study, found),
        command=f"python -m jaxpeft.study.report {folder}",
    )


def _sections(study: Mapping[str, Any], found: Findings, explained: Sequence[Explained]) -> list[Section]:
    currency = str(study.get("currency") or "money")
    glance = glance_table(found)
    tasks = [Part(glance, "At a glance")] if glance else []
    for one in found.tasks:
        if one.rows:
            tasks.append(Part(task_table(one, currency), one.task.title))
            others = other_scores_table(one)
            tasks += [Part(others, f"All scores on {one.task.title}", folded=True)] if others else []
    factors = [Part(factors_table(one), f"{one.experiment}: {one.task.title}") for one in explained if one.shares]
    figures = [Part(figure, figure.title) for figure in figures_of(found)]
    remarks = remarks_on(found.runs)
    forgotten = forgetting_table(found)
    nothing = "" if remarks or not found.finished else "Nothing stands out in any run."
    return [
        Section("methods", f"Against {reference_title(found)}", "", [Part(methods_table(found))])
        if found.methods
        else Section("methods", "", "", []),
        Section("tasks", "By task", "", tasks),
        Section("factors", "What explains the differences", left_out(explained), factors),
        _efficiency(study, found, currency),
        Section("figures", "Figures", "", figures),
        Section("forgetting", "What is left of the base", "", [Part(forgotten)] if forgotten else []),
        Section("diagnostics", "What looks wrong", nothing, [Part(remarks_table(remarks))] if remarks else []),
        Section("failed", "Failed runs", "", [Part(failed_table(found.failed))] if found.failed else []),
    ]


def _efficiency(study: Mapping[str, Any], found: Findings, currency: str) -> Section:
    """Ours and the paper's, each where the study has what it takes; else why ours is missing."""
    palette, title = Palette.of(found), "Efficiency"
    parts: list[Part] = []
    if paper := compared_with_paper(found):
        table, figure = composite_table(*paper), composite_figure(*paper, palette)
        parts = [Part(table, "The paper’s composite, in numbers"), Part(figure, figure.title)]
    if not found.tasks:
        return Section("efficiency", title, "", parts)
    standings = standings_of(found, study.get("reference") or {})
    if not standings.systems:
        return Section("efficiency", title, f"No skill over cost here. {' '.join(standings.left_out)}", parts)
    ours = [Part(efficiency_table(standings, currency), "Skill over cost")]
    if by_task := efficiency_figure(standings, palette):
        ours.append(Part(by_task, by_task.title))
    return Section("efficiency", title, "", [*ours, *parts])


def _tiles(found: Findings) -> list[tuple[str, str]]:
    fewest, most = found.seeds
    tiles = [("runs finished", f"{len(found.finished)} of {len(found.runs)}"), ("runs failed", str(len(found.failed)))]
    if found.finished:
        tiles += [
            ("tasks", str(len(found.tasks))),
            ("models", str(len(found.models))),
            ("methods", str(len({method_of(run) for run in found.finished}))),
            ("seeds a system", str(fewest) if fewest == most else f"{fewest} to {most}"),
        ]
    return tiles


def _notes(found: Findings) -> list[str]:
    """What the words and numbers of this page mean."""
    if not found.finished:
        return ["Runs appear here as they finish: make the report again with the command below."]
    return [
        "A system is a model, a method and its settings; its score is the mean over its seeds, on the test split.",
        f"Intervals of 95 % come from {RESAMPLES} resamples of the test patients (else documents, else rows), the same "
        "for all systems tested on the same ones, widened by what the seeds differ beyond that.",
        "A paired test compares two systems on the same resamples, so that what is hard for both cancels out; p is "
        "two-sided. “Not told apart” is no proof that two systems are equal.",
        "Bold in a task’s table needs every paired test against the others at 5 %. Of two systems that are equally "
        "good one is bold in about one study in twenty; of more, less often.",
        "Memory is the peak of a run; time is training alone, without compilation and evaluation; bytes on disk are "
        "what one more task adds to a base that is there already.",
    ]


def _facts(study: Mapping[str, Any], found: Findings) -> list[tuple[str, str]]:
    """Where the numbers come from."""
    versions = sorted({_versions(run.result or {}) for run in found.finished} - {""})
    devices = sorted({device for one in found.tasks for row in one.rows for device in row.cost.devices})
    facts = [("Rule", str(rule)) for rule in study.get("rules") or []]
    facts += [("Prices", str(study["price_source"]))] if study.get("price_source") else []
    facts += [("Devices", "; ".join(devices))] if devices else []
    facts += [("Versions", one) for one in versions]
    return facts


def _versions(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {version}" for name, version in (result.get("versions") or {}).items())


def _csv_tables(report: Report) -> list[tuple[str, list[list[Any]]]]:
    contents = [part.content for section in report.sections for part in section.parts]
    return [(one.name, one.raw if isinstance(one, Table) else one.table) for one in contents]


if __name__ == "__main__":
    main(sys.argv)
