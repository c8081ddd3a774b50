"""How the paper's code counts where we count otherwise: for comparing with its tables, and for nothing else.

The scores of `entity_scores` and `relations` are the ones to report; docs/scores.md says why. Both functions
return 0.0 where nothing is defined, as the libraries do that the paper's code calls.
"""

from collections.abc import Sequence

import numpy as np

from jaxpeft.data.bio import OUTSIDE, Span


def labels_of_pieces(tags: Sequence[str], words: Sequence[int | None]) -> list[str | None]:
    """The tag of each sub-word piece: its word's, `B-` copied to all of them. None for special tokens.

    words [pieces] is the word that each piece belongs to (None for special tokens), as tokenizers say. The tags
    are taken one after the other as new words appear, so a word that has no piece leaves its tag to the next one.
    """
    labels: list[str | None] = []
    taken, last = -1, None
    for word in words:
        if word is not None and word != last:
            taken, last = taken + 1, word
        labels.append(None if word is None else tags[taken])
    return labels


def piece_f1(labels: Sequence[Sequence[str | None]], predictions: Sequence[Sequence[str]]) -> float:
    """Micro-F1 of entities over pieces, one sequence a row; where the label is None, the piece is left out.

    An entity is what seqeval finds by default: an `I-` may open one. A word of three pieces that is tagged `B-X`
    is three entities here, so that long words count more than short ones.
    """
    gold, predicted = set(), set()
    for row, (ours, theirs) in enumerate(zip(labels, predictions, strict=True)):
        pairs = [(label, found) for label, found in zip(ours, theirs, strict=True) if label is not None]
        gold |= {(row, span) for span in lenient_spans([label for label, _ in pairs])}
        predicted |= {(row, span) for span in lenient_spans([found for _, found in pairs])}
    return 2 * len(gold & predicted) / (len(gold) + len(predicted)) if gold or predicted else 0.0


def lenient_spans(tags: Sequence[str]) -> list[Span]:
    """The entities of a BIO sequence as conlleval reads it: an `I-` without its entity before it opens one."""
    spans: list[Span] = []
    start, kind = 0, ""
    for position, tag in enumerate([*tags, OUTSIDE]):
        if kind and tag != f"I-{kind}":
            spans.append(Span(start, position, kind))
            kind = ""
        if not kind:
            start, kind = position, tag[2:]
    return spans


def micro_f1_with_negative(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Micro-F1 of relations over all classes, the negative one among them: the share of right rows.

    labels and predictions [N], as numbers or names.
    """
    return float((np.asarray(labels) == np.asarray(predictions)).mean()) if len(labels) else 0.0
