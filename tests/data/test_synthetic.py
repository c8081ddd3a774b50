import collections
import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from jaxpeft.config import DataConfig, SyntheticConfig
from jaxpeft.data import synthetic
from jaxpeft.data.load import load
from jaxpeft.data.readers import read
from jaxpeft.data.synthetic.__main__ import main
from jaxpeft.errors import InputError

SUMMARY = ("Discharge summary", "Report")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "tables"
    synthetic.write("mimic3", out, documents=2600, seed=0)
    return out


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed(tmp_path):
    code = (
        "import sys; from pathlib import Path; from jaxpeft.data import synthetic\n"
        "synthetic.write('mimic3', Path(sys.argv[1]), 60, 3)"
    )
    for hash_seed in "12":
        env = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / hash_seed)], check=True, env=env)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    synthetic.write("mimic3", tmp_path / "other", 60, 4)
    assert contents(tmp_path / "other")["NOTEEVENTS.csv"] != contents(tmp_path / "1")["NOTEEVENTS.csv"]


def test_what_is_returned_is_what_is_written_and_private(tmp_path):
    truth = synthetic.write("mimic3", tmp_path / "a" / "b", 50, 0)
    assert collections.Counter(row["target"] for row in truth)["triage"] == 50
    assert [json.loads(line) for line in (tmp_path / "a" / "b" / "truth.jsonl").read_text().splitlines()] == truth
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_tables_look_like_the_real_ones(corpus):
    heads = {path.name: path.read_text().split("\n", 1)[0] for path in corpus.glob("*.csv")}
    assert heads["NOTEEVENTS.csv"] == (
        '"ROW_ID","SUBJECT_ID","HADM_ID","CHARTDATE","CHARTTIME","STORETIME","CATEGORY","DESCRIPTION","CGID",'
        '"ISERROR","TEXT"'
    )
    assert heads["DIAGNOSES_ICD.csv"] == '"ROW_ID","SUBJECT_ID","HADM_ID","SEQ_NUM","ICD9_CODE"'
    assert heads["PATIENTS.csv"] == '"ROW_ID","SUBJECT_ID","GENDER","DOB","DOD","DOD_HOSP","DOD_SSN","EXPIRE_FLAG"'
    stays = rows(corpus, "ADMISSIONS")
    assert len(stays[0]) == 19
    assert {stay["ADMISSION_TYPE"] for stay in stays} == {"NEWBORN", "EMERGENCY", "ELECTIVE"}
    assert all(stay["ADMITTIME"] < stay["DISCHTIME"] for stay in stays)
    assert all((stay["DEATHTIME"] != "") == (stay["HOSPITAL_EXPIRE_FLAG"] == "1") for stay in stays)
    patients = collections.Counter(stay["SUBJECT_ID"] for stay in stays)
    assert max(patients.values()) == 3
    assert patients.keys() == {patient["SUBJECT_ID"] for patient in rows(corpus, "PATIENTS")}


def test_stays_of_a_patient_do_not_overlap_and_death_is_the_last(corpus):
    by_patient = collections.defaultdict(list)
    for stay in rows(corpus, "ADMISSIONS"):
        by_patient[stay["SUBJECT_ID"]].append(stay)
    for stays in by_patient.values():
        stays.sort(key=lambda stay: stay["ADMITTIME"])
        for first, second in itertools.pairwise(stays):
            assert first["DISCHTIME"] < second["ADMITTIME"]
            assert first["HOSPITAL_EXPIRE_FLAG"] == "0"


