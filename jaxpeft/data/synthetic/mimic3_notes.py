"""Made-up notes: what a discharge summary of a class says, in which section, and how plainly."""

import dataclasses
import datetime
import re
from random import Random

from jaxpeft.data.synthetic import mimic3_outcomes as outcomes
from jaxpeft.data.synthetic import mimic3_words as words

NEWBORN = "Obstetrics"
SILENT, MENTIONED, TOLD = "silent", "mentioned", "told"  # how a note treats a death that admission could not know
_MAIN = ("Chief Complaint", "History of Present Illness", "Past Medical History")
_ABBREVIATED = ("CC", "HPI", "PMH")
_SLOT = re.compile(r"\{(\w+)\}")
_SECTION_BREAK = "\n\n"

# How the evidence of an adult's class is laid out, and how often.
_PLAIN, _RIVALLED, _LATE = "plain", "rivalled", "late"
_LAYOUTS, _LAYOUT_WEIGHTS = (_PLAIN, _RIVALLED, _LATE), (0.62, 0.25, 0.13)


@dataclasses.dataclass(frozen=True)
class Stay:
    """What a note says of the patient and the stay, as the tables have it."""

    sex: str
    born: datetime.date
    admitted: datetime.date
    discharged: datetime.date
    died: bool
    condition: outcomes.Condition
    death: str = SILENT
    abbreviated: bool = False  # names the main sections CC, HPI and PMH

    @property
    def age(self) -> int:
        """Whole years on admission."""
        return (self.admitted - self.born).days * 4 // 1461


def say(rng: Random, template: str) -> str:
    """The template with every slot filled, slots of the fillings included."""
    return _SLOT.sub(lambda slot: say(rng, rng.choice(words.WORDS[slot[1]])), template)


def discharge_summary(rng: Random, label: str, classes: tuple[str, ...], stay: Stay) -> str:
    """A note of an illness of class `label`; `classes` are those that its distractions come from."""
    if label == NEWBORN:
        return _newborn(rng, stay)
    return _Adult(rng, label, tuple(name for name in classes if name not in (label, NEWBORN)), stay).note()


def other_summary(rng: Random, classes: tuple[str, ...], stay: Stay) -> str:
    """A note of an admission whose primary code belongs to no class."""
    adults = tuple(name for name in classes if name != NEWBORN)
    return _Adult(rng, rng.choice(adults), adults, stay).note()


def interim_summary(rng: Random) -> str:
    """A report from the middle of a stay, which says nothing of the class or of the admission."""
    return f"Interim summary:\n{_prose(rng, rng.sample(words.PLAIN, 3))}\n\nPlan:\n{_prose(rng, ['to continue'])}\n"


def addendum(rng: Random) -> str:
    """An addendum to a discharge summary, which says nothing of the class."""
    return f"Addendum:\n{_prose(rng, rng.sample(words.PLAIN, 2))}\n\nCompleted by:{say(rng, '{doctor} {date}')}\n"


def passing_note(rng: Random, label: str) -> str:
    """A nurse's or radiologist's note: evidence that only those who read the wrong category get to see."""
    findings = words.NEWBORN_DETAILS if label == NEWBORN else words.FINDINGS[label]
    return f"[**Last Name (un) {rng.randint(1, 999)}**] {_prose(rng, rng.sample(findings, 2))}\n"


