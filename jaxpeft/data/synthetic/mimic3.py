"""A made-up MIMIC-III: tables with the real ones' columns and quoting, around notes of the triage classes.

Built to need what the real corpus needs of a reader (patients with several admissions, several reports and addenda,
duplicates, notes in error, other categories, other codes, deaths that the note gives away) and of a classifier (wrong
codes, rivals, evidence that comes late, outcomes by chance). About 6 % of the codes are not those of the note, so no
classifier of triage does much better than 0.94.
"""

import dataclasses
import datetime
from collections.abc import Iterable
from pathlib import Path
from random import Random

from jaxpeft.data.readers.mimic3_splits import hashed_split
from jaxpeft.data.readers.mimic3_triage import TRIAGE_CODES
from jaxpeft.data.synthetic import mimic3_notes as notes
from jaxpeft.data.synthetic.mimic3_outcomes import Condition

VERSION = 3  # of what is written for given arguments

_CLASSES = tuple(TRIAGE_CODES)
_SHARES = {
    "Cardiology": 0.42, "Obstetrics": 0.17, "Respiratory": 0.14, "Neurology": 0.10, "Gastroenterology": 0.08,
    "AcuteMedicine": 0.05, "Oncology": 0.04,
}  # fmt: skip
_WRONG_CODE = 0.06
_FRACTIONS = {"triage": (0.6, 0.2, 0.2), "mortality": (0.7, 0.1, 0.2), "length_of_stay": (0.7, 0.1, 0.2)}
_OTHER_CODES = ("03842", "25013", "8208", "5712", "99811", "56212", "V3401", "4271", "44101", "1970", "2920")
_SECONDARY_CODES = ("4019", "25000", "42731", "2724", "496", "5859", "4280", "41401", "5849", "486", "51881", "0389")
_COLUMNS = {
    "NOTEEVENTS.csv": "ROW_ID SUBJECT_ID HADM_ID CHARTDATE CHARTTIME STORETIME CATEGORY DESCRIPTION CGID ISERROR TEXT",
    "ADMISSIONS.csv": "ROW_ID SUBJECT_ID HADM_ID ADMITTIME DISCHTIME DEATHTIME ADMISSION_TYPE ADMISSION_LOCATION "
    "DISCHARGE_LOCATION INSURANCE LANGUAGE RELIGION MARITAL_STATUS ETHNICITY EDREGTIME EDOUTTIME DIAGNOSIS "
    "HOSPITAL_EXPIRE_FLAG HAS_CHARTEVENTS_DATA",
    "PATIENTS.csv": "ROW_ID SUBJECT_ID GENDER DOB DOD DOD_HOSP DOD_SSN EXPIRE_FLAG",
    "DIAGNOSES_ICD.csv": "ROW_ID SUBJECT_ID HADM_ID SEQ_NUM ICD9_CODE",
}


@dataclasses.dataclass
class _Admission:
    """One stay: what the note is about, and what the primary code says. `label` None: a code of no class."""

    story: str
    label: str | None
    code: str
    usable: bool  # has a discharge summary that is not in error
    patient: int = 0
    number: int = 0
    start: datetime.datetime = datetime.datetime.min
    end: datetime.datetime = datetime.datetime.min
    died: bool = False
    sex: str = ""
    born: datetime.date = datetime.date.min
    condition: Condition = Condition(acuity=0.0, burden=0.0)  # noqa: RUF009 - frozen
    death: str = notes.SILENT  # how the note gives it away
    abbreviated: bool = False  # the note lacks the main sections' names

    @property
    def newborn(self) -> bool:
        return self.story == notes.NEWBORN

    @property
    def facts(self) -> notes.Stay:
        return notes.Stay(
            self.sex,
            self.born,
            self.start.date(),
            self.end.date(),
            self.died,
            self.condition,
            self.death,
            self.abbreviated,
        )

    def answers(self) -> dict[str, str]:
        """The label that a reader should find for each target that has one."""
        found = {}
        if self.usable and self.label:
            found["triage"] = self.label
        if self.usable and not self.newborn and not self.abbreviated:
            if self.death != notes.TOLD:
                found["mortality"] = str(int(self.died))
            if not self.died:
                days = round((self.end - self.start) / datetime.timedelta(days=1), 1)
                found["length_of_stay"] = str(sum(days > limit for limit in (3, 7, 14)))
        return found


