import pytest

from jaxpeft.data.splits import make_splits
from tests.data.i2b2_2010_folders import PAIRS, RELATIONS, SECRET, corpus, error, relations, write


def test_a_row_for_each_pair_of_a_line(tmp_path):
    found = relations(corpus(tmp_path))
    rows = found.splits["test"]
    assert list(zip(rows.text, rows.label or (), strict=True)) == PAIRS
    assert rows.id == ["test/0001:2:0-1", "test/0001:4:2-3"]
    assert rows.doc == ["test/0001"] * 2
    assert rows.tags is None
    assert make_splits(relations(corpus(tmp_path), negative_label="none")).labels == ("TrAP", "none")
    assert "'PIP', which is a relation" in error(tmp_path, target="relations", negative_label="PIP")


@pytest.mark.parametrize(
    ("lines", "labels", "counted"),
    [
        ('c="chest pain" 2:1 2:2||r="TrAP"||c="aspirin" 2:6 2:6', ["TrAP"], {}),
        (RELATIONS * 2, ["TrAP"], {"relations_repeated": 1}),
        (RELATIONS + RELATIONS.replace("TrAP", "TrIP"), ["TrAP", "TrIP"], {"pairs_with_several_labels": 1}),
        (RELATIONS.replace("2:1 2:2", "2:2 2:2"), ["TrAP"], {}),  # moved to its text, as the concept is
        ('c="fever" 4:1 4:1||r="PIP"||c="chest pain" 2:1 2:2', ["false"], {"relations_across_lines": 1}),
        ('c="fever" 4:1 4:1||r="PIP"||c="no" 4:0 4:0', ["false"], {"relations_without_concepts": 1}),
        ('c="fever" 4:1 4:1||r="PIP"||c="fever" 4:1 4:1', ["false"], {"relations_without_concepts": 1}),
        ('c="fever" 4:1 4:1||r="PIP"||c="gone" 9:0 9:0', ["false"], {"relations_without_concepts": 1}),
    ],
)
def test_relations_and_what_is_left_out(tmp_path, lines, labels, counted):
    found = relations(corpus(tmp_path, relations=lines))
    rows = found.splits["train"]
    assert rows.doc is not None
    first = [row for row, doc in enumerate(rows.doc) if doc == "beth/record-1"]
    assert [(rows.label or [])[row] for row in first] == [*labels, "false"]
    plain = {"entities": 12, "relations": 2 + len(lines.strip().splitlines())}
    assert {name: count for name, count in found.report.items() if count} == plain | counted


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (f'c="{SECRET}" 2:6 2:6||r="TrXP"||c="{SECRET}" 2:1 2:2', "record-1.rel:1: expected a label of PIP, TeCP"),
        (f'c="{SECRET}" 2:6 2:6||r="TrAP"', 'record-1.rel:1: expected c="TEXT" LINE:TOKEN LINE:TOKEN||r="LABEL"'),
    ],
)
def test_malformed_relations_are_named_by_line(tmp_path, lines, expected):
    assert expected in error(corpus(tmp_path, relations=lines), target="relations")


def test_concepts_that_share_words_are_one_mark(tmp_path):
    concepts = 'c="of the head" 4:4 4:6||t="problem"\nc="ct of the" 4:3 4:5||t="test"'
    found = relations(corpus(tmp_path, concepts=concepts, relations=""))
    assert found.splits["train"].text[0] == "no Fever on @test-problem$"
    assert found.report["pairs_that_overlap"] == 1


def test_the_paper_halves_the_pairs_of_test_documents(tmp_path):
    corpus(tmp_path)
    for number in range(2, 12):
        write(tmp_path, "test", f"{number:04d}")
    fixed, paper = relations(tmp_path), relations(tmp_path, protocol="paper")
    assert paper.splits["train"] == fixed.splits["train"]
    halves = [paper.splits[name].id or [] for name in ("validation", "test")]
    assert [len(half) for half in halves] == [11, 11]
    assert sorted(halves[0] + halves[1]) == sorted(fixed.splits["test"].id or ())
    assert paper.report["paper_validation_rows_from_test_documents"] == 11
    assert make_splits(paper).report["validation_test_docs"] > 0
    assert "paper_validation_rows_from_test_documents" not in fixed.report
