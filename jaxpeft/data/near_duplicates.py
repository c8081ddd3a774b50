"""Texts of two splits that are nearly the same: of the runs of three words in either, seven tenths are in both.

The search is exact. Where two sets have a Jaccard similarity of at least t, one of the rarest n - tn + 1 members of the
one (of n) is among as many of the other (the prefix filter of Chaudhuri et al. 2006). So only texts that share a rare
run are compared, and those in full.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

MOST_RUNS = 5_000_000  # of more, which take too long, a sample is looked at
_SHARE = (7, 10)  # t, as a fraction
_CHUNK = 1000  # texts that are cut into words at once
_NO_WORD = 0  # two of these end each text, so that one word is a run as well


def near_duplicates(splits: Mapping[str, Sequence[str]], pairs: Iterable[tuple[str, str]]) -> dict[str, int]:
    """For each pair of splits, `<a>_<b>_near`: texts of b that are nearly, but not exactly, one of a.

    Words are what spaces separate. Where the splits have more than MOST_RUNS runs, one in `near_runs_sampled` is
    looked at, and the counts are estimates.
    """
    sets, sampled = _sets([text for texts in splits.values() for text in texts])
    ends = itertools.pairwise(itertools.accumulate(map(len, splits.values()), initial=0))
    places = {split: np.arange(start, end) for split, (start, end) in zip(splits, ends, strict=True)}
    report = {}
    for a, b in pairs:
        known = set(splits[a])
        new = np.array([text not in known for text in splits[b]], bool)
        report[f"{a}_{b}_near"] = sum(_near(sets, places[a], places[b][new]))
    return report | ({"near_runs_sampled": sampled} if sampled > 1 else {})


@dataclasses.dataclass(frozen=True)
class _Sets:
    """The runs of each text without repetition: numbered from the rarest on, and ascending within a text."""

    runs: np.ndarray  # int64 [sum of sizes]
    starts: np.ndarray  # int64 [texts]
    sizes: np.ndarray  # int64 [texts]

    def prefixes(self, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rarest runs of the texts, and for each run the text that it is of."""
        sizes = self.sizes[texts]
        kept = np.where(sizes > 0, sizes + 1 + sizes * _SHARE[0] // -_SHARE[1], 0)
        return self.runs[_ranges(self.starts[texts], kept)], np.repeat(texts, kept)

    def of(self, text: int) -> np.ndarray:
        """The runs of one text."""
        return self.runs[self.starts[text] : self.starts[text] + self.sizes[text]]


def _sets(texts: Sequence[str]) -> tuple[_Sets, int]:
    """The runs of each text, and one in how many was looked at."""
    sampled = sum(text.count(" ") + 1 for text in texts) // MOST_RUNS + 1
    runs, owners = map(np.concatenate, zip(*_runs(texts, sampled), strict=True))
    _, number, count = np.unique(runs, return_inverse=True, return_counts=True)
    rank = np.empty(len(count), np.int64)
    rank[np.argsort(count, kind="stable")] = np.arange(len(count))
    owners, ranked = np.divmod(np.unique(owners * max(1, len(count)) + rank[number]), max(1, len(count)))
    sizes = np.bincount(owners, minlength=len(texts))
    return _Sets(ranked, np.cumsum(sizes) - sizes, sizes), sampled


def _runs(texts: Sequence[str], sampled: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Hashes of the runs of three words, uint64, one in `sampled`, and the text that each is of; a chunk at a time."""
    numbers: defaultdict[str, int] = defaultdict(itertools.count(_NO_WORD + 1).__next__)
    odd = np.uint64(0x9E3779B97F4A7C15)  # any odd number whose bits look random
    for start in range(0, len(texts), _CHUNK):
        words = [text.split() for text in texts[start : start + _CHUNK]]
        owners = np.repeat(np.arange(len(words)), list(map(len, words)))
        places = np.arange(len(owners)) + 2 * owners
        ended = np.full(len(owners) + 2 * len(words), _NO_WORD, np.uint64)
        ended[places] = np.fromiter(map(numbers.__getitem__, itertools.chain.from_iterable(words)), np.uint64)
        runs = ((ended[places] * odd + ended[places + 1]) * odd + ended[places + 2]) * odd
        runs ^= runs >> np.uint64(32)
        chosen = runs % np.uint64(sampled) == 0
        yield runs[chosen], start + owners[chosen]


def _near(sets: _Sets, known: np.ndarray, texts: np.ndarray) -> Iterator[bool]:
    """Whether each of `texts` is nearly one of `known`."""
    runs, owners = sets.prefixes(known)
    order = np.argsort(runs, kind="stable")
    runs, owners = runs[order], owners[order]
    wanted, of = sets.prefixes(texts)
    first = np.searchsorted(runs, wanted, "left")
    found = np.searchsorted(runs, wanted, "right") - first
    bounds = itertools.pairwise(np.searchsorted(of, [*texts, len(sets.sizes)]).tolist())
    present = np.zeros(int(sets.runs.max(initial=0)) + 1, bool)
    for text, (start, end) in zip(texts.tolist(), bounds, strict=True):
        if not found[start:end].any():
            yield False
            continue
        shared, times = np.unique(owners[_ranges(first[start:end], found[start:end])], return_counts=True)
        present[sets.of(text)] = True
        yield any(_alike(sets, present, text, other) for other in shared[np.argsort(-times)].tolist())
        present[sets.of(text)] = False


def _alike(sets: _Sets, present: np.ndarray, text: int, other: int) -> bool:
    """Whether the Jaccard similarity of the text whose runs are `present` and another is at least t."""
    sizes = sets.sizes[text] + sets.sizes[other]
    both = np.count_nonzero(present[sets.of(other)])
    return bool(both * (_SHARE[0] + _SHARE[1]) >= sizes * _SHARE[0])


def _ranges(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each range, end to end."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - sizes), sizes)
