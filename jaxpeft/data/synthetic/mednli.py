"""A made-up MedNLI: sentences of clinical notes, and for each one that follows, one against it and one beside it.

A first sentence states things, denies them, or both, so that a second one alone tells nothing of its label: half of
those that follow deny something too. About one label in 20 is not the one that was meant.
"""

import dataclasses
import html
import json
import re
from pathlib import Path
from random import Random
from typing import Any

from jaxpeft.data.readers.mednli import FILES, LABELS
from jaxpeft.data.synthetic import clinic_words as words
from jaxpeft.data.synthetic.clinic_sentences import Piece, Sentence, fill, sentence

VERSION = 2  # of what is written for given arguments
MINIMUM = 3  # premises: one of each split
_SHARES = {"validation": 0.1, "test": 0.1}  # the others are for training
_OTHER_LABEL = 0.05
_HAS = {
    "problem": ("the patient has {0}", "there is evidence of {0}", "the patient suffers from {0}", "{0} is present"),
    "treatment": ("the patient received {0}", "{0} was part of the treatment", "the patient is treated with {0}"),
    "test": ("{0} was performed", "the patient had {0} done", "{0} was obtained"),
}
_HAS_NOT = {
    "problem": ("the patient does not have {0}", "there is no {0}", "the patient has never had {0}", "{0} is absent"),
    "treatment": ("the patient never received {0}", "{0} was not used", "the patient refused {0}"),
    "test": ("{0} was not performed", "the patient never had {0}", "no {0} was obtained"),
}
_DENIALS = (
    "{who} denied {problem} {when}", "no evidence of {problem} was seen", "{who} was without {problem}",
    "{who} was free of {problem} {when}", "{treatment} was never started", "{who} was not given {treatment}",
    "{who} declined {treatment} {when}", "{test} was not done {when}", "{who} refused {test}",
    "{test} could not be obtained {when}",
)  # fmt: skip
_JOINTS = ("but", "although", "and")
_DOUBTFUL = {
    "no", "not", "never", "denied", "rule", "evaluate", "look", "worked", "ordered", "contraindicated", "held",
    "discussed", "resolved", "relieved",
}  # fmt: skip
_DETERMINER = re.compile(r"^(a|an|any|his|her|the) ")
_BUILDERS = {"problem": words.problem, "treatment": words.treatment, "test": words.test}


def generate(out: Path, documents: int, seed: int) -> list[dict[str, Any]]:
    """Writes the three files into `out` for `documents` first sentences, and returns their pairs as they are read."""
    rng = Random(seed)
    counts = {split: max(1, round(share * documents)) for split, share in _SHARES.items()}
    counts = {"train": documents - sum(counts.values()), **counts}
    truth: list[dict[str, Any]] = []
    for split, count in counts.items():
        with (out / FILES[split]).open("w", encoding="utf-8", newline="\n") as file:
            for _ in range(count):
                for pair in _pairs(rng):
                    id = "".join(rng.choices("0123456789abcdef", k=8)) + f"-{len(truth)}"
                    file.write(json.dumps(_line(id, *pair)) + "\n")
                    truth.append({"split": split, "id": id, "text": pair[0], "text_pair": pair[1], "label": pair[2]})
    return truth


def _pairs(rng: Random) -> list[tuple[str, str, str]]:
    """The pairs of one first sentence, a label each, in any order."""
    pieces, concepts, denied = _premise(rng)
    premise = html.unescape(" ".join(piece.text for piece in pieces))
    pairs = []
    for label in rng.sample(LABELS, len(LABELS)):
        concept = rng.choice(concepts)
        kind, text = str(concept.slot), concept.text
        if label == "neutral":
            text = _BUILDERS[kind](rng)
        forms = _HAS_NOT if denied != (label == "contradiction") else _HAS
        second = rng.choice(forms[kind]).replace("{0}", _DETERMINER.sub("", text[:1].lower() + text[1:]))
        noted = rng.choice([one for one in LABELS if one != label]) if rng.random() < _OTHER_LABEL else label
        pairs.append((premise, html.unescape(second[:1].upper() + second[1:] + " ."), noted))
    return pairs


def _premise(rng: Random) -> tuple[list[Piece], list[Piece], bool]:
    """A sentence, the concepts to ask about, and whether it denies them; with both, either are asked about."""
    told = sentence(rng)
    while not (stated := _stated(told)):
        told = sentence(rng)
    denial = fill(rng, rng.choice(_DENIALS))
    asked = rng.random() < 0.5
    denied = [piece for piece in denial if piece.slot in _HAS]
    if rng.random() < 0.4:
        joint = Piece(f", {rng.choice(_JOINTS)}")
        whole = [*(piece for piece in told.pieces if piece.text != "."), joint, *denial]
    else:
        whole = denial if asked else list(told.pieces)
    return [_capital(whole[0]), *whole[1:]], denied if asked else stated, asked


def _stated(told: Sentence) -> list[Piece]:
    """The concepts of a sentence, if it states them: not where it denies or doubts some."""
    said = {word.lower() for piece in told.pieces if piece.slot not in _HAS for word in piece.text.split()}
    return [] if said & _DOUBTFUL else [piece for piece in told.pieces if piece.slot in _HAS]


def _capital(piece: Piece) -> Piece:
    return dataclasses.replace(piece, text=piece.text[:1].upper() + piece.text[1:])


def _line(id: str, first: str, second: str, label: str) -> dict[str, str]:
    """A line of the owner's files; parses are there in name only."""
    pair = {"sentence1": first, "sentence2": second}
    parses = {f"{name}_{kind}": f"(ROOT {text} )" for name, text in pair.items() for kind in ("parse", "binary_parse")}
    return {"gold_label": label, "pairID": id, **pair, **parses}