def test_notes_have_what_readers_stumble_over(corpus):
    notes = rows(corpus, "NOTEEVENTS")
    reports = [note["HADM_ID"] for note in notes if (note["CATEGORY"], note["DESCRIPTION"]) == SUMMARY]
    assert len(reports) - len(set(reports)) > 100
    kinds = collections.Counter((note["CATEGORY"], note["DESCRIPTION"]) for note in notes)
    assert kinds["Discharge summary", "Addendum"] > 100
    assert kinds["Physician ", "Report"] > 50
    text = "\n".join(note["TEXT"] for note in notes)
    for piece in ("[**2151-", "[**Hospital1 ", "w/ ", "__ ", "\n1. ", "\n2) ", "Chief Complaint:\n", "Allergies:\n"):
        assert piece in text
    assert {note["ISERROR"] for note in notes} == {"", "1"}
    order = [note["CHARTDATE"] for note in notes]
    assert order != sorted(order)


def test_labels_and_lengths_are_skewed_and_a_twentieth_of_the_codes_is_wrong(tmp_path, corpus):
    splits = load(DataConfig(path=str(corpus)), seed=0, workdir=tmp_path, allow_download=False)
    parts = (splits.train, splits.validation, splits.test)
    labels = collections.Counter(label for part in parts for label in part.label or ())
    assert sum(labels.values()) == 2600
    assert len(labels) == 7
    assert 0.38 < labels["Cardiology"] / 2600 < 0.46
    assert min(labels.values()) > 80
    texts = [(text, label) for part in parts for text, label in zip(part.text, part.label or (), strict=True)]
    words = sorted(len(text.split()) for text, _ in texts)
    assert 110 <= words[1300] <= 150
    assert words[-1] > 700
    newborn = [label for text, label in texts if "NEONATOLOGY" in text]
    assert 0.02 < 1 - newborn.count("Obstetrics") / len(newborn) < 0.11


@pytest.mark.parametrize(("target", "low", "high"), [("mortality", 0.8, 0.96), ("length_of_stay", 0.75, 0.9)])
def test_outcomes_can_be_learned_from_what_is_said_on_admission_and_not_known(corpus, target, low, high):
    splits = load(DataConfig(format="mimic3", path=str(corpus), target=target), 0, None, False)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    model = LogisticRegression(C=10, max_iter=1000).fit(words.fit_transform(splits.train.text), splits.train.label)
    scores = model.predict_proba(words.transform(splits.test.text))
    answers = np.array(splits.test.label)
    areas = [roc_auc_score(answers == label, scores[:, i]) for i, label in enumerate(model.classes_)]
    assert low < np.mean(areas) < high
    shares = np.unique(answers, return_counts=True)[1] / len(answers)
    assert shares.min() > 0.07
    assert shares.max() < (0.93 if target == "mortality" else 0.5)


def test_notes_give_some_deaths_away_and_lack_some_sections(corpus):
    reports = {
        target: read(DataConfig(format="mimic3", target=target), str(corpus)).report
        for target in ("mortality", "length_of_stay")
    }
    found = reports["mortality"]
    assert found["notes_with_a_death_taken_out"] > 10
    assert found["notes_that_tell_of_a_death"] > 10
    assert found["admissions_without_main_sections"] > 30
    assert 200 < reports["length_of_stay"]["deaths"] < 350
    assert found["newborns"] > 400


def test_a_folder_with_other_files_is_not_overwritten(tmp_path):
    (tmp_path / "NOTEEVENTS.csv").write_text("real notes")
    with pytest.raises(InputError, match="has files that were not generated"):
        synthetic.write("mimic3", tmp_path, 10, 0)
    assert (tmp_path / "NOTEEVENTS.csv").read_text() == "real notes"
    synthetic.write("mimic3", tmp_path / "own", 10, 0)
    synthetic.write("mimic3", tmp_path / "own", 12, 0)
    assert (tmp_path / "own" / "truth.jsonl").read_text().count('"triage"') == 12
    (tmp_path / "own" / "thesis.tex").write_text("")
    with pytest.raises(InputError, match="has files that were not generated"):
        synthetic.write("mimic3", tmp_path / "own", 10, 0)