def generate(out: Path, documents: int, seed: int) -> list[dict[str, str]]:
    """Writes the four tables into `out` and returns, by target and HADM_ID, what a reader should find in them."""
    rng = Random(seed)
    admissions = _admissions(rng, documents)
    _give_patients(rng, admissions)
    _write(out, "NOTEEVENTS.csv", _noteevents(rng, admissions))
    _write(out, "ADMISSIONS.csv", (_admission_row(rng, stay) for stay in admissions))
    _write(out, "PATIENTS.csv", _patients(admissions))
    _write(out, "DIAGNOSES_ICD.csv", _diagnoses(rng, admissions))
    return [
        {
            "target": target,
            "hadm_id": str(stay.number),
            "subject_id": str(stay.patient),
            "label": stay.answers()[target],
            "split": hashed_split(str(stay.patient), fractions),
        }
        for target, fractions in _FRACTIONS.items()
        for stay in sorted(admissions, key=lambda stay: stay.number)
        if target in stay.answers()
    ]


def _admissions(rng: Random, documents: int) -> list[_Admission]:
    """The labelled admissions, and beside them those that a reader must pass over."""
    stays = [_labelled(rng) for _ in range(documents)]
    stays += [
        _Admission(rng.choice(_CLASSES), None, rng.choice(_OTHER_CODES), usable=True) for _ in range(documents // 8)
    ]
    for _ in range(documents // 60 + 1):
        stays.append(dataclasses.replace(_labelled(rng), usable=False))
    rng.shuffle(stays)
    return stays


def _labelled(rng: Random) -> _Admission:
    story = rng.choices(_CLASSES, [_SHARES[name] for name in _CLASSES])[0]
    label = story
    if rng.random() < _WRONG_CODE:
        others = [name for name in _CLASSES if name != story]
        label = rng.choices(others, [_SHARES[name] for name in others])[0]
    return _Admission(story, label, rng.choice(TRIAGE_CODES[label]), usable=True)


def _give_patients(rng: Random, admissions: list[_Admission]) -> None:
    """Numbers, dates and persons; about a fifth of the adults come more than once, the newborn only to be born."""
    room = max(90_000, 4 * len(admissions))
    for stay, number in zip(admissions, rng.sample(range(100_000, 100_000 + room), len(admissions)), strict=True):
        stay.number = number
    patients = iter(rng.sample(range(3, 3 + room), len(admissions)))
    for stay in admissions:
        if stay.newborn:
            _give_patient(rng, [stay], next(patients))
    adults = [stay for stay in admissions if not stay.newborn]
    while adults:
        visits = _give_patient(rng, adults[: rng.choices((1, 2, 3), (80, 15, 5))[0]], next(patients))
        del adults[:visits]


def _give_patient(rng: Random, visits: list[_Admission], patient: int) -> int:
    """Makes the stays those of one patient, up to a death. Returns how many are."""
    newborn = visits[0].newborn
    start = datetime.datetime(2130, 1, 1) + datetime.timedelta(days=rng.randrange(20_000), minutes=rng.randrange(1440))
    born = start.date() - datetime.timedelta(days=0 if newborn else rng.randint(38 * 366, 85 * 366))
    sex = rng.choice("FM")
    for number, stay in enumerate(visits, start=1):
        stay.patient, stay.born, stay.sex, stay.start = patient, born, sex, start
        stay.condition = Condition.draw(rng)
        stay.end = start + stay.condition.stay(rng)
        start = stay.end + datetime.timedelta(days=rng.randint(10, 700))
        if not newborn:
            stay.abbreviated = rng.random() < 0.03
            stay.died = stay.condition.dies(rng, stay.facts.age)
        if stay.died:
            stay.death = rng.choices((notes.SILENT, notes.MENTIONED, notes.TOLD), (0.62, 0.3, 0.08))[0]
            return number
    return len(visits)


def _noteevents(rng: Random, admissions: list[_Admission]) -> Iterable[list[str]]:
    """Rows in no order of patient or date, as the table has them."""
    rows = [row for stay in admissions for row in _notes_of(rng, stay)]
    rng.shuffle(rows)
    return rows


def _notes_of(rng: Random, stay: _Admission) -> list[list[str]]:
    if stay.label:
        text = notes.discharge_summary(rng, stay.story, _CLASSES, stay.facts)
    else:
        text = notes.other_summary(rng, _CLASSES, stay.facts)
    date = stay.end.date()
    later = date + datetime.timedelta(days=rng.randint(1, 5))
    rows = [_note(stay, date, "Discharge summary", "Report", text, error=not stay.usable)]
    if stay.usable and rng.random() < 0.03:
        rows.append(_note(stay, later, "Discharge summary", "Report", text))
    if stay.usable and rng.random() < 0.02:
        rows.append(_note(stay, date, "Discharge summary", "Report", "WRONG PATIENT\n" + text, error=True))
    if stay.usable and not stay.newborn and rng.random() < 0.03:
        rows.append(_note(stay, stay.start.date(), "Discharge summary", "Report", notes.interim_summary(rng)))
    if stay.usable and rng.random() < 0.07:
        rows.append(_note(stay, later, "Discharge summary", "Addendum", notes.addendum(rng)))
    if rng.random() < 0.3:
        story = rng.choice(_CLASSES)
        category = rng.choice(("Nursing/other", "Radiology", "Nursing", "Physician ", "ECG"))
        rows.append(_note(stay, stay.start.date(), category, "Report", notes.passing_note(rng, story)))
    return rows


def _note(stay: _Admission, date: datetime.date, category: str, kind: str, text: str, error: bool = False) -> list[str]:
    nursing = category != "Discharge summary"
    time = f"{date} {stay.start:%H:%M}:00" if nursing else ""
    columns = [_quoted(category), _quoted(kind), "17765" if nursing else "", "1" if error else "", _quoted(text)]
    return [str(stay.patient), str(stay.number), str(date), time, time, *columns]


def _admission_row(rng: Random, stay: _Admission) -> list[str]:
    emergency = not stay.newborn and rng.random() < 0.8
    kind = "NEWBORN" if stay.newborn else "EMERGENCY" if emergency else "ELECTIVE"
    arrival = str(stay.start - datetime.timedelta(hours=4)) if emergency else ""
    place = rng.choice(("HOME", "SNF", "REHAB/DISTINCT PART HOSP", "HOME HEALTH CARE"))
    return [
        str(stay.patient), str(stay.number), str(stay.start), str(stay.end), str(stay.end) if stay.died else "",
        _quoted(kind), _quoted("EMERGENCY ROOM ADMIT" if emergency else "PHYS REFERRAL/NORMAL DELI"),
        _quoted("DEAD/EXPIRED" if stay.died else place), _quoted(rng.choice(("Medicare", "Private", "Medicaid"))),
        rng.choice(("", _quoted("ENGL"))), _quoted(rng.choice(("CATHOLIC", "UNOBTAINABLE", "NOT SPECIFIED"))),
        "" if stay.newborn else _quoted(rng.choice(("MARRIED", "SINGLE", "WIDOWED"))),
        _quoted(rng.choice(("WHITE", "BLACK/AFRICAN AMERICAN", "UNKNOWN/NOT SPECIFIED"))), arrival,
        str(stay.start) if emergency else "", _quoted("NEWBORN" if stay.newborn else "UNSPECIFIED"),
        str(int(stay.died)), "1",
    ]  # fmt: skip


def _patients(admissions: list[_Admission]) -> Iterable[list[str]]:
    by_patient: dict[int, list[_Admission]] = {}
    for stay in admissions:
        by_patient.setdefault(stay.patient, []).append(stay)
    for patient, stays in by_patient.items():
        death = next((f"{stay.end.date()} 00:00:00" for stay in stays if stay.died), "")
        birth = f"{stays[0].born} 00:00:00"
        yield [str(patient), _quoted(stays[0].sex), birth, death, death, "", str(int(bool(death)))]


def _diagnoses(rng: Random, admissions: list[_Admission]) -> Iterable[list[str]]:
    """The primary code, then others, which are often a class's too and must not become the label."""
    for stay in admissions:
        others = [code for code in rng.sample(_SECONDARY_CODES, rng.randint(1, 6)) if code != stay.code]
        for rank, code in enumerate([stay.code, *others], start=1):
            yield [str(stay.patient), str(stay.number), str(rank), _quoted(code)]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _write(out: Path, table: str, rows: Iterable[list[str]]) -> None:
    """MIMIC-III's quoting: text and header in quotes, numbers and times bare, nothing for a missing value."""
    with (out / table).open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(_quoted(column) for column in _COLUMNS[table].split()) + "\n")
        file.writelines(f"{number},{','.join(row)}\n" for number, row in enumerate(rows, start=1))
