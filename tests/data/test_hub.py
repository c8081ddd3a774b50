import os
import subprocess
import sys

import pytest

from jaxpeft.config import DataConfig
from jaxpeft.data.readers import read
from jaxpeft.errors import InputError

datasets = pytest.importorskip("datasets")

HF = DataConfig(format="hf")


def part(name: str):
    features = datasets.Features(
        {
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["no", "yes"]),
            "x": datasets.Value("int8"),
        }
    )
    return datasets.Dataset.from_dict({"text": [f"{name} a", f"{name} b"], "label": [0, 1], "x": [1, 2]}, features)


def test_a_saved_dict_with_class_names(tmp_path):
    datasets.DatasetDict({name: part(name) for name in ("train", "dev", "test")}).save_to_disk(str(tmp_path / "d"))
    corpus = read(HF, str(tmp_path / "d"))
    assert corpus.published
    assert corpus.splits["validation"].text == ["dev a", "dev b"]
    assert [rows.label for rows in corpus.splits.values()] == [["no", "yes"]] * 3


def test_a_saved_dataset_is_left_to_be_split(tmp_path):
    part("one").save_to_disk(str(tmp_path / "d"))
    corpus = read(HF, str(tmp_path / "d"))
    assert not corpus.published
    assert corpus.splits["all"].text == ["one a", "one b"]


@pytest.mark.parametrize("format", [{"columns": ["text", "label"]}, {"type": "numpy"}, {"columns": ["label"]}])
def test_the_format_that_was_saved_with_a_dataset_changes_nothing(tmp_path, format):
    saved = part("one").add_column("patient", [7, 8])
    saved.set_format(**format)
    saved.save_to_disk(str(tmp_path / "d"))
    rows = read(HF, str(tmp_path / "d")).splits["all"]
    assert (rows.text, rows.label, rows.patient) == (["one a", "one b"], ["no", "yes"], ["7", "8"])


def test_several_copies_of_one_split_are_refused_and_never_pooled(tmp_path):
    (tmp_path / "data").mkdir()
    for folder in ("data", "."):
        for name in ("train-00000-of-00001", "test"):
            part(name).to_parquet(str(tmp_path / folder / f"{name}.parquet"))
    with pytest.raises(InputError, match="both directly in it and under data/: keep one set of splits"):
        read(HF, str(tmp_path))
    part("train").to_parquet(str(tmp_path / "data" / "train.parquet"))
    with pytest.raises(InputError, match=r"several files for train, of which train\.parquet is no part of it"):
        read(HF, str(tmp_path / "data"))


def test_parquet_file_and_folders(tmp_path):
    (tmp_path / "data").mkdir()
    for split in ("train", "validation", "test"):
        part(split).to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
    splits = read(HF, str(tmp_path)).splits
    assert splits["test"].text == ["test a", "test b"]
    assert splits["test"].label == ["no", "yes"]
    one = read(HF, str(tmp_path / "data" / "train-00000-of-00001.parquet")).splits
    assert one["all"].text == ["train a", "train b"]


def test_parquet_parts_of_one_table(tmp_path):
    for name in ("part-1", "part-2"):
        part(name).to_parquet(str(tmp_path / f"{name}.parquet"))
    assert read(HF, str(tmp_path)).splits["all"].text == ["part-1 a", "part-1 b", "part-2 a", "part-2 b"]


