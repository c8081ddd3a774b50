"""Each made-up corpus, read by the reader of the real one, is what its generator says that it is."""

import re
from collections import Counter
from pathlib import Path

import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from jaxpeft.config import DataConfig, SyntheticConfig
from jaxpeft.data import synthetic
from jaxpeft.data.load import load
from jaxpeft.data.readers import read
from jaxpeft.data.rows import Corpus, Rows
from tests.data.twin_rows import expected_entities, expected_marks, expected_pairs, in_file_order, words_of

XML_CORPORA = ("i2b2_2012", "i2b2_2014")


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """twins(corpus, documents, seed) -> (folder, truth), written once."""
    written = {}

    def twin(corpus: str, documents: int = 200, seed: int = 0) -> tuple[Path, list[dict]]:
        key = (corpus, documents, seed)
        if key not in written:
            folder = tmp_path_factory.mktemp("twins") / "-".join(map(str, key))
            written[key] = folder, synthetic.write(corpus, folder, documents, seed)
        return written[key]

    return twin


def read_twin(folder: Path, corpus: str, **settings) -> Corpus:
    config = DataConfig(format="synthetic", synthetic=SyntheticConfig(corpus=corpus), **settings)
    return read(config, str(folder))


def flaws(truth: list[dict]) -> Counter:
    """What the reader should have counted."""
    return sum((Counter(row["flaws"]) for row in truth), Counter())


def reported(corpus: Corpus) -> dict[str, int]:
    return {name: count for name, count in corpus.report.items() if count}


# i2b2 2010


def assert_rows(rows: Rows, columns: dict[str, list]) -> None:
    present = {name: column for name, column in vars(rows).items() if column is not None}
    assert present.keys() == columns.keys()
    for name, column in columns.items():
        assert present[name] == column, name


@pytest.mark.parametrize(("documents", "seed"), [(200, 0), (30, 1), (30, 2), (30, 3), (3, 4)])
def test_i2b2_2010_entities(twins, documents, seed):
    folder, truth = twins("i2b2_2010", documents, seed)
    corpus = read_twin(folder, "i2b2_2010")
    assert corpus.published
    assert corpus.splits.keys() == {"train", "test"}
    for split, rows in corpus.splits.items():
        assert_rows(rows, expected_entities(in_file_order(truth), split))
    expected = {
        name: count
        for name, count in flaws(truth).items()
        if name.partition("_")[0] not in ("relations", "pairs") and count
    }
    assert reported(corpus) == expected


@pytest.mark.parametrize(("documents", "seed"), [(200, 0), (30, 1), (30, 2), (30, 3), (3, 4)])
def test_i2b2_2010_relations(twins, documents, seed):
    folder, truth = twins("i2b2_2010", documents, seed)
    corpus = read_twin(folder, "i2b2_2010", target="relations")
    expected = flaws(truth)
    for split, rows in corpus.splits.items():
        columns, overlapping = expected_pairs(in_file_order(truth), split)
        assert_rows(rows, columns)
        expected["pairs_that_overlap"] += overlapping
    del expected["entities_not_in_tags"], expected["pieces_of_entities_over_lines"]
    assert reported(corpus) == {name: count for name, count in expected.items() if count}


def test_i2b2_2010_has_every_flaw_label_and_hospital(twins):
    folder, truth = twins("i2b2_2010")
    found = flaws(truth)
    assert all(found.values())
    assert found.keys() >= {
        "concepts_repeated", "concepts_past_the_line_end", "concepts_moved_to_their_text",
        "concepts_whose_text_differs", "concepts_outside_the_text", "entities_not_in_tags",
        "pieces_of_entities_over_lines", "relations_repeated", "relations_across_lines",
        "relations_without_concepts", "pairs_with_several_labels",
    }  # fmt: skip
    labels = Counter(read_twin(folder, "i2b2_2010", target="relations").splits["train"].label)
    assert set(labels) == {"PIP", "TeCP", "TeRP", "TrAP", "TrCP", "TrIP", "TrNAP", "TrWP", "false"}
    assert 0.7 < labels["false"] / labels.total() < 0.9
    assert {row["doc"].partition("/")[0] for row in truth} == {"beth", "partners", "test"}
    text = "".join(path.read_text() for path in folder.rglob("*.txt"))
    assert "\n " in text
    assert "&apos;" in text
    assert {path.name for path in folder.glob("*/beth/*")} == {"txt", "concept", "ast", "rel"}
    assert len(list(folder.glob("reference_standard_for_test_data/ast/*.ast"))) == 80


# i2b2 2012 and 2014