class _Adult:
    """One adult's discharge summary in the making."""

    def __init__(self, rng: Random, label: str, rivals: tuple[str, ...], stay: Stay):
        self.rng, self.label, self.rivals, self.stay = rng, label, rivals, stay
        self.layout = rng.choices(_LAYOUTS, _LAYOUT_WEIGHTS)[0]
        self.length = min(9.0, rng.lognormvariate(-0.25, 0.85))
        if self.layout == _LATE:
            self.length = max(1.6, self.length)
        self.rival = rng.choice(rivals)

    def note(self) -> str:
        body = [_header(self.rng, self.stay, self.rng.choice(words.SERVICES)), *self._before_admission()]
        body += self._course()
        return _SECTION_BREAK.join(part for part in body if part) + "\n"

    def _before_admission(self) -> list[str]:
        rng = self.rng
        complaints = words.COMPLAINTS[self.rival if self.layout != _PLAIN and rng.random() < 0.5 else self.label]
        complaint = rng.choice(complaints)
        titles = _ABBREVIATED if self.stay.abbreviated else _MAIN
        return [
            f"{titles[0]}:\n{complaint}{self.stay.condition.manner(rng)}",
            f"{titles[1]}:\n" + self._present_illness(complaint),
            self._section(titles[2], 0.55, _items(rng, self._history(1 + self._some(2.5)))),
            self._section("Medications on Admission", 0.3, _items(rng, self._medications())),
            self._section("Allergies", 0.3, rng.choice(words.ALLERGIES)),
            self._section("Social History", 0.2, _prose(rng, rng.sample(words.PLAIN, 1 + self._some(1)))),
            self._section("Family History", 0.2, _prose(rng, [self._aside()])),
            self._physical_exam(),
        ]

    def _physical_exam(self) -> str:
        rng = self.rng
        found = [self.stay.condition.exam(rng), *rng.sample(words.EXAM, 1 + min(12, self._some(3)))]
        if self.stay.death == MENTIONED:
            found.append(say(rng, rng.choice(outcomes.DEATHS_MENTIONED)))
        return self._section("Physical Exam", 0.4, "\n".join(found))

    def _course(self) -> list[str]:
        rng = self.rng
        late = self.layout == _LATE
        told = self._findings(2 if late else int(rng.random() < 0.6))
        course = told + [self._aside() for _ in range(self._some(1.2))] + self._filler(1.5)
        shown = 1.0 if late else 0.6
        place = "Expired" if self.stay.died else say(rng, rng.choice(words.DISPOSITIONS))
        return [
            self._section("Brief Hospital Course", shown, _prose(rng, course or self._filler(3))),
            self._section("Discharge Medications", 0.25, _items(rng, self._medications())),
            self._section("Discharge Disposition", 0.4, place),
            self._section("Discharge Diagnosis", 0.6 if late else 0.2, _items(rng, self._diagnoses())),
        ]

    def _present_illness(self, complaint: str) -> str:
        rng = self.rng
        history = ", ".join(self._history(1 + rng.randrange(3)))
        past = rng.choice(words.WORDS["past"]).replace("{0}", history)
        sex = rng.choice((self.stay.sex, "man" if self.stay.sex == "M" else "woman"))
        first = f"{self.stay.age} yo {sex} w/ {past} who "
        sentences = [say(rng, first + "{presented} " + complaint + " {since}")]
        rest = [self._aside() for _ in range(self._some(1.2))]
        if self.layout != _LATE:
            rest += self._findings(1 + (rng.random() < 0.45))
        if self.layout == _RIVALLED:
            rest += rng.sample(words.FINDINGS[self.rival], 1)
        rng.shuffle(rest)
        told = [rng.choice(outcomes.DEATHS_TOLD)] if self.stay.death == TOLD else []
        return _prose(rng, sentences + rest + self.stay.condition.statements(rng) + told)

    def _findings(self, count: int) -> list[str]:
        return self.rng.sample(words.FINDINGS[self.label], count)

    def _aside(self) -> str:
        """Something of another class that is past, ruled out or of no weight."""
        rng = self.rng
        if rng.random() < 0.5:
            return rng.choice(words.MINOR)
        return rng.choice(words.RULED_OUT).replace("{0}", rng.choice(words.ILLNESSES[rng.choice(self.rivals)]))

    def _history(self, count: int) -> list[str]:
        """Illnesses of before: common ones, and those of any class, the own one too."""
        rng = self.rng
        pool = [rng.choice(words.ILLNESSES[rng.choice((self.label, *self.rivals))]) for _ in range(count)]
        common = rng.sample(words.OTHER_HISTORY, count)
        return [say(rng, pool[i] if rng.random() < 0.45 else common[i]) for i in range(count)]

    def _diagnoses(self) -> list[str]:
        rng = self.rng
        primary = rng.choice(words.ILLNESSES[self.label])
        return [say(rng, item) for item in [primary, *self._history(1 + self._some(1))]]

    def _medications(self) -> list[str]:
        return self.rng.sample(words.MEDICATIONS, 2 + self._some(3))

    def _filler(self, mean: float) -> list[str]:
        return self.rng.sample(words.PLAIN, self._some(mean))

    def _some(self, mean: float) -> int:
        """A count that grows with the note's length: at most 20."""
        return min(20, int(self.rng.random() * 2 * mean * self.length + 0.3))

    def _section(self, title: str, chance: float, text: str) -> str:
        return f"{title}:\n{text}" if self.rng.random() < chance * (0.5 + self.length / 2) else ""


def _header(rng: Random, stay: Stay, service: str) -> str:
    dates = f"Admission Date:  {_mark(stay.admitted)}              Discharge Date:   {_mark(stay.discharged)}"
    born = f"Date of Birth:  {_mark(stay.born)}             Sex:   {stay.sex}"
    attending = f"\n\nAttending:[**First Name3 (LF) {rng.randint(100, 9999)}**]"
    return f"{dates}\n\n{born}\n\nService: {service}" + (attending if rng.random() < 0.3 else "")


def _mark(date: datetime.date) -> str:
    return f"[**{date.year}-{date.month}-{date.day}**]"


def _newborn(rng: Random, stay: Stay) -> str:
    length = min(6.0, rng.lognormvariate(-0.1, 0.6))
    count = min(len(words.NEWBORN_DETAILS), 2 + int(rng.random() * 6 * length))
    details = rng.sample(words.NEWBORN_DETAILS, count)
    cut = rng.randrange(1, count + 1)
    parts = [
        _header(rng, stay, "NEONATOLOGY" if rng.random() < 0.7 else "NB"),
        "HISTORY:  " + _prose(rng, [rng.choice(words.NEWBORN_EVIDENCE), *details[:cut]]),
    ]
    if details[cut:]:
        parts.append("HOSPITAL COURSE BY SYSTEMS:\n" + _items(rng, details[cut:]))
    if rng.random() < 0.4:
        parts.append("CONDITION ON DISCHARGE:  stable w/ parents")
    parts.append(say(rng, "Dictated By:{doctor}\nD:  ") + _mark(stay.discharged))
    return _SECTION_BREAK.join(parts) + "\n"


def _prose(rng: Random, statements: list[str]) -> str:
    sentences = (say(rng, statement).strip() for statement in statements)
    return _wrap(" ".join(sentence[:1].upper() + sentence[1:] + "." for sentence in sentences))


def _wrap(text: str, width: int = 72) -> str:
    """Line breaks at about `width` characters, as the corpus has them (textwrap takes ten times as long)."""
    lines, line = [], ""
    for word in text.split():
        if len(line) + len(word) >= width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return "\n".join([*lines, line])


def _items(rng: Random, items: list[str]) -> str:
    """A list, by one of the marks that the corpus has."""
    mark = rng.choice(("{0}. ", "{0}) ", "#{0} ", "- ", "__ ", ""))
    return "\n".join(mark.format(i) + say(rng, item) for i, item in enumerate(items, start=1))
