"""Texts of two splits that are nearly the same: of the runs of three words in either, seven tenths are in both.

MinHash signatures propose pairs (Broder 1997; datasketch), which are then compared in full: no text is counted that is
not nearly another, and of those at the bound itself one in a hundred is missed, above it fewer. Of the texts proposed
for one, the likeliest by their signatures are compared: reports from one template propose each other by thousands.
"""

import functools
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from datasketch import MinHash, MinHashLSH

MOST_RUNS = 5_000_000  # of more, which take too long, a sample is signed
MOST_COMPARED = 100  # of the texts that signatures propose for one
_ALIKE = 7, 10  # so many of so many runs
_BANDS = 25, 5  # signatures that agree in all 5 numbers of one of 25 bands are compared: 1 - (1 - 0.7^5)^25 = 0.99
_WORDS = 3  # of a run


def near_duplicates(splits: Mapping[str, Sequence[str]], pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """For each pair of splits, `<a>_<b>_near`: texts of b that are nearly, but not exactly, one of a.

    Words are what spaces separate. Where the splits have more than MOST_RUNS runs, one in `near_runs_sampled` is
    signed: among short texts some are missed then.
    """
    distinct = {split: list(dict.fromkeys(texts)) for split, texts in splits.items()}
    sampled = sum(text.count(" ") + 1 for texts in distinct.values() for text in texts) // MOST_RUNS + 1
    signed = {split: [_signature(text, sampled) for text in texts] for split, texts in distinct.items()}
    values = {split: np.array([signature.hashvalues for signature in found]) for split, found in signed.items()}

    @functools.cache
    def index(split: str) -> MinHashLSH:
        found = MinHashLSH(num_perm=_BANDS[0] * _BANDS[1], params=_BANDS)
        for number, signature in enumerate(signed[split]):
            if not signature.is_empty():
                found.insert(number, signature)
        return found

    def is_near(a: str, text: str, signature: MinHash) -> bool:
        if signature.is_empty():
            return False
        proposed = np.array(sorted(index(a).query(signature)), int)
        if not proposed.size:
            return False
        agreement = (values[a][proposed] == signature.hashvalues).sum(axis=1)
        likeliest = proposed[np.argsort(-agreement, kind="stable")[:MOST_COMPARED]]
        runs = _runs(text)
        return any(_alike(runs, _runs(distinct[a][number])) for number in likeliest)

    report = {}
    for a, b in pairs:
        known, times = set(distinct[a]), Counter(splits[b])
        new = [(text, signature) for text, signature in zip(distinct[b], signed[b], strict=True) if text not in known]
        report[f"{a}_{b}_near"] = sum(times[text] for text, signature in new if is_near(a, text, signature))
    return report | ({"near_runs_sampled": sampled} if sampled > 1 else {})


def _signature(text: str, sampled: int) -> MinHash:
    signature = MinHash(num_perm=_BANDS[0] * _BANDS[1], hashfunc=int)
    runs = (zlib.crc32(run.encode()) for run in _runs(text))
    signature.update_batch([run for run in runs if run % sampled == 0])
    return signature


def _alike(first: set[str], second: set[str]) -> bool:
    return _ALIKE[1] * len(first & second) >= _ALIKE[0] * len(first | second)


def _runs(text: str) -> set[str]:
    """The runs of three words; two blanks end the text, so that one word is a run as well."""
    words = [*text.split(), "", ""]
    return {" ".join(words[start : start + _WORDS]) for start in range(len(words) - _WORDS + 1)}