@pytest.mark.parametrize("corpus", XML_CORPORA)
@pytest.mark.parametrize(("documents", "seed"), [(200, 0), (30, 1), (30, 2), (30, 3), (3, 4)])
def test_xml_corpora(twins, corpus, documents, seed):
    folder, truth = twins(corpus, documents, seed)
    found = read_twin(folder, corpus)
    assert found.published
    assert found.splits.keys() == {"train", "test"}
    for split, rows in found.splits.items():
        assert_rows(sorted_rows(rows), expected_marks(in_file_order(truth), split))
    assert reported(found) == {name: count for name, count in flaws(truth).items() if count}


def sorted_rows(rows: Rows) -> Rows:
    """By document, lines as they are: two folders of one split come one after the other."""
    assert rows.doc is not None
    return rows.take(sorted(range(len(rows)), key=lambda row: rows.doc[row]))


@pytest.mark.parametrize("corpus", XML_CORPORA)
def test_documents_as_rows(twins, corpus):
    folder, truth = twins(corpus, 30, 1)
    found = read_twin(folder, corpus, unit="document")
    for split, rows in found.splits.items():
        assert_rows(sorted_rows(rows), expected_marks(in_file_order(truth), split, unit="document"))
    assert found.report["pieces_of_entities_over_lines"] == 0


@pytest.mark.parametrize("corpus", XML_CORPORA)
def test_the_paper_cuts_words_at_labels_and_forgets_a_sentence(twins, corpus):
    folder, truth = twins(corpus)
    fixed, paper = read_twin(folder, corpus), read_twin(folder, corpus, protocol="paper")
    for split, rows in paper.splits.items():
        expected = expected_marks(in_file_order(truth), split, paper=True)
        whole = fixed.splits[split]
        assert whole.id is not None
        last = expected["id"].index(whole.id[-1])
        assert_rows(sorted_rows(rows), {name: column[:last] + column[last + 1 :] for name, column in expected.items()})
    uncut = {row["doc"]: words_of(row["text"], set()) for row in truth}
    cut_lines = {
        (row["doc"], row["text"].count("\n", 0, start))
        for row in truth
        for start, end in uncut[row["doc"]]
        if any(start < place < end for span in row["spans"] for place in span[:2])
    }
    assert paper.report["paper_lines_cut_at_labels"] == len(cut_lines) > 0
    assert paper.report["paper_last_sentences_left_out"] == 2
    assert paper.report["spans_inside_words"] == 0 < fixed.report["spans_inside_words"]


def test_i2b2_2012_has_every_flaw_and_type(twins):
    folder, truth = twins("i2b2_2012")
    found = flaws(truth)
    assert all(found.values())
    assert found.keys() >= {
        "files_with_bare_ampersands", "spans_repeated", "spans_without_type", "spans_moved_to_their_text",
        "spans_whose_text_differs", "spans_outside_the_text", "spans_inside_words", "entities_not_in_tags",
        "pieces_of_entities_over_lines",
    }  # fmt: skip
    types = {span[2] for row in truth for span in row["spans"]}
    assert types == {"PROBLEM", "TEST", "TREATMENT", "CLINICAL_DEPT", "EVIDENTIAL", "OCCURRENCE"}
    assert all(row["text"].startswith("\nAdmission Date :\n") for row in truth)
    files = list(folder.glob("*/*.xml")) + list(folder.glob("*/xml/*.xml"))
    assert all(f"<{name} " in files[0].read_text() for name in ("EVENT", "TIMEX3", "SECTIME", "TLINK"))


def test_i2b2_2014_has_every_flaw_and_type(twins):
    folder, truth = twins("i2b2_2014")
    found = flaws(truth)
    assert all(found.values())
    assert found.keys() >= {
        "spans_repeated", "spans_moved_to_their_text", "spans_whose_text_differs", "spans_outside_the_text",
        "spans_inside_words", "entities_not_in_tags", "pieces_of_entities_over_lines",
    }  # fmt: skip
    assert len({span[2] for row in truth for span in row["spans"]}) == 30
    corpus = read_twin(folder, "i2b2_2014")
    patients = {split: set(rows.patient or ()) for split, rows in corpus.splits.items()}
    assert not patients["train"] & patients["test"]
    assert max(Counter(row["patient"] for row in truth).values()) > 3


def test_i2b2_2014_marks_what_identifies_wherever_it_stands(twins):
    _, truth = twins("i2b2_2014")
    words = {"AGE": r"\d+(?=\syear\sold)", "DEPARTMENT": r"\b(Cardiology|Neurology|Surgery)\b"}
    for name, pattern in words.items():
        found = [(row, match.span()) for row in truth for match in re.finditer(pattern, row["text"])]
        marked = [[*span, name] in row["spans"] for row, span in found]
        assert len(found) > 20
        assert sum(marked) > 0.9 * len(marked)  # some are flawed, as others are


