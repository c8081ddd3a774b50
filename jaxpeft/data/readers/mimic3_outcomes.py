"""Death in hospital and length of stay, from what was known on admission (van Aken et al. 2021)."""

import datetime
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

from jaxpeft.data.readers.mimic3_notes import discharge_notes
from jaxpeft.data.readers.mimic3_sections import admission_sections, admission_text, without_death
from jaxpeft.data.readers.mimic3_tables import Admission, admissions
from jaxpeft.data.rows import Rows

_TENTH_OF_A_DAY = 8640  # seconds
_LIMITS = (30, 70, 140)  # tenths of days that the classes 0, 1 and 2 reach to

_Sections = dict[str, dict[str, str]]  # HADM_ID -> sections


def mortality(tables: Mapping[str, Path], protocol: str, report: Counter[str]) -> Rows:
    """Label 1 for an admission that ended in death, else 0, the same in every protocol.

    Mentions of the death are taken out of the note, and notes that tell of it are dropped.
    """
    del protocol
    adults = _adults(tables, report)
    sections = _sections(tables, adults, report)
    silent = {number: without_death(found) for number, found in sections.items()}
    kept = {number: found for number, found in silent.items() if found is not None}
    report["notes_that_tell_of_a_death"] = len(sections) - len(kept)
    report["notes_with_a_death_taken_out"] = sum(found != sections[number] for number, found in kept.items())
    return _rows(kept, adults, {number: str(int(adults[number].died)) for number in kept})


def length_of_stay(tables: Mapping[str, Path], protocol: str, report: Counter[str]) -> Rows:
    """Label 0 to 3 for up to 3, 7 and 14 days and longer, without deaths, the same in every protocol."""
    del protocol
    adults = _adults(tables, report)
    survivors = {number: stay for number, stay in adults.items() if not stay.died}
    report["deaths"] = len(adults) - len(survivors)
    report["stays_that_end_before_they_begin"] = sum(stay.stay.days < 0 for stay in survivors.values())
    sections = _sections(tables, survivors, report)
    return _rows(sections, survivors, {number: stay_class(survivors[number].stay) for number in sections})


def stay_class(stay: datetime.timedelta) -> str:
    """The class of a stay in days, rounded to a tenth (ties to even, as NumPy does): 3.04 days are 3."""
    tenths = round(Fraction(int(stay.total_seconds()), _TENTH_OF_A_DAY))
    return str(sum(tenths > limit for limit in _LIMITS))


def _adults(tables: Mapping[str, Path], report: Counter[str]) -> dict[str, Admission]:
    stays = admissions(tables["ADMISSIONS"])
    adults = {number: stay for number, stay in stays.items() if not stay.newborn}
    report["newborns"] = len(stays) - len(adults)
    return adults


def _sections(tables: Mapping[str, Path], stays: Mapping[str, Admission], report: Counter[str]) -> _Sections:
    """Of each admission, what its notes say that was known when it began."""
    patients = {number: stay.patient for number, stay in stays.items()}
    notes = discharge_notes(tables["NOTEEVENTS"], patients, report, addenda_last=False)
    report["admissions_without_summary"] = len(stays) - len(notes)
    report["admissions_without_main_sections"] = 0
    sections: _Sections = {}
    for number in sorted(notes, key=int):
        found = admission_sections("\n\n".join(notes.pop(number)))  # pop: whole notes leave memory on the way
        if found is None:
            report["admissions_without_main_sections"] += 1
        else:
            sections[number] = found
    return sections


def _rows(sections: _Sections, stays: Mapping[str, Admission], labels: Mapping[str, str]) -> Rows:
    numbers = list(sections)
    return Rows(
        text=[admission_text(sections[number]) for number in numbers],
        label=[labels[number] for number in numbers],
        patient=[stays[number].patient for number in numbers],
        doc=numbers,
        id=numbers,
    )
