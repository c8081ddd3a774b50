"""What a discharge summary says that was known on admission, and whether it gives a death away.

After van Aken et al. 2021, "Clinical Outcome Prediction from Admission Notes using Self-Supervised Knowledge
Integration" (EACL).
"""

import re

SECTIONS = (
    "chief complaint",
    "present illness",
    "medical history",
    "medications on admission",
    "allergies",
    "physical exam",
    "family history",
    "social history",
)
_MAIN = SECTIONS[:3]  # one of them at least makes a note of use
_TERSE = ("physical exam", "medications on admission")  # where a death is mentioned and not told
_OF_THE_TEMPLATE = (*SECTIONS, "procedure", "pertinent results", "hospital course", "discharge", "followup", "service")
_NEXT_HEADER = re.compile(rb"\n[ \t\r]*\n[ \t]*[^\n:().|\\\d]+:")
_DEATH_WORDS = ("expired", "died", "passed", "deceased", "death")  # each phrase has one; looked for first, being fast
_DEATH = re.compile(  # with an article and a date, which would mark the deaths once the phrase is gone
    r"(?i)\b(the\s+)?(patient|pt)\.?\s+((had|has)\s+)?(expired|died|passed\s+away|deceased)\b"
    r"(\s+(on\s+)?\[\*\*[^\]]*\*\*\])?"
)
_DEATH_TOLD = re.compile(r"(?i)\b(s?he\s+expired|pronounced\s+expired|time\s+of\s+death)\b")


def admission_sections(note: str) -> dict[str, str] | None:
    """The sections of a note that were known on admission, each as one line; None if no main one says anything.

    A section begins behind the first "name:" of the note, in either case, wherever it stands ("History of Present
    Illness:") but behind "discharge", which is what was known at the end. It ends at a blank line before a header: a
    line with a colon and, before it, no digit, dot or bracket. A section may begin with a header of its own ("VS:"),
    but not with one of the summary's sections: then it is empty.
    """
    text = note.encode()
    lower = text.lower()  # of bytes: ASCII only, so places stay the same
    found = {}
    for name in SECTIONS:
        if content := _section(text, lower, name.encode() + b":"):
            found[name] = content
    return found if any(name in found for name in _MAIN) else None


def _section(text: bytes, lower: bytes, header: bytes) -> str:
    place = lower.find(header)
    while place >= 0 and lower[max(place - 80, 0) : place].rstrip().endswith(b"discharge"):
        place = lower.find(header, place + 1)
    if place < 0:
        return ""
    start = place + len(header)
    end = _NEXT_HEADER.search(text, start)
    if end and not text[start : end.start()].strip():
        first = lower[end.start() : end.end()]
        if first.endswith(header) and b"discharge" not in first:  # "Physical Exam:", "Admission Physical Exam:"
            return _section(text[end.start() :], lower[end.start() :], header)
        if any(name.encode() in first for name in _OF_THE_TEMPLATE):
            return ""
        end = _NEXT_HEADER.search(text, end.end())
    content = text[start : end.start() if end else len(text)]
    return " ".join(content.decode().split())


def without_death(sections: dict[str, str]) -> dict[str, str] | None:
    """The sections without mentions of the patient's death; None where they tell of it."""
    if not _may_tell("\n".join(sections.values())):
        return sections
    kept = dict(sections)
    for name, content in sections.items():
        if not _may_tell(content):
            continue
        if name in _TERSE:
            content = kept[name] = " ".join(_DEATH.sub("", content).split())
        if _DEATH.search(content) or _DEATH_TOLD.search(content):
            return None
    return {name: content for name, content in kept.items() if content}


def _may_tell(text: str) -> bool:
    lower = text.lower()
    return any(word in lower for word in _DEATH_WORDS)


def admission_text(sections: dict[str, str]) -> str:
    """The sections under their titles, separated by blank lines."""
    return "\n\n".join(f"{name.upper()}: {content}" for name, content in sections.items())
