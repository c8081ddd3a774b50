import pytest

from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.data.splits import make_splits
from jaxpeft.errors import InputError


def rows(text: list[str], label: list[str] | None = None, **columns) -> Rows:
    return Rows(text=text, label=label or [("no", "yes")[i % 2] for i in range(len(text))], **columns)


def published(**changes: Rows) -> Corpus:
    names = ("train", "validation", "test")
    return Corpus({name: rows([f"{name} {i}" for i in range(10)]) for name in names} | changes)


def one_file(count: int, **columns) -> Corpus:
    return Corpus({"all": rows([f"note {i}" for i in range(count)], **columns)}, published=False)


def test_published_splits_stay_as_they_are():
    corpus = published()
    splits = make_splits(corpus)
    assert (splits.train, splits.validation, splits.test) == tuple(corpus.splits.values())
    assert splits.labels == ("no", "yes")
    assert set(splits.report.values()) == {0}


def test_duplicates_across_splits_are_counted_without_case_and_spacing():
    corpus = published(
        train=rows(["Chest  pain", "a", "b"]),
        validation=rows(["chest pain ", "c", "d"]),
        test=rows(["CHEST\npain", "chest pain", "C"]),
    )
    report = make_splits(corpus).report
    assert (report["train_test"], report["train_validation"], report["validation_test"]) == (2, 1, 3)


def test_a_pair_is_part_of_the_text():
    corpus = published(
        train=rows(["a b", "a"], text_pair=["c", "b c"]),
        validation=rows(["x"], text_pair=["c"]),
        test=rows(["a", "a b"], text_pair=["c", "C"]),
    )
    assert make_splits(corpus).report["train_test"] == 1


def test_straddling_groups_of_published_splits_are_counted():
    corpus = published(
        train=rows(["a", "b"], patient=["1", "2"], doc=["d", "e"]),
        validation=rows(["c"], doc=["d"]),
        test=rows(["d", "e"], patient=["2", "2"], doc=["x", "y"]),
    )
    report = make_splits(corpus).report
    assert (report["train_test_patients"], report["train_validation_docs"], report["validation_test_docs"]) == (1, 1, 0)


def test_straddling_groups_of_our_own_splits_are_a_bug_that_stops():
    columns = {"patient": ["1", "2"]}
    names = ("train", "validation", "test")
    corpus = Corpus({name: rows([f"{name} a", f"{name} b"], **columns) for name in names}, published=False)
    with pytest.raises(InputError, match="patients or documents in more than one split"):
        make_splits(corpus)


def test_one_file_is_split_by_share_and_seed():
    splits = make_splits(one_file(1000), seed=3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (700, 100, 200)
    assert sorted(splits.train.text + splits.validation.text + splits.test.text) == sorted(
        one_file(1000).splits["all"].text
    )
    assert make_splits(one_file(1000), seed=3) == splits
    assert make_splits(one_file(1000), seed=4).test != splits.test


@pytest.mark.parametrize("field", ["patient", "doc"])
def test_one_file_is_split_by_group(field):
    groups = [str(i // 7) for i in range(700)]
    splits = make_splits(one_file(700, **{field: groups}), seed=1)
    sets = [set(getattr(part, field)) for part in (splits.train, splits.validation, splits.test)]
    assert sum(map(len, sets)) == len(set.union(*sets)) == 100
    assert len(splits.test) == pytest.approx(140, abs=7)
    assert splits.report[f"train_test_{field}s"] == 0


def test_patients_come_before_documents():
    patients = [str(i // 14) for i in range(700)]
    splits = make_splits(one_file(700, patient=patients, doc=[str(i) for i in range(700)]))
    assert splits.train.patient is not None
    assert splits.test.patient is not None
    assert not set(splits.train.patient) & set(splits.test.patient)


def test_duplicates_in_one_file_do_not_straddle():
    corpus = Corpus({"all": rows([f"Note {i % 50}" for i in range(200)], ["a", "b"] * 100)}, published=False)
    report = make_splits(corpus).report
    assert (report["train_test"], report["train_validation"], report["validation_test"]) == (0, 0, 0)


def test_missing_validation_comes_out_of_train_by_group():
    train = rows([f"t{i}" for i in range(100)], patient=[str(i // 4) for i in range(100)])
    corpus = Corpus({"train": train, "test": rows(["x", "y"], patient=["8", "99"])}, report={"repaired": 3})
    splits = make_splits(corpus)
    assert splits.report["validation_rows_from_train"] == len(splits.validation) == 12
    assert len(splits.train) == 88
    assert splits.report["train_validation_patients"] == 0
    assert splits.report["repaired"] == 3


def test_labels_are_those_of_the_whole_training_split():
    train = rows([f"t{i}" for i in range(100)], ["b"] * 98 + ["a", "c"])
    assert make_splits(Corpus({"train": train, "test": rows(["x"], ["a"])})).labels == ("a", "b", "c")


def test_given_labels_keep_their_order():
    assert make_splits(published(), labels=("yes", "no", "maybe")).labels == ("yes", "no", "maybe")


def test_test_labels_that_training_lacks_are_kept_and_counted():
    splits = make_splits(published(test=rows(["a", "b", "c", "d"], ["new", "new", "other", "yes"])))
    assert len(splits.test) == 4
    assert (splits.report["unseen_test_labels"], splits.report["unseen_test_rows"]) == (2, 3)
    assert splits.report["unseen_validation_labels"] == 0


@pytest.mark.parametrize(
    ("corpus", "labels", "expected"),
    [
        (published(), ("yes", "maybe"), "training labels that data.labels does not have: no"),
        (published(), ("yes", "no", "yes"), "names a label twice"),
        (published(train=rows(["a", "b"], ["x", "x"])), (), "expected at least two labels, found x"),
        (published(validation=rows([])), (), r"no rows in validation \(train 10, validation 0, test 10\)"),
        (one_file(2), (), "no rows in train "),
        (one_file(20, patient=["1"] * 20), (), "no rows in train and validation"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(corpus, labels, expected):
    with pytest.raises(InputError, match=expected):
        make_splits(corpus, labels)


def test_notes_in_place_of_labels_are_not_shown():
    note = "the patient was seen by me on the ward this morning"
    with pytest.raises(InputError) as caught:
        make_splits(published(train=rows(["a", "b"], [note, "yes"])), labels=("yes", "no"))
    assert "2 that" not in str(caught.value)
    assert "1 that are not shown" in str(caught.value)


def test_a_column_of_texts_taken_for_the_label_is_refused_and_not_shown():
    texts = [f"note {number} of mrs quennell" for number in range(60)]
    corpus = Corpus({"all": rows(texts, texts)}, published=False)
    with pytest.raises(InputError, match=r"labels among 4[12] training rows: is data\.columns\.label") as raised:
        make_splits(corpus)
    assert "quennell" not in str(raised.value)
    few = Corpus({"all": rows(texts, [f"class {number % 20}" for number in range(60)])}, published=False)
    assert len(make_splits(few).labels) == 20


def test_pairs_in_some_splits_alone_are_refused():
    texts = [f"test {i}" for i in range(10)]
    with pytest.raises(InputError, match="test have pairs of texts, and train and validation single ones"):
        make_splits(published(test=rows(texts, text_pair=texts)))
