import pytest

from jaxpeft.data.splits import make_splits
from tests.data.i2b2_2010_folders import (
    CONCEPTS,
    PAIRS,
    RELATIONS,
    SECRET,
    TAGS,
    TEXT,
    corpus,
    entities,
    error,
    first_rows,
    put,
    relations,
    write,
)


def test_a_tag_a_word_by_line(tmp_path):
    rows = first_rows(corpus(tmp_path))
    assert rows.tags == TAGS
    assert rows.text == [
        "Admission Date :",
        "Chest pain &apos;s relieved by Aspirin",
        "no Fever on CT of the head",
    ]
    assert rows.tokens == [text.split() for text in rows.text]
    assert rows.starts is not None
    assert rows.starts[1] == [18, 24, 29, 37, 46, 49]
    assert rows.id == ["beth/record-1:1", "beth/record-1:2", "beth/record-1:4"]
    assert rows.spans is None  # the owner annotates words


def test_both_hospitals_train_and_validation_is_cut_by_document(tmp_path):
    for number in range(1, 11):
        write(tmp_path, "beth", f"record-{number}")
        write(tmp_path, "partners", f"{number:03d}")
    write(tmp_path, "test", "0001")
    splits = make_splits(entities(tmp_path), seed=3)
    assert splits.labels == ("problem", "test", "treatment")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (54, 6, 3)
    docs = [set(part.doc or ()) for part in (splits.train, splits.validation)]
    assert not docs[0] & docs[1]
    assert {doc.partition("/")[0] for doc in docs[0]} == {"beth", "partners"}


def test_documents_as_rows(tmp_path):
    rows = first_rows(corpus(tmp_path), unit="document")
    assert (rows.text, rows.id, rows.tags) == ([TEXT], ["beth/record-1"], [[*TAGS[0], *TAGS[1], *TAGS[2]]])


@pytest.mark.parametrize("reference", ["concepts", "concept"])
@pytest.mark.parametrize("text", ["test_data", "reference_standard_for_test_data/txt"])
def test_merged_hospitals_and_moved_folders(tmp_path, reference, text):
    write(tmp_path, "train", "a")
    write(tmp_path, "train", "b")
    write(tmp_path, "test", "c")
    moved = tmp_path / "reference_standard_for_test_data"
    (moved / "concepts").rename(moved / reference)
    (tmp_path / "test_data").rename(tmp_path / text)
    found = entities(tmp_path)
    assert found.splits["train"].doc == ["train/a"] * 3 + ["train/b"] * 3
    assert found.splits["test"].tags == TAGS


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.rstrip("\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace(" ", "  ") if "||" not in text else text,  # two spaces are one break
    ],
)
def test_line_ends_marks_and_spaces(tmp_path, change):
    root = corpus(tmp_path, text=change(TEXT), concepts=change(CONCEPTS), relations=change(RELATIONS))
    assert first_rows(root).tags == TAGS
    pairs = relations(root).splits["train"]
    assert list(zip(pairs.text, pairs.label or (), strict=True)) == PAIRS * 2


def test_endings_in_capitals_and_hidden_files(tmp_path):
    root = corpus(tmp_path, endings=str.upper)
    write(root, "beth", "._record-1", text=b"\x00\x05\x16\x07")  # what macOS leaves in archives
    assert first_rows(root).tags == TAGS
    write(root, "beth", "record-1")
    assert "record-1.TXT and record-1.txt: keep one" in error(root)


def test_cp1252_is_read_and_counted(tmp_path):
    text = TEXT.replace("no Fever", "caf\xe9 Fever")
    found = entities(corpus(tmp_path, text=text.encode("cp1252")))
    assert found.splits["train"].tokens[2][:2] == ["caf\xe9", "Fever"]
    assert found.report["files_in_cp1252"] == 1
    assert "neither UTF-8 nor CP1252 text" in error(corpus(tmp_path, text=SECRET.encode() + b"\x81"))
    assert "neither UTF-8 nor CP1252 text" in error(corpus(tmp_path, text=SECRET.encode("utf-16")))


