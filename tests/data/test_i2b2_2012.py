from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import i2b2_2012, read
from jaxpeft.data.readers.standoff_xml import parse
from jaxpeft.data.rows import Corpus, Rows
from tests.data.xml_files import SECRET, error, put

TEXT = "\nAdmission Date :\n2013-05-01\nHe &apos;s treated w/ I & D for a 63yo&apos;s rash .\n"
LAST_LINE = "He & apos ; s treated w / I & D for a 63 yo & apos ; s rash ."  # in words
EVENTS = """<EVENT id="E0" start="1" end="10" text="Admission" modality="FACTUAL" polarity="POS" type="OCCURRENCE" />
<TIMEX3 id="T0" start="18" end="28" text="2013-05-01" type="DATE" val="2013-05-01" mod="NA" />
<EVENT id="E1" start="51" end="56" text="I &amp; D" modality="FACTUAL" polarity="POS" type="TREATMENT" />
<SECTIME id="S0" start="18" end="28" text="2013-05-01" type="ADMISSION" dvalue="2013-05-01" />
<TLINK id="TL0" fromID="E0" fromText="Admission" toID="T0" toText="2013-05-01" type="OVERLAP" />"""


def file_2012(text: str = TEXT, tags: str = EVENTS) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8" ?>\n<ClinicalNarrativeTemporalAnnotation>\n'
        f"<TEXT><![CDATA[{text}]]></TEXT>\n<TAGS>\n{tags}\n</TAGS>\n</ClinicalNarrativeTemporalAnnotation>\n"
    )


def corpus_2012(root: Path, first: str | bytes, stem: str = "7.xml") -> Path:
    """A corpus whose first document is this file."""
    put(root / i2b2_2012.FOLDERS["train"][0] / stem, first)
    put(root / i2b2_2012.FOLDERS["test"][0] / "8.xml", file_2012())
    return root


def events(root: Path, **settings) -> Corpus:
    return read(DataConfig(format="i2b2_2012", **settings), str(root))


def event(start: int, end: int, text: str, kind: str = "PROBLEM") -> str:
    return f'<EVENT id="E9" start="{start}" end="{end}" text="{text}" type="{kind}"/>'


def read_events(root: Path, text: str, *tags: str, **settings) -> tuple[Rows, dict[str, int]]:
    """The rows of a document of this text and these annotations, and what was counted beside them."""
    corpus = events(corpus_2012(root, file_2012(text, "\n".join(tags))), **settings)
    report = {name: count for name, count in corpus.report.items() if count and name != "entities"}
    return corpus.splits["train"], report


def test_a_document(tmp_path):
    corpus = events(corpus_2012(tmp_path, file_2012()))
    rows = corpus.splits["train"]
    assert rows.tokens == [
        ["Admission", "Date", ":"],
        ["2013", "-", "05", "-", "01"],
        LAST_LINE.split(),
    ]
    assert rows.tags[0] == ["B-OCCURRENCE", "O", "O"]
    assert set(rows.tags[1]) == {"O"}
    assert rows.tags[2] == ["O"] * 8 + ["B-TREATMENT", "I-TREATMENT", "I-TREATMENT"] + ["O"] * 10
    assert rows.spans == [[(1, 10, "OCCURRENCE")], [], [(51, 56, "TREATMENT")]]
    assert rows.starts[2][8:11] == [51, 53, 55]
    assert (rows.id, rows.doc, rows.patient) == (["7:2", "7:3", "7:4"], ["7"] * 3, ["7"] * 3)
    assert {name: count for name, count in corpus.report.items() if count} == {"entities": 4}


def test_a_bare_ampersand_is_itself(tmp_path):
    corpus = events(corpus_2012(tmp_path, file_2012(tags=EVENTS.replace("&amp;", "&"))))
    assert corpus.splits["train"].spans[2] == [(51, 56, "TREATMENT")]
    assert {name: count for name, count in corpus.report.items() if count} == {
        "entities": 4,
        "files_with_bare_ampersands": 1,
    }


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace("\n", "\r\n"),
        lambda content: "\ufeff" + content,
        lambda content: content.rstrip("\n"),
        lambda content: content.partition("\n")[2],  # no XML declaration
        lambda content: content.replace(" />", "></EVENT>", 1),
        lambda content: content.replace("<TAGS>\n", "<TAGS>").replace(" />\n", "/>"),
        lambda content: content.replace('start="1"', '\n  start = "1"'),
        lambda content: content.replace('Admission" mod', 'Admis&#115;i&#x6F;n" mod'),
    ],
)
def test_spellings_of_the_same_file(tmp_path, change):
    rows = events(corpus_2012(tmp_path, file_2012())).splits["train"]
    assert change(file_2012()) != file_2012()
    corpus = events(corpus_2012(tmp_path, change(file_2012())))
    assert corpus.splits["train"] == rows
    assert corpus.report["files_with_bare_ampersands"] == 0


