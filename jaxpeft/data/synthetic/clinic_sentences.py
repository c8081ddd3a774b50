"""Made-up clinical sentences in pieces, so that it is known where each concept stands and what connects which two.

In a clause `{slot}` stands for a phrase of that kind; `{slot:words}` for these words as of that kind. The words of a
clause tell how its concepts are related, which is what a model has to learn; two clauses in one sentence are not.
"""

import dataclasses
import re
from random import Random

from jaxpeft.data.synthetic import clinic_words as words

CONCEPTS = ("problem", "treatment", "test")
_BUILDERS = {"problem": words.problem, "treatment": words.treatment, "test": words.test, "lab": words.lab}
_KINDS = {"lab": "test", "told": "evidential"}  # of slots that differ in words alone
_SLOT = re.compile(r"\{(\w+)(?::([^}]*))?\}")
_NONE = ""

# By the relation of a clause's first two concepts; the last group has none between any of its own.
CLAUSES: dict[str, tuple[str, ...]] = {
    "TrAP": (
        "{who} was treated with {treatment} for {problem}", "{treatment} was started for {problem} {when}",
        "{who} underwent {treatment} for {problem}", "{treatment} {dose} for {problem}",
        "{who} was placed on {treatment} for {problem}", "{who} received {treatment} because of {problem}",
        "{problem} was managed with {treatment}", "{treatment} was given {when} for {problem}",
    ),
    "TrIP": (
        "{problem} resolved with {treatment}", "{problem} improved after {treatment}",
        "{treatment} relieved {problem}", "{problem} was controlled with {treatment}",
        "{who} had good response of {problem} to {treatment}",
    ),
    "TrWP": (
        "{problem} worsened despite {treatment}", "{problem} persisted in spite of {treatment}",
        "{treatment} failed to control {problem}", "{problem} was refractory to {treatment}",
    ),
    "TrCP": (
        "{problem} was attributed to {treatment}", "{who} developed {problem} from {treatment}",
        "{treatment} was complicated by {problem}", "{treatment} caused {problem}", "{problem} after {treatment}",
    ),
    "TrNAP": (
        "{treatment} was held because of {problem}", "{treatment} was stopped given {problem}",
        "{treatment} was not given due to {problem}", "{treatment} was contraindicated in view of {problem}",
    ),
    "TeRP": (
        "{test} {evidential} {problem}", "{test} {when} {evidential} {problem}", "{problem} was seen on {test}",
        "{problem} was found by {test}", "{test} done in {dept} {evidential} {problem}",
        "{who} had {problem} by {test}",
    ),
    "TeCP": (
        "{test} was ordered to evaluate {problem}",
        "{who} was {occurrence:scheduled} for {test} to rule out {problem}",
        "{test} was obtained to look for {problem}", "{problem} was worked up with {test}",
    ),
    "PIP": (
        "{problem} secondary to {problem}", "{problem} was likely due to {problem}",
        "{who} had {problem} in the setting of {problem}", "{problem} associated with {problem}",
        "{problem} caused {problem}", "{problem} with resultant {problem}",
    ),
    _NONE: (
        "past medical history of {problem} , {problem} , {problem} and {problem}",
        "{who} {told} {problem} and {problem}", "no {problem} , {problem} or {problem} was noted",
        "{test} , {test} and {test} were normal", "{lab} was {value} and {lab} was {value}",
        "{who} was {occurrence} to {dept} with {problem}", "{who} was {occurrence} to {dept} {when}",
        "{treatment} {dose} , {treatment} {dose} and {treatment} {dose}", "{treatment} was continued {when}",
        "{lab} was {value} {when}", "{problem} remained stable", "{who} tolerated {treatment} well",
        "{who} was started on {treatment} , {treatment} and {treatment}", "{problem} , rule out {problem}",
        "{who} was {occurrence:discharged} from {dept} in stable condition",
        "temperature was &gt; 101 with {problem} {when}",
        "the patient &apos;s family was present and questions were answered",
        "{occurrence:follow-up} with {dept} in two weeks",
        "{test} , {test} , {problem} and {treatment} were discussed with the family", "{who} lives with family",
        "{who} does not smoke and drinks rarely", "vital signs were stable and {who} was afebrile",
    ),
}  # fmt: skip
SHARES = {
    "TrAP": 0.10, "TrIP": 0.03, "TrWP": 0.015, "TrCP": 0.025, "TrNAP": 0.015, "TeRP": 0.11, "TeCP": 0.03, "PIP": 0.08,
    _NONE: 0.595,
}  # fmt: skip
_JOINTS = (" and ", " , ", " ; ", " , while ", " , but ")


@dataclasses.dataclass(frozen=True)
class Piece:
    """Words of a sentence (between spaces), and the slot that they fill if they are of a kind."""

    text: str
    slot: str | None = None


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Pieces, and the relations between its concepts: two places among the pieces, and the label."""

    pieces: tuple[Piece, ...]
    relations: tuple[tuple[int, int, str], ...] = ()


def sentence(rng: Random) -> Sentence:
    """One clause or two, with a capital letter and, mostly, a full stop."""
    clauses = [_clause(rng)]
    if rng.random() < 0.45:
        clauses.append(_clause(rng))
    pieces: list[Piece] = []
    relations: list[tuple[int, int, str]] = []
    for number, (found, label) in enumerate(clauses):
        if number:
            pieces.append(Piece(rng.choice(_JOINTS).strip()))
        ends = [len(pieces) + place for place, piece in enumerate(found) if piece.slot in CONCEPTS]
        if label:
            relations.append((ends[0], ends[1], label))
        pieces += found
    pieces[0] = dataclasses.replace(pieces[0], text=pieces[0].text[:1].upper() + pieces[0].text[1:])
    if rng.random() < 0.9:
        pieces.append(Piece("."))
    return Sentence(tuple(pieces), tuple(relations))


def fill(rng: Random, template: str) -> list[Piece]:
    """The pieces of a template, in order; what stands between slots is a piece without one."""
    pieces, place = [], 0
    for match in _SLOT.finditer(template):
        pieces.append(Piece(template[place : match.start()].strip()))
        slot, literal = match.groups()
        pieces.append(Piece(literal or _phrase(rng, slot), _KINDS.get(slot, slot)))
        place = match.end()
    pieces.append(Piece(template[place:].strip()))
    return [piece for piece in pieces if piece.text]


def _clause(rng: Random) -> tuple[list[Piece], str]:
    label = rng.choices(list(SHARES), list(SHARES.values()))[0]
    return fill(rng, rng.choice(CLAUSES[label])), label


def _phrase(rng: Random, slot: str) -> str:
    return _BUILDERS[slot](rng) if slot in _BUILDERS else rng.choice(words.OTHERS[slot])