@pytest.mark.parametrize(
    ("line", "tags", "counted"),
    [
        ('c="the head" 4:5 4:6||t="test"', "O O O O O B-test I-test", None),
        ('c="THE  head" 4:5 4:6||t="Test"', "O O O O O B-test I-test", None),
        ('c="head" 4:6 4:7||t="test"', "O O O O O O B-test", "concepts_past_the_line_end"),
        ('c="fever" 4:2 4:2||t="problem"', "O B-problem O O O O O", "concepts_moved_to_their_text"),
        ('c="ct of" 4:90 4:91||t="test"', "O O O B-test I-test O O", "concepts_moved_to_their_text"),
        ('c="fevre" 4:1 4:1||t="problem"', "O B-problem O O O O O", "concepts_whose_text_differs"),
        ('c="fevre" 4:7 4:7||t="problem"', "O O O O O O O", "concepts_outside_the_text"),
        ('c="fever" 5:1 5:1||t="problem"', "O O O O O O O", "concepts_outside_the_text"),
        ('c="fever" 99:1 99:1||t="problem"', "O O O O O O O", "concepts_outside_the_text"),
        ('c="fever" 0:1 0:1||t="problem"', "O O O O O O O", "concepts_outside_the_text"),
        ('c="fever" 4:3 2:1||t="problem"', "O O O O O O O", "concepts_outside_the_text"),
        ('c="the" 4:5 4:5||t="test"\nc="the" 4:5 4:5||t="test"', "O O O O O B-test O", "concepts_repeated"),
        ('c="of the" 4:4 4:5||t="test"\nc="the" 4:5 4:5||t="test"', "O O O O B-test I-test O", "entities_not_in_tags"),
        ('c="the" 4:5 4:5||t="test"\nc="of the" 4:4 4:5||t="test"', "O O O O B-test I-test O", "entities_not_in_tags"),
    ],
)  # fmt: skip
def test_concepts_and_their_repairs(tmp_path, line, tags, counted):
    found = entities(corpus(tmp_path, concepts=line, relations=""))
    assert found.splits["train"].tags[2] == tags.split()
    assert {name: count for name, count in found.report.items() if count and name != "entities"} == (
        {counted: 1} if counted else {}
    )


def test_a_text_that_stands_twice_in_its_line_is_not_moved(tmp_path):
    found = entities(
        corpus(tmp_path, text="pain and pain today", concepts='c="pain" 1:1 1:1||t="problem"', relations="")
    )
    assert found.splits["train"].tags[0] == ["O", "B-problem", "O", "O"]
    assert found.report["concepts_whose_text_differs"] == 1


def test_a_concept_over_a_line_end_is_tagged_in_both_lines(tmp_path):
    root = corpus(
        tmp_path, text="severe chest\npain today", concepts='c="chest pain" 1:1 2:0||t="problem"', relations=""
    )
    found = entities(root)
    assert found.splits["train"].tags[:2] == [["O", "B-problem"], ["B-problem", "O"]]
    assert found.report["pieces_of_entities_over_lines"] == 1
    assert first_rows(root, unit="document").tags == [["O", "B-problem", "I-problem", "O"]]


def test_a_text_that_goes_on_in_the_next_line_is_not_moved(tmp_path):
    found = entities(
        corpus(tmp_path, text="no chest\npain", concepts='c="chest pain" 1:0 1:1||t="problem"', relations="")
    )
    assert found.splits["train"].tags[:2] == [["B-problem", "I-problem"], ["O"]]
    assert found.report["concepts_whose_text_differs"] == 1


def test_words_are_what_stands_between_plain_spaces(tmp_path):
    text = "see\u00a0chest\u2028pain today\x85 ."
    concepts = 'c="see\u00a0chest\u2028pain" 1:0 1:0||t="problem"'
    found = entities(corpus(tmp_path, text=text, concepts=concepts, relations=""))
    assert found.splits["train"].tokens[0] == text.split(" ")
    assert found.splits["train"].tags[0] == ["B-problem", "O", "O"]
    assert found.report["concepts_moved_to_their_text"] == 0


