from pathlib import Path

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import i2b2_2012, i2b2_2014, read
from tests.data.xml_files import SECRET, error, put


def file_2014(text: str, tags: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8" ?>\n'
        f"<deIdi2b2>\n<TEXT><![CDATA[{text}]]></TEXT>\n<TAGS>\n{tags}\n</TAGS>\n</deIdi2b2>"
    )


NOTE = "\nRecord date: 2067-05-03\nMr. Van der Berg is a 63yo seen by SmithMD\n at 12 Elm St\nOmaha\n"
MARKS = """<DATE id="P0" start="14" end="24" text="2067-05-03" TYPE="DATE" comment="" />
<NAME id="P1" start="29" end="41" text="Van der Berg" TYPE="PATIENT" comment="" />
<AGE id="P2" start="47" end="49" text="63" TYPE="AGE" comment="" />
<NAME id="P3" start="60" end="65" text="Smith" TYPE="DOCTOR" comment="" />
<LOCATION id="P4" start="72" end="87" text="12 Elm St Omaha" TYPE="LOCATION-OTHER" comment="" />"""


def corpus_2014(root: Path, stem: str = "101-02.xml") -> Path:
    put(root / "training-PHI-Gold-Set1" / stem, file_2014(NOTE, MARKS))
    put(root / "training-PHI-Gold-Set2" / "102-01.xml", file_2014(NOTE, MARKS))
    put(root / "testing-PHI-Gold-fixed" / "103-01.xml", file_2014(NOTE, MARKS))
    return root


def test_identifiers(tmp_path):
    corpus = read(DataConfig(format="i2b2_2014"), str(corpus_2014(tmp_path)))
    rows = corpus.splits["train"]
    assert (rows.doc[0], rows.patient[0], rows.doc[-1], rows.patient[-1]) == ("101-02", "101", "102-01", "102")
    assert list(zip(rows.tokens[1], rows.tags[1], strict=True)) == [
        ("Mr", "O"), (".", "O"), ("Van", "B-PATIENT"), ("der", "I-PATIENT"), ("Berg", "I-PATIENT"), ("is", "O"),
        ("a", "O"), ("63", "B-AGE"), ("yo", "O"), ("seen", "O"), ("by", "O"), ("SmithMD", "B-DOCTOR"),
    ]  # fmt: skip
    assert rows.tags[0] == ["O", "O", "O", *["B-DATE"], *["I-DATE"] * 4]
    assert rows.tags[2:4] == [["O", "B-LOCATION-OTHER", *["I-LOCATION-OTHER"] * 2], ["B-LOCATION-OTHER"]]
    assert rows.spans[1:4] == [
        [(29, 41, "PATIENT"), (47, 49, "AGE"), (60, 65, "DOCTOR")],
        [(72, 87, "LOCATION-OTHER")],
        [],
    ]
    assert {name: count for name, count in corpus.report.items() if count} == {
        "entities": 15,
        "spans_inside_words": 3,
        "pieces_of_entities_over_lines": 3,
    }
    assert len(corpus.splits["test"]) == 4


def test_the_paper_knows_where_identifiers_end(tmp_path):
    corpus = read(DataConfig(format="i2b2_2014", protocol="paper"), str(corpus_2014(tmp_path)))
    rows = corpus.splits["train"]
    assert rows.tokens[1] == ["Mr.", "Van", "der", "Berg", "is", "a", "63", "yo", "seen", "by", "Smith", "MD"]
    assert rows.tags[1][-2:] == ["B-DOCTOR", "O"]
    assert corpus.report["paper_lines_cut_at_labels"] == 3
    assert [len(part) for part in corpus.splits.values()] == [7, 3]
    assert corpus.report["spans_inside_words"] == 0


def test_missing_folders_and_documents_that_are_there_twice(tmp_path):
    assert "no folder training-PHI-Gold-Set1, training-PHI-Gold-Set2, testing-PHI-Gold-fixed" in error(
        tmp_path, "i2b2_2014"
    )
    assert "no such folder: expected the corpus" in error(tmp_path / "nowhere", "i2b2_2014")
    corpus_2014(tmp_path, stem="103-01.xml")
    assert "103-01.xml: one document twice: keep one" in error(tmp_path, "i2b2_2014")
    (tmp_path / "training-PHI-Gold-Set1" / "103-01.xml").unlink()
    assert "training-PHI-Gold-Set1: no .xml file; the folder has none" in error(tmp_path, "i2b2_2014")


def test_physionets_format_is_refused_with_the_reason(tmp_path):
    put(tmp_path / "id.text", f"\nSTART_OF_RECORD=1||||1||||\n{SECRET}\n||||END_OF_RECORD\n")
    assert "no folder training" in error(tmp_path, "i2b2_2014")
    put(tmp_path / "id.res", f"START_OF_RECORD=1||||1||||\n{SECRET}\n||||END_OF_RECORD\n")
    for format in ("i2b2_2012", "i2b2_2014"):
        assert "id.res: PhysioNet's de-identification format, whose answers take the place" in error(tmp_path, format)


def test_annotations_of_other_texts_are_refused(tmp_path):
    corpus_2014(tmp_path)
    for number in range(4):
        put(tmp_path / "testing-PHI-Gold-fixed" / f"{number}-01.xml", file_2014(f"{SECRET}\n" * 12, MARKS))
    assert "testing-PHI-Gold-fixed: 20 of 25 annotations have a text" in error(tmp_path, "i2b2_2014")


def test_types_are_those_of_the_task():
    assert len(i2b2_2014.LAYOUT.types) == 30
    assert len(i2b2_2012.LAYOUT.types) == 6
