"""People's own words with BIO tags, from JSON lines, parquet and saved datasets."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.config import ColumnsConfig, DataConfig
from jaxpeft.data.readers import read
from jaxpeft.data.readers.jsonl_csv import read_rows
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.data.splits import make_splits
from jaxpeft.errors import InputError
from tests.tiny import write_jsonl

datasets = pytest.importorskip("datasets")

SECRET = "Wickersham"
ROW = {"tokens": ["chest", "pain", "today"], "ner_tags": ["B-problem", "I-problem", "O"]}
ROW_COLUMNS = {"tokens": [["Mrs", SECRET]] * 20, "ner_tags": [["O", "B-NAME"]] * 20}
COLUMNS = ColumnsConfig()


def rows_of(path, *rows, require_label=True, columns=COLUMNS) -> Rows:
    return read_rows(write_jsonl(path / "x.jsonl", list(rows)), columns, require_label)[0]


def error(path, *rows) -> str:
    with pytest.raises(InputError) as caught:
        rows_of(path, *rows)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_words_and_tags(tmp_path):
    rows = rows_of(tmp_path, ROW | {"id": "a", "doc": 7, "patient": "p"})
    assert rows == Rows(
        text=["chest pain today"],
        tokens=[["chest", "pain", "today"]],
        tags=[["B-problem", "I-problem", "O"]],
        id=["a"],
        doc=["7"],
        patient=["p"],
    )
    assert rows.answers == [{"problem"}]


def test_columns_of_other_names_and_a_text_of_its_own(tmp_path):
    columns = ColumnsConfig(tokens="words", ner_tags="bio", text="line")
    row = {"words": ["a", "b"], "bio": ["O", "O"], "line": "a  b", "label": "not read"}
    rows = rows_of(tmp_path, row, columns=columns)
    assert (rows.text, rows.tokens, rows.label) == (["a  b"], [["a", "b"]], None)


def test_a_text_with_a_column_of_words_and_no_tags_is_a_text(tmp_path):
    rows = rows_of(tmp_path, {"text": "a b", "label": "x", "tokens": 2})
    assert (rows.text, rows.label, rows.tokens) == (["a b"], ["x"], None)


def test_tags_are_optional_for_prediction(tmp_path):
    words = {"tokens": ["a", "b"]}
    assert rows_of(tmp_path, words, require_label=False).tags is None
    assert rows_of(tmp_path, words, words | {"ner_tags": ["O", "O"]}, require_label=False).tags is None
    assert rows_of(tmp_path, words | {"ner_tags": ["O", "O"]}, require_label=False).tags == [["O", "O"]]
    assert "no column 'ner_tags' for the ner_tags" in error(tmp_path, words)


@pytest.mark.parametrize("tokens", [None, [], "a b", [""], ["a", " "], ["a", 3], [["a"]], ["\ud800"]])
def test_words_of_other_kinds_are_refused(tmp_path, tokens):
    message = error(tmp_path, ROW, {"tokens": tokens, "ner_tags": [SECRET]})
    assert "column 'tokens' (tokens) should hold a list of non-empty words, and does not in 1 row (line 2)" in message


@pytest.mark.parametrize(
    "tags", [None, "O O", ["O", 0], ["O", "S-problem"], ["O", "B-"], ["O", SECRET], ["O", "B-\ud800"]]
)
def test_tags_of_other_kinds_are_refused(tmp_path, tags):
    message = error(tmp_path, ROW, {"tokens": ["a", SECRET], "ner_tags": tags})
    assert "should hold a list of BIO tags: O, B-TYPE or I-TYPE, and does not in 1 row (line 2)" in message


@pytest.mark.parametrize("tags", [[], ["O"], ["O", "O", "O"]])
def test_a_tag_too_few_or_too_many_is_refused_by_line(tmp_path, tags):
    message = error(tmp_path, ROW, ROW, {"tokens": ["a", SECRET], "ner_tags": tags})
    assert message.endswith("x.jsonl: expected one tag a word, and not so in 1 row (line 3)")


def test_stray_inside_tags_are_repaired_and_counted(tmp_path):
    for split in ("train", "validation", "test"):
        write_jsonl(tmp_path / f"{split}.jsonl", [{"tokens": ["a", "b", "c"], "ner_tags": ["I-x", "I-x", "I-y"]}])
    corpus = read(DataConfig(format="jsonl"), str(tmp_path))
    assert corpus.splits["test"].tags == [["B-x", "I-x", "B-y"]]
    assert corpus.report == {"stray_inside_tags": 6}


@pytest.mark.parametrize("header", ["tokens,ner_tags", "tokens", "text,tokens,ner_tags"])
def test_csv_has_no_lists(tmp_path, header):
    path = tmp_path / "x.csv"
    path.write_text(f"{header}\n" + ",".join([SECRET] * len(header.split(","))) + "\n")
    with pytest.raises(InputError, match="CSV has no lists, so no 'tokens': give words as JSON lines or parquet"):
        read(DataConfig(format="csv"), str(path))


def saved(**changes):
    names = datasets.ClassLabel(names=["O", "B-x", "I-x"])
    features = datasets.Features({"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(names)})
    table = {"tokens": [["a", "b", "c"], ["d"]], "ner_tags": [[1, 2, 0], [2]]} | changes
    return datasets.Dataset.from_dict(table, features)


@pytest.mark.parametrize("format", ["hf", "parquet"])
def test_tag_numbers_become_names(tmp_path, format):
    for split in ("train", "test"):
        saved().to_parquet(str(tmp_path / f"{split}.parquet"))
    corpus = read(DataConfig(format=format), str(tmp_path))
    assert corpus.published
    assert corpus.splits["test"].tokens == [["a", "b", "c"], ["d"]]
    assert corpus.splits["test"].tags == [["B-x", "I-x", "O"], ["B-x"]]
    assert corpus.report == {"stray_inside_tags": 2}


def test_tag_numbers_without_names_are_refused(tmp_path):
    with pytest.raises(InputError, match="should hold a list of BIO tags"):
        read(DataConfig(format="jsonl"), str(write_jsonl(tmp_path / "x.jsonl", [{"tokens": ["a"], "ner_tags": [0]}])))
    saved(ner_tags=[[1, -1, 0], [None]]).to_parquet(str(tmp_path / "x.parquet"))
    with pytest.raises(InputError, match=r"does not in 2 rows \(row 0, 1\)"):
        read(DataConfig(format="parquet"), str(tmp_path / "x.parquet"))


def test_parquet_files_of_texts(tmp_path):
    for split in ("train", "dev", "test"):
        table = {"text": [f"{split} a", f"{split} b"], "label": ["x", "y"], "patient": [1, 2]}
        datasets.Dataset.from_dict(table).to_parquet(str(tmp_path / f"{split}.parquet"))
    corpus = read(DataConfig(format="parquet"), str(tmp_path))
    assert corpus.splits["validation"] == Rows(text=["dev a", "dev b"], label=["x", "y"], patient=["1", "2"])
    one = read(DataConfig(format="parquet"), str(tmp_path / "dev.parquet"))
    assert set(one.splits) == {"all"}
    assert not one.published


def test_parquet_that_is_missing_or_broken(tmp_path):
    with pytest.raises(InputError, match=r"no train file: looked for train\.parquet"):
        read(DataConfig(format="parquet"), str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=r"x\.parquet: not a readable parquet file"):
        read(DataConfig(format="parquet"), str(tmp_path / "x.parquet"))
    with pytest.raises(InputError, match=r"a \.parquet file, but data\.format is 'csv': set data\.format=parquet"):
        read(DataConfig(format="csv"), str(tmp_path / "x.parquet"))
    (tmp_path / "x.parquet").rename(tmp_path / "x.jsonl")
    with pytest.raises(InputError, match="cannot tell JSON lines from CSV"):
        read_rows(tmp_path / "x.parquet", COLUMNS, True)


def corpus_of(**tags) -> Corpus:
    splits = {}
    for split in ("train", "validation", "test"):
        rows = tags.get(split, [["B-b", "O"], ["B-a", "I-a"]])
        tokens = [[f"{split} {row}-{word}" for word in range(len(row_tags))] for row, row_tags in enumerate(rows)]
        splits[split] = Rows(text=[" ".join(words) for words in tokens], tokens=tokens, tags=rows)
    return Corpus(splits)


def test_the_classes_of_entity_rows_are_their_types():
    assert make_splits(corpus_of()).labels == ("a", "b")
    assert make_splits(corpus_of(), labels=("c", "b", "a")).labels == ("c", "b", "a")
    assert make_splits(corpus_of(train=[["B-a"], ["O"]])).labels == ("a",)
    with pytest.raises(InputError, match=r"labels that data\.labels does not have: b"):
        make_splits(corpus_of(), labels=("a",))
    with pytest.raises(InputError, match="found none: every tag is O"):
        make_splits(corpus_of(train=[["O"]]))


def test_entity_types_that_training_lacks_are_counted():
    report = make_splits(corpus_of(test=[["B-new", "B-a"], ["B-new", "B-newer"], ["O", "O"], ["B-b", "O"]])).report
    assert (report["unseen_test_labels"], report["unseen_test_rows"]) == (2, 2)


def test_rows_check_what_they_are_given():
    for wrong in ({"tags": [["O"]]}, {"tokens": [["a"]], "tags": [["O", "O"]]}, {"tokens": [["a"]], "starts": [[]]}):
        with pytest.raises(ValueError, match="one entry a word"):
            Rows(text=["a"], **wrong)
    rows = Rows(
        text=["a", "b"], tokens=[["a"], ["b"]], tags=[["O"], ["B-x"]], starts=[[0], [2]], spans=[[], [(2, 3, "x")]]
    )
    assert rows.take([1]) == Rows(text=["b"], tokens=[["b"]], tags=[["B-x"]], starts=[[2]], spans=[[(2, 3, "x")]])


ANY_WORDS = st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=4)
ANY_TAGS = st.lists(st.sampled_from(["O", "B-x", "I-x", "I-y", "L-x", "", 3]), max_size=4)
ANY_ROW = st.fixed_dictionaries(
    {},
    optional={
        "tokens": st.one_of(st.none(), st.text(max_size=3), ANY_WORDS),
        "ner_tags": st.one_of(st.none(), ANY_TAGS),
        "text": st.one_of(st.none(), st.text(max_size=4)),
    },
)


@given(st.lists(ANY_ROW, min_size=1, max_size=4))
def test_any_rows_give_strict_tags_or_one_clear_error(tmp_path_factory, drawn):
    path = write_jsonl(tmp_path_factory.getbasetemp() / "any.jsonl", drawn)
    try:
        rows, _ = read_rows(path, COLUMNS, require_label=True)
    except InputError:
        return
    for words, tags in zip(rows.tokens or [], rows.tags or [], strict=True):
        assert len(words) == len(tags) > 0
        assert all(before[2:] == tag[2:] for before, tag in zip(["O", *tags], tags, strict=False) if tag[0] == "I")


def test_damaged_parquet_gives_rows_or_one_clear_error(tmp_path):
    path, rng = tmp_path / "x.parquet", random.Random(0)
    datasets.Dataset.from_dict(ROW_COLUMNS).to_parquet(str(path))
    whole, messages = path.read_bytes(), []
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        path.write_bytes(content)
        try:
            read(DataConfig(format="parquet"), str(path))
        except InputError as problem:
            messages.append(str(problem))
    assert 0 < len(messages) < 300
    assert not any(SECRET in message for message in messages)