def test_cp1252_and_endings_in_capitals(tmp_path):
    text = TEXT.replace("rash", "na\xefve rash")
    corpus = events(corpus_2012(tmp_path, file_2012(text).encode("cp1252"), "7.XML"))
    assert corpus.splits["train"].tokens[2][-3:] == ["na\xefve", "rash", "."]
    assert corpus.report["files_in_cp1252"] == 1


def test_a_file_without_annotations(tmp_path):
    bare = file_2012(tags="").replace("<TAGS>\n\n</TAGS>", "<TAGS/>")
    assert "<TAGS/>" in bare
    for content in (file_2012(tags=""), bare):
        rows = events(corpus_2012(tmp_path, content)).splits["train"]
        assert rows.spans == [[], [], []]


@pytest.mark.parametrize(
    ("place", "text", "spans", "tags", "counted"),
    [
        ((0, 10, "chest pain"), "chest pain", [(0, 10)], "B I O O O O", ""),
        ((0, 10, "chest  pain"), "chest\npain", [(0, 10)], "B", "pieces_of_entities_over_lines"),
        ((0, 11, "pain&apos;s"), "pain&apos;s", [(0, 11)], "B I I I I", ""),  # CDATA keeps what attributes resolve
        ((2, 12, "chest pain"), "chest pain", [(0, 10)], "B I O O O O", "spans_moved_to_their_text"),
        ((16, 20, "pain"), "chest pain", [(6, 10)], "O B O O O O", "spans_moved_to_their_text"),
        ((900, 904, "pain"), "chest pain", [], "O O O O O O", "spans_outside_the_text"),
        ((1, 3, "12"), "2012, 12x", [(6, 8)], "O O B O O O", "spans_moved_to_their_text"),  # not into another word
        ((3, 6, "chest"), "chests", [(3, 6)], "B O O O", "spans_whose_text_differs spans_inside_words"),
        ((1, 4, "pain"), "pain, pain", [(1, 4)], "B O O O O", "spans_whose_text_differs spans_inside_words"),
        ((0, 5, "cheast"), "chest pain", [(0, 5)], "B O O O O O", "spans_whose_text_differs"),
        ((5, 5, "cheast"), "chest pain", [], "O O O O O O", "spans_outside_the_text"),
        ((7, 5, "pain"), "chest pain", [(6, 10)], "O B O O O O", "spans_moved_to_their_text"),
        ((0, 3, "che"), "chest pain", [(0, 3)], "B O O O O O", "spans_inside_words"),
        ((2, 8, "est pa"), "chest pain", [(2, 8)], "B I O O O O", "spans_inside_words"),
        ((5, 6, " "), "chest pain", [], "O O O O O O", "spans_without_words"),
    ],
)  # fmt: skip
def test_spans_and_their_repairs(tmp_path, place, text, spans, tags, counted):
    rows, report = read_events(tmp_path, text + ", then home.", event(*place))
    assert rows.spans[0] == [(*span, "PROBLEM") for span in spans]
    assert [tag[0] for tag in rows.tags[0]][: len(tags.split())] == tags.split()
    assert report == dict.fromkeys(counted.split(), 1)


def test_types_that_are_missing_new_or_repeated(tmp_path):
    chest, pain = event(0, 5, "chest", ""), event(6, 10, "pain", "sensation")
    rows, report = read_events(tmp_path, "chest pain", chest, pain, pain, event(0, 10, "chest pain"))
    assert rows.spans == [[(6, 10, "SENSATION"), (0, 10, "PROBLEM")]]
    assert rows.tags == [["B-PROBLEM", "I-PROBLEM"]]
    assert report == {
        "spans_without_type": 1,
        "spans_of_unknown_types": 2,
        "spans_repeated": 1,
        "entities_not_in_tags": 1,
    }