def test_i2b2_2014_tests_names_that_training_lacks(twins):
    _, truth = twins("i2b2_2014")
    names = {
        split: {
            row["text"][start:end].split()[-1]
            for row in truth
            if row["split"] == split
            for start, end, type in row["spans"]
            if type in ("PATIENT", "DOCTOR")
        }
        for split in ("train", "test")
    }
    assert len(names["test"] - names["train"]) > 0.2 * len(names["test"])


# MedNLI


@pytest.mark.parametrize(("documents", "seed"), [(200, 0), (3, 1)])
def test_mednli(twins, documents, seed):
    folder, truth = twins("mednli", documents, seed)
    corpus = read_twin(folder, "mednli")
    assert corpus.published
    for split, rows in corpus.splits.items():
        expected = [row for row in truth if row["split"] == split]
        for name in ("text", "text_pair", "label", "id"):
            assert getattr(rows, name) == [row[name] for row in expected]
    pairs = [pair for rows in corpus.splits.values() for pair in zip(rows.text, rows.doc or (), strict=True)]
    assert len({text for text, _ in pairs}) == len({doc for _, doc in pairs}) == len(set(pairs))
    assert len(truth) == 3 * documents
    assert {row["label"] for row in truth} == {"contradiction", "entailment", "neutral"}


def test_a_second_sentence_of_mednli_alone_does_not_tell_the_label(twins):
    _, truth = twins("mednli", 800, 0)
    split = {
        name: [row for row in truth if (row["split"] == "train") == (name == "train")] for name in ("train", "test")
    }
    words = CountVectorizer(ngram_range=(1, 2), min_df=2)
    found = words.fit_transform(row["text_pair"] for row in split["train"])
    model = LogisticRegression(max_iter=1000).fit(found, [row["label"] for row in split["train"]])
    test = words.transform(row["text_pair"] for row in split["test"])
    assert model.score(test, [row["label"] for row in split["test"]]) < 0.42


# All of them


@pytest.mark.parametrize("corpus", synthetic.GENERATORS)
def test_load_writes_and_reads_a_twin(tmp_path, corpus):
    config = DataConfig(synthetic=SyntheticConfig(corpus=corpus, documents=40))
    splits = load(config, 0, tmp_path, allow_download=False)
    assert len(splits.labels) >= 3
    assert all(len(getattr(splits, name)) for name in ("train", "validation", "test"))
    groups = [set(getattr(splits, name).groups or ()) for name in ("train", "validation", "test")]
    if corpus != "mednli":
        assert not groups[0] & groups[1]
        assert not groups[0] & groups[2]
    stamp = (tmp_path / "data" / "synthetic").stat().st_ino
    assert load(config, 0, tmp_path, allow_download=False) == splits
    assert (tmp_path / "data" / "synthetic").stat().st_ino == stamp


@pytest.mark.parametrize("corpus", synthetic.GENERATORS)
def test_a_twin_is_replaced_by_another_and_depends_on_its_seed(tmp_path, corpus):
    first = synthetic.write(corpus, tmp_path / "x", 8, 0)
    assert synthetic.write(corpus, tmp_path / "x", 8, 1) != first
    assert synthetic.write(corpus, tmp_path / "x", 8, 0) == first
    other = next(name for name in synthetic.GENERATORS if name != corpus)
    synthetic.write(other, tmp_path / "x", 8, 0)
    assert synthetic.is_complete(tmp_path / "x", other, 8, 0)
    assert not synthetic.is_complete(tmp_path / "x", corpus, 8, 0)


def test_a_twin_that_lost_a_file_is_not_complete(tmp_path):
    synthetic.write("i2b2_2014", tmp_path / "x", 8, 0)
    next(tmp_path.glob("x/*/*.xml")).unlink()
    assert not synthetic.is_complete(tmp_path / "x", "i2b2_2014", 8, 0)


def test_labels_follow_from_the_text(twins):
    """Word counts alone place most test pairs: a model has something to learn, and noise to be wrong about."""
    corpus = read_twin(twins("i2b2_2010")[0], "i2b2_2010", target="relations")
    train, test = corpus.splits["train"], corpus.splits["test"]
    between: dict[str, Counter] = {}

    def middle(text: str) -> str:
        return " ".join(text.split("$")[1].rpartition("@")[0].split()[:2]) if text.count("$") == 2 else ""

    for text, label in zip(train.text, train.label or (), strict=True):
        between.setdefault(middle(text), Counter())[label] += 1
    guesses = [between.get(middle(text), Counter({"false": 1})).most_common(1)[0][0] for text in test.text]
    right = sum(map(str.__eq__, guesses, test.label or ())) / len(test)
    assert 0.86 < right < 0.99