def test_local_files_leave_nothing_in_the_users_cache(tmp_path):
    part("one").save_to_disk(str(tmp_path / "saved"))
    part("one").to_parquet(str(tmp_path / "one.parquet"))
    code = (
        "import sys; from jaxpeft.config import DataConfig; from jaxpeft.data.readers import read\n"
        "for path in sys.argv[1:]: read(DataConfig(format='hf'), path)\n"
        "read(DataConfig(format='parquet'), path)"
    )
    home = {
        "HF_HOME": str(tmp_path / "cache"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    (tmp_path / "tmp").mkdir()
    paths = [str(tmp_path / "saved"), str(tmp_path / "one.parquet")]
    subprocess.run([sys.executable, "-c", code, *paths], check=True, env=os.environ | home)
    assert [path for path in tmp_path.glob("cache/**/*") if path.is_file()] == []
    assert [path for path in tmp_path.glob("tmp/**/*") if path.is_file()] == []


def test_a_hub_name_needs_permission(monkeypatch):
    called = []

    def load_dataset(name, **options):
        called.append((name, options))
        return datasets.DatasetDict({"train": part("train"), "test": part("test")})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(InputError, match=r"owner/notes: no such file or folder.*model\.allow_download=True"):
        read(HF, "owner/notes")
    assert called == []
    assert set(read(HF, "owner/notes", allow_download=True).splits) == {"train", "test"}
    assert called == [("owner/notes", {"keep_in_memory": True})]
    with pytest.raises(InputError, match="not the name of a dataset"):
        read(HF, "/no/such/folder", allow_download=True)


def test_a_download_that_fails_is_the_users_to_settle(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda name, **_: {"known": 1}[name])
    with pytest.raises(InputError, match="could not be loaded: KeyError"):
        read(HF, "owner/notes", allow_download=True)


def test_unreadable_folders_and_files(tmp_path):
    with pytest.raises(InputError, match="neither a folder of datasets' save_to_disk"):
        read(HF, str(tmp_path))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(InputError, match=r"x\.parquet: not a readable parquet file \(ArrowInvalid\)"):
        read(HF, str(tmp_path))
    part("one").save_to_disk(str(tmp_path / "d"))
    next((tmp_path / "d").glob("*.arrow")).write_bytes(b"broken")
    with pytest.raises(InputError, match="not a readable save_to_disk folder"):
        read(HF, str(tmp_path / "d"))


def test_parquet_parts_that_do_not_fit(tmp_path):
    part("a").to_parquet(str(tmp_path / "a.parquet"))
    datasets.Dataset.from_dict({"other": [1]}).to_parquet(str(tmp_path / "b.parquet"))
    with pytest.raises(InputError, match="do not have the same columns"):
        read(HF, str(tmp_path))


@pytest.mark.parametrize("other", ["extra", "train_old", "test_errors"])
def test_parquet_files_beside_splits_are_refused_and_never_pooled_with_them(tmp_path, other):
    for name in ("train", "test", other):
        part(name).to_parquet(str(tmp_path / f"{name}.parquet"))
    with pytest.raises(InputError, match=rf"named as splits, and others are not: {other}\.parquet"):
        read(HF, str(tmp_path))


def test_names_of_parquet_splits_may_be_in_any_case_and_in_parts(tmp_path):
    for name in ("Train-00000-of-00002", "Train-00001-of-00002-0a1b", "TEST_0", "validation"):
        part(name).to_parquet(str(tmp_path / f"{name}.parquet"))
    corpus = read(HF, str(tmp_path))
    assert corpus.published
    assert len(corpus.splits["train"]) == 2 * len(corpus.splits["test"])


def test_splits_and_columns_that_are_missing_are_listed(tmp_path):
    datasets.DatasetDict({"train": part("a"), "extra": part("b")}).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(InputError, match="expected one split of test for test; splits: extra, train"):
        read(HF, str(tmp_path / "d"))
    datasets.Dataset.from_dict({"note": ["a"], "y": [1]}).save_to_disk(str(tmp_path / "e"))
    with pytest.raises(InputError, match=r"no column 'text' for the text; columns: note, y"):
        read(HF, str(tmp_path / "e"))


def test_class_number_minus_one_is_no_label(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, -1]}, features).save_to_disk(str(tmp_path / "d"))
    with pytest.raises(InputError, match=r"should hold text or a whole number, and does not in 1 row \(row 1\)"):
        read(HF, str(tmp_path / "d"))