def test_a_span_over_lines_stands_in_the_row_that_it_begins_in(tmp_path):
    rows, _ = read_events(tmp_path, "no chest\npain\n\n", event(3, 13, "chest pain"))
    assert rows.tags == [["O", "B-PROBLEM"], ["B-PROBLEM"]]
    assert rows.spans == [[(3, 13, "PROBLEM")], []]
    rows, report = read_events(tmp_path, "no chest\npain\n\n", event(3, 13, "chest pain"), unit="document")
    assert rows.tags == [["O", "B-PROBLEM", "I-PROBLEM"]]
    assert rows.text == ["no chest\npain\n\n"]
    assert report == {}


def test_a_document_without_words_is_counted(tmp_path):
    for unit in ("sentence", "document"):
        root = tmp_path / unit
        put(root / i2b2_2012.FOLDERS["train"][0] / "6.xml", file_2012(text="\n \n", tags=""))
        rows, report = read_events(root, "pain", event(0, 4, "pain"), unit=unit)
        assert (rows.doc, report) == (["7"], {"documents_without_words": 1})


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (event(0, 5, SECRET).replace('start="0"', ""), "7.xml:6: expected start and end, whole numbers, and type"),
        (event(0, 5, SECRET).replace('"0"', '"-1"'), "7.xml:6: expected start and end"),
        (event(0, 5, SECRET).replace('type="PROBLEM"', ""), "7.xml:6: expected start and end"),
        (event(0, 5, "chest", f"{SECRET} of"), "7.xml:6: type does not read like a type such as CLINICAL_DEPT"),
        (f"\n{SECRET}", "7.xml:7: expected an annotation such as"),
        ('<EVENT id="E1" text="the "flu" shot"/>', "7.xml:6: expected an annotation such as"),
        ("<EVENT id='E1'/>", "7.xml:6: expected an annotation such as"),
        (EVENTS + "<EVENT", "7.xml:10: expected an annotation such as"),
        (EVENTS + "</TAGS><TAGS>", "7.xml:10: expected an annotation such as"),
    ],
)
def test_malformed_annotations_are_named_by_line(tmp_path, tags, expected):
    assert expected in error(corpus_2012(tmp_path, file_2012("a text\n", tags)))


BOMB = '<?xml version="1.0"?>\n<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>\n'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (BOMB + file_2012().partition("\n")[2], "7.xml:1: expected <ClinicalNarrativeTemporalAnnotation><TEXT>"),
        (SECRET, "7.xml:1: expected <ClinicalNarrativeTemporalAnnotation><TEXT><![CDATA["),
        ("", "7.xml:1: expected"),
        (file_2012().replace("ClinicalNarrativeTemporalAnnotation", "deIdi2b2"), "7.xml:1: expected"),
        (file_2012(SECRET).replace("<![CDATA[", "").replace("]]>", ""), "7.xml:1: expected"),
        (file_2012(SECRET).replace("]]>", ""), "7.xml: expected ]]></TEXT><TAGS> after the text: is the file whole?"),
        (file_2012(SECRET).partition("]]>")[0], "7.xml: expected ]]></TEXT><TAGS> after the text"),
        (file_2012().partition("</TAGS>")[0], "7.xml:14: expected an annotation such as"),
        (b"\x81" + SECRET.encode(), "7.xml: neither UTF-8 nor CP1252 text"),
    ],
)
def test_what_is_not_this_form_of_xml_is_refused(tmp_path, content, expected):
    assert expected in error(corpus_2012(tmp_path, content))


def test_entities_do_not_expand(tmp_path):
    text, annotations = parse(
        put(tmp_path / "x.xml", file_2012(tags='<EVENT a="&b;&#0;&#x110000;&lt;&gt;&quot;&apos;&amp;amp;"/>')),
        "ClinicalNarrativeTemporalAnnotation",
        report := Counter(),
    )
    assert text == TEXT
    assert annotations[0].attributes == {"a": "&b;&#0;&#x110000;<>\"'&amp;"}
    assert report["files_with_bare_ampersands"] == 1


@given(st.text(st.characters(exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=40))
def test_words_are_all_that_is_no_space(tmp_path_factory, text):
    if "]]>" in text:
        return
    root = corpus_2012(tmp_path_factory.getbasetemp() / "words", file_2012("x" + text, tags=""))
    for unit in ("sentence", "document"):
        rows = events(root, unit=unit).splits["train"]
        words = [pair for row in zip(rows.tokens, rows.starts, strict=True) for pair in zip(*row, strict=True)]
        assert all(("x" + text).startswith(word, start) for word, start in words)
        assert "".join(word for word, _ in words) == "".join(("x" + text).split())
