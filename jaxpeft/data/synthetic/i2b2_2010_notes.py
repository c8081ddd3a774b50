"""Made-up notes in words, with their concepts and relations as annotators mark them: not always as they are meant."""

import dataclasses
from collections import Counter
from random import Random

from jaxpeft.data.readers.i2b2_2010_files import RELATIONS, TYPES
from jaxpeft.data.synthetic.clinic_sentences import CONCEPTS, Piece, Sentence, fill, sentence

_HEADERS = (
    "HISTORY OF PRESENT ILLNESS :", "PAST MEDICAL HISTORY :", "HOSPITAL COURSE :", "PHYSICAL EXAMINATION :",
    "LABORATORY DATA :", "DISCHARGE MEDICATIONS :", "FOLLOW-UP :", "ALLERGIES :", "SOCIAL HISTORY :",
)  # fmt: skip
_ITEMS = (*("{problem}",) * 3, "{treatment} {dose}", "{treatment}", "{lab} {value}")
_MISSED, _OTHER_TYPE, _CUT_SHORT, _OTHER_LABEL = 0.03, 0.01, 0.02, 0.04  # what annotators do
_NESTED, _OVER_LINES, _SPACED = 0.01, 0.01, 0.03  # what annotations and texts look like


@dataclasses.dataclass(eq=False)  # each is itself, whatever it says
class Concept:
    """Words from `first` of `line` up to `end` of `last_line`, counted from 0 in their lines; lines from 1."""

    line: int
    first: int
    last_line: int
    end: int
    type: str

    def shares_words(self, other: "Concept") -> bool:
        """Whether it does with another that begins and ends on the same line."""
        return self.first < other.end and other.first < self.end


class Note:
    """A document: its lines of words, its concepts in the order of their annotation, and what connects them.

    `spaced` says of each line whether it begins with a space. `flaws` counts concepts that are nested or that a
    line end cuts.
    """

    def __init__(self, rng: Random):
        self.rng = rng
        self.lines: list[list[str]] = []
        self.spaced: list[bool] = []
        self.concepts: list[Concept] = []
        self.relations: list[tuple[Concept, Concept, str]] = []
        self.flaws: Counter[str] = Counter()
        for plain in ("Admission Date :", f"20{rng.randint(10, 19)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}"):
            self._add(Sentence((Piece(plain),)))
        for header in rng.sample(_HEADERS, rng.randint(3, 6)):
            self._add_section(header)

    def starts(self) -> list[list[int]]:
        """The offset of each word in the text, line by line."""
        starts, offset = [], 0
        for words, spaced in zip(self.lines, self.spaced, strict=True):
            offset += spaced
            line = []
            for word in words:
                line.append(offset)
                offset += len(word) + 1
            starts.append(line)
            offset += not words  # the line end, which otherwise stood in for the space after the last word
        return starts

    def text(self, concept: Concept) -> str:
        """What a concept says, as annotations have it: lower-cased, with single spaces."""
        lines = self.lines[concept.line - 1 : concept.last_line]
        end = concept.end + sum(map(len, lines[:-1]))
        return " ".join([word for line in lines for word in line][concept.first : end]).lower()

    def _add_section(self, header: str) -> None:
        rng = self.rng
        self._add(Sentence((Piece(header),)))
        is_list = rng.random() < 0.35
        for number in range(1, rng.randint(3, 9)):
            item = Sentence((Piece(f"{number} ."), *fill(rng, rng.choice(_ITEMS))))
            self._add(item if is_list else sentence(rng))
        if rng.random() < 0.2:
            self._add(Sentence(()))

    def _add(self, told: Sentence) -> None:
        """A line, or two where a line end cuts a concept."""
        rng, number = self.rng, len(self.lines) + 1
        words: list[str] = []
        marked: dict[int, Concept] = {}  # by the place of its piece
        for place, piece in enumerate(told.pieces):
            first = len(words)
            words += piece.text.split()
            if piece.slot in CONCEPTS and rng.random() >= _MISSED:
                name = rng.choice(TYPES) if rng.random() < _OTHER_TYPE else piece.slot
                first += len(words) - first > 1 and rng.random() < _CUT_SHORT
                marked[place] = Concept(number, first, number, len(words), name)
        found = [*marked.values(), *self._nested(list(marked.values()))]
        cut = self._cut(found)
        for line in (words[:cut], words[cut:]) if cut else (words,):
            self.lines.append(line)
            self.spaced.append(bool(line) and rng.random() < _SPACED)
        rng.shuffle(found)
        self.concepts += found
        for first, second, label in told.relations:
            if first in marked and second in marked and (noted := self._noted(label)):
                self.relations.append((marked[first], marked[second], noted))

    def _nested(self, concepts: list[Concept]) -> list[Concept]:
        """Concepts within others, which one tag a word cannot express."""
        outer = [one for one in concepts if one.end - one.first > 1 and self.rng.random() < _NESTED]
        self.flaws["entities_not_in_tags"] += len(outer)
        return [dataclasses.replace(one, first=one.first + 1) for one in outer]

    def _cut(self, concepts: list[Concept]) -> int:
        """The number of words before a line end inside a concept, which moves what follows; 0 without one."""
        for cut_one in concepts:
            alone = not any(one is not cut_one and one.shares_words(cut_one) for one in concepts)
            if not alone or cut_one.end - cut_one.first < 2 or self.rng.random() >= _OVER_LINES:
                continue
            cut = cut_one.first + 1
            for one in concepts:
                if one.first >= cut:
                    one.line, one.first = one.line + 1, one.first - cut
                if one.end > cut:
                    one.last_line, one.end = one.last_line + 1, one.end - cut
            self.flaws["pieces_of_entities_over_lines"] += 1
            return cut
        return 0

    def _noted(self, label: str) -> str:
        """The label that an annotator gives: mostly the right one, else another that fits, or none."""
        if self.rng.random() >= _OTHER_LABEL:
            return label
        return self.rng.choice(["", *(other for other in RELATIONS if other[:2] == label[:2] and other != label)])
