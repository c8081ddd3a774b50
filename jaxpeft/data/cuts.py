"""What of a text longer than the model reads is kept: its head, its tail, both, or all of it in windows that overlap.

Positions count the tokens of one text, special tokens not among them.
"""

from collections.abc import Sequence

import numpy as np

LONG_TEXT = ("head", "tail", "head_tail", "windows")


def cut(length: int, room: int, long_text: str, stride: int) -> list[np.ndarray]:
    """The positions that each example has of a text of `length` tokens: at most `room` each, in order.

    That is one example, but for windows: they begin `stride` <= `room` apart, and the last ends with the text.
    """
    if length <= room:
        return [np.arange(length)]
    if long_text == "windows":
        starts = [*range(0, length - room, stride), length - room]
        return [np.arange(start, start + room) for start in starts]
    tail = {"head": 0, "tail": room, "head_tail": room // 2}[long_text]
    return [np.concatenate([np.arange(room - tail), np.arange(length - tail, length)])]


def leads(words: np.ndarray, examples: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each example of `cut`, which of its tokens answer for their word, as bool: a word has one such token.

    `words` [length] is the word that each token of the text is of. It is the word's first token, in the window where
    the word has the most context on its poorer side; where a window begins or ends with the text nothing is missing.
    A word whose first token was cut off has none.
    """
    begins = np.flatnonzero(np.diff(words, prepend=-1))
    if len(examples) == 1:
        return [np.isin(examples[0], begins)]
    ends = np.append(begins[1:], len(words))
    most, chosen = np.full(len(begins), -np.inf), np.zeros(len(begins), int)
    for number, kept in enumerate(examples):
        first, last = np.searchsorted(begins, [kept[0], kept[-1] + 1])
        before = begins[first:last] - kept[0] if kept[0] else np.inf
        after = kept[-1] + 1 - ends[first:last] if kept[-1] + 1 < len(words) else np.inf
        context = np.minimum(before, after)
        better = context > most[first:last]
        most[first:last][better] = np.broadcast_to(context, better.shape)[better]
        chosen[first:last][better] = number
    return [np.isin(kept, begins[chosen == number]) for number, kept in enumerate(examples)]