def test_another_process_that_was_faster_is_no_error(tmp_path, monkeypatch):
    truth = synthetic.write("mimic3", tmp_path / "x", 10, 0)

    def refuse(*_):
        raise OSError(39, "Directory not empty")

    monkeypatch.setattr(Path, "rename", refuse)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)
    assert synthetic.write("mimic3", tmp_path / "x", 10, 0) == truth
    with pytest.raises(InputError, match="cannot be written: Directory not empty"):
        synthetic.write("mimic3", tmp_path / "x", 11, 0)


def test_bad_arguments_come_together(tmp_path):
    with pytest.raises(InputError, match="3 problems") as caught:
        synthetic.write("mimic9", tmp_path / "x", 0, -1)
    assert "expected one of mimic3" in str(caught.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder"):
        synthetic.write("mimic3", tmp_path / "file", 10, 0)
    with pytest.raises(InputError, match="cannot be written"):
        synthetic.write("mimic3", tmp_path / "file" / "x", 10, 0)


def test_the_command_line(tmp_path, capsys):
    assert main([f"--out={tmp_path / 'x'}", "--documents=30", "--corpus=mimic3", "--seed=1"]) == 0
    assert "30 labelled admissions" in capsys.readouterr().out
    assert main([f"--out={tmp_path}", "--documents=30"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main([f"--out={tmp_path / 'z'}", "--documents=5", "--corpus=i2b2_2010"]) == 0
    assert "5 documents, in the format of i2b2_2010, and truth.jsonl" in capsys.readouterr().out
    assert main([f"--out={tmp_path / 'z'}", "--documents=2", "--corpus=i2b2_2010"]) == 2
    assert "documents is 2: expected at least 3" in capsys.readouterr().err
    with pytest.raises(SystemExit) as caught:
        main([f"--out={tmp_path / 'y'}", "--documents=many"])
    assert caught.value.code == 2


def synthetic_config(**changes) -> DataConfig:
    return DataConfig(synthetic=SyntheticConfig(documents=80, **changes))


def test_load_writes_the_tables_once(tmp_path):
    splits = load(synthetic_config(), seed=0, workdir=tmp_path, allow_download=False)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 80
    folder = tmp_path / "data" / "synthetic"
    assert folder.stat().st_mode & 0o777 == (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    stamp = folder.stat().st_ino
    assert load(synthetic_config(), seed=1, workdir=tmp_path, allow_download=False) == splits
    assert folder.stat().st_ino == stamp
    (folder / "NOTEEVENTS.csv").unlink()
    assert load(synthetic_config(), seed=0, workdir=tmp_path, allow_download=False) == splits
    assert load(synthetic_config(seed=1), seed=0, workdir=tmp_path, allow_download=False) != splits


def test_load_without_a_workdir_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    splits = load(synthetic_config(), seed=0, workdir=None, allow_download=False)
    assert splits.labels[1] == "Cardiology"
    assert list(tmp_path.iterdir()) == []


def test_load_reads_the_path_or_what_overrides_it(tmp_path):
    for name, count in (("a", 60), ("b", 90)):
        synthetic.write("mimic3", tmp_path / name, count, 0)
    config = DataConfig(path=str(tmp_path / "a"))
    first = load(config, 0, tmp_path, False)
    second = load(config, 0, tmp_path, False, path_override=str(tmp_path / "b"))
    assert len(first.train) < len(second.train)
    assert not (tmp_path / "data").exists()


def test_load_needs_a_path_for_people_s_own_files(tmp_path):
    with pytest.raises(InputError, match=r"data\.path is not set: data\.format 'jsonl' needs"):
        load(DataConfig(format="jsonl"), 0, tmp_path, False)
    (tmp_path / "x.csv").write_text("text,label\n" + "".join(f"note {i},{i % 2}\n" for i in range(50)))
    splits = load(DataConfig(format="csv", path=str(tmp_path / "x.csv"), labels=("1", "0")), 7, tmp_path, False)
    assert (splits.labels, len(splits.test)) == (("1", "0"), 10)