def test_an_empty_token_in_a_concept_is_no_word(tmp_path):
    root = corpus(tmp_path, concepts='c=" chest pain" 2:0 2:2||t="problem"', relations="")
    assert first_rows(root).tags[1] == TAGS[1][:2] + ["O"] * 4
    assert not any(count for name, count in entities(root).report.items() if name != "entities")


@pytest.mark.parametrize(
    ("concepts", "expected"),
    [
        (f'c="{SECRET}" 1:0 1:0', 'record-1.con:2: expected c="TEXT" LINE:TOKEN LINE:TOKEN||t="TYPE"'),
        (f'c="{SECRET}" 1:0 1:0||t="{SECRET}"', "record-1.con:2: expected a type of problem, treatment, test"),
        (f'c="{SECRET}" 1:0 1:{"9" * 10}||t="test"', "record-1.con:2: expected c="),
        (SECRET, "record-1.con:2: expected c="),
    ],
)
def test_malformed_concepts_are_named_by_line(tmp_path, concepts, expected):
    assert expected in error(corpus(tmp_path, concepts="\n" + concepts))


def test_annotations_of_other_texts_are_refused(tmp_path):
    corpus(tmp_path, text=f"{SECRET} went home", relations="")
    for number in range(2, 10):
        write(tmp_path, "beth", f"record-{number}")
    assert entities(tmp_path).report["concepts_outside_the_text"] == 4
    for number in range(2, 6):
        write(tmp_path, "beth", f"record-{number}", text=f"{SECRET} went home")
    assert "beth/concept: 20 of 36 annotations have a text that does not stand where they say" in error(tmp_path)


def test_missing_folders_and_files_are_named(tmp_path):
    assert "no folder concept_assertion_relation_training_data in it" in error(tmp_path)
    corpus(tmp_path)
    (tmp_path / "concept_assertion_relation_training_data/partners/txt").rename(tmp_path / "elsewhere")
    assert "partners/txt: no such folder" in error(tmp_path)
    (tmp_path / "elsewhere").rename(tmp_path / "concept_assertion_relation_training_data/partners/txt")
    write(tmp_path, "beth", "record-2")
    put(tmp_path / "test_data/0002.txt", "a")
    assert "concepts: no file for 1 documents, among them 0002" in error(tmp_path)
    (tmp_path / "test_data/0002.txt").unlink()
    (tmp_path / "concept_assertion_relation_training_data/beth/rel/record-2.rel").unlink()
    assert "rel: no file for 1 documents, among them record-2" in error(tmp_path, target="relations")
    (tmp_path / "concept_assertion_relation_training_data/beth/txt/record-2.txt").unlink()
    assert "txt: no file for 1 documents, among them record-2" in error(tmp_path)
    (tmp_path / "concept_assertion_relation_training_data/beth/concept/record-2.con").unlink()
    (tmp_path / "test_data/0001.txt").unlink()
    assert "test_data: no .txt file; the folder has none" in error(tmp_path)
    (tmp_path / "reference_standard_for_test_data").rename(tmp_path / "reference")
    assert "no folder reference_standard_for_test_data in it" in error(tmp_path)


def test_the_paper_trains_entities_on_partners_and_forgets_a_sentence(tmp_path):
    found = entities(corpus(tmp_path), protocol="paper")
    assert found.splits["train"].doc == ["partners/017"] * 2
    assert found.splits["test"].tags == TAGS[:2]
    assert (found.report["paper_rows_of_beth_left_out"], found.report["paper_last_sentences_left_out"]) == (3, 2)
    assert len(entities(corpus(tmp_path), protocol="paper", unit="document").splits["test"]) == 1
    write(tmp_path / "merged", "train", "a")
    write(tmp_path / "merged", "test", "b")
    assert "keep beth and partners apart" in error(tmp_path / "merged", protocol="paper")
