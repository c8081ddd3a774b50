"""Train, validation and test, with the leakage between them counted."""

import dataclasses
import hashlib
from collections.abc import Sequence

from jaxpeft.data.few_shot import few_shot_splits
from jaxpeft.data.naming import listed
from jaxpeft.data.rows import Corpus, Rows
from jaxpeft.errors import InputError

_VALIDATION_SHARE = 0.1  # of the training rows, where the source has no validation split
_ENOUGH_ROWS = 40  # to tell a column of labels from one of anything else
_PAIRS = (("train", "test"), ("train", "validation"), ("validation", "test"))


@dataclasses.dataclass(frozen=True)
class Splits:
    """The examples of one experiment.

    `labels` is the order of the classes, of entities' types for entity rows. `report` has the reader's counts
    and, for each pair of splits, `train_test`: rows of the second whose text is also in the first;
    `train_test_near`: those whose text is nearly in the first; `train_test_patients` (or `_docs`): groups that are
    in both; and `unseen_test_labels`, `unseen_test_rows`: what `labels` does not have. `labels_without_training_rows`
    counts those of `labels` whose rows all went to validation. `undrawn` are the training rows before few were drawn.
    """

    train: Rows
    validation: Rows
    test: Rows
    labels: tuple[str, ...]
    report: dict[str, int]
    undrawn: Rows


def make_splits(
    corpus: Corpus, labels: tuple[str, ...] = (), seed: int = 0, few_shot: int | None = None, near: bool = True
) -> Splits:
    """The splits of a corpus: as its source made them, else by patient, document or text, seeded.

    `labels` gives the classes and their order; by default they are the training split's, sorted. Without a
    validation split a tenth of the training rows become one, in whole groups. `few_shot` leaves so many training
    rows a label (see `few_shot_splits`). `near` looks for texts that are nearly the same in two splits.

    Raises:
        InputError: an empty split, pairs in some splits only, fewer than two labels (of entities: none) or nearly as
            many as rows, training labels that `labels` lacks, or a group that straddles splits that the source did not
            publish.
    """
    report = dict(corpus.report)
    splits = dict(corpus.splits)
    if "all" in splits:
        splits = _divide(splits["all"], ("train", "validation", "test"), corpus.fractions, seed)
    _refuse_empty(splits)
    _refuse_pairs_in_some(splits)
    classes = _classes(splits["train"], labels)
    if "validation" not in splits:
        shares = (1 - _VALIDATION_SHARE, _VALIDATION_SHARE)
        splits |= _divide(splits["train"], ("train", "validation"), shares, seed)
        _refuse_empty(splits)
        report["validation_rows_from_train"] = len(splits["validation"])
    undrawn = splits["train"]
    trained: set[str] = set().union(*undrawn.answers or ())
    report["labels_without_training_rows"] = len(set(classes) - trained)
    if few_shot is not None:
        splits = few_shot_splits(splits, few_shot, seed, report)
    report |= _leakage(splits, near)
    report |= _straddling(splits, corpus.published)
    for split in ("validation", "test"):
        unseen = [new for names in splits[split].answers or () if (new := names - set(classes))]
        report |= {f"unseen_{split}_labels": len(set().union(*unseen)), f"unseen_{split}_rows": len(unseen)}
    return Splits(splits["train"], splits["validation"], splits["test"], classes, report, undrawn)


def _refuse_empty(splits: dict[str, Rows]) -> None:
    if empty := [split for split, rows in splits.items() if not rows]:
        sizes = ", ".join(f"{split} {len(rows)}" for split, rows in splits.items())
        raise InputError(
            f"no rows in {' and '.join(empty)} ({sizes}): give more examples, or more patients or documents, "
            "or a folder with its own splits"
        )


def _refuse_pairs_in_some(splits: dict[str, Rows]) -> None:
    """A model of pairs that is tested on single texts, or the other way round, has scores that mean nothing."""
    paired = [split for split, rows in splits.items() if rows.text_pair is not None]
    if paired and len(paired) < len(splits):
        single = [split for split in splits if split not in paired]
        raise InputError(
            f"{' and '.join(paired)} have pairs of texts, and {' and '.join(single)} single ones: "
            "is data.columns.text_pair the same in all files?"
        )


def _classes(train: Rows, labels: tuple[str, ...]) -> tuple[str, ...]:
    found = sorted(set().union(*train.answers or ()))
    if train.label is not None and not labels and len(train) >= _ENOUGH_ROWS and 2 * len(found) > len(train):
        raise InputError(  # a column of notes would become the names of classes, which are written and printed
            f"{len(found)} labels among {len(train)} training rows: is data.columns.label the right one? "
            "If it is, name them in data.labels"
        )
    classes = labels or tuple(found)
    if len(set(classes)) < len(classes):
        raise InputError(f"data.labels names a label twice: {listed(classes)}")
    if unknown := [label for label in found if label not in classes]:
        raise InputError(f"training labels that data.labels does not have: {listed(unknown)}")
    if train.tags is not None and not classes:
        raise InputError("expected entities in the training split, found none: every tag is O")
    if train.tags is None and len(classes) < 2:
        raise InputError(f"expected at least two labels, found {listed(classes)}: is data.columns.label the right one?")
    return classes


def _divide(rows: Rows, names: Sequence[str], fractions: Sequence[float], seed: int) -> dict[str, Rows]:
    """Whole groups to each split, in an order that only the seed and the group's name decide.

    Splits fill up from the last to the first, which takes the rest. Rows without a group go with those of the
    same text, so that no duplicate straddles.
    """
    groups = rows.groups or text_keys(rows)
    members: dict[str, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    queue = sorted(members, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    chosen: dict[str, list[int]] = {name: [] for name in names}
    for name, fraction in reversed(list(zip(names[1:], fractions[1:], strict=True))):
        while queue and len(chosen[name]) < max(1, round(fraction * len(rows))):
            chosen[name] += members[queue.pop()]
    chosen[names[0]] = [index for group in queue for index in members[group]]
    return {name: rows.take(sorted(indices)) for name, indices in chosen.items()}


def text_keys(rows: Rows) -> list[str]:
    """What makes two examples the same to a leakage check: text and pair without case and spacing."""
    pairs = rows.text_pair or [""] * len(rows)
    return [
        " ".join(text.lower().split()) + "\0" + " ".join(pair.lower().split())
        for text, pair in zip(rows.text, pairs, strict=True)
    ]


def _leakage(splits: dict[str, Rows], near: bool) -> dict[str, int]:
    keys = {split: text_keys(rows) for split, rows in splits.items()}
    known = {split: set(found) for split, found in keys.items()}
    exact = {f"{a}_{b}": sum(key in known[a] for key in keys[b]) for a, b in _PAIRS}
    if not near:
        return exact
    from jaxpeft.data.near_duplicates import near_duplicates  # models on random data are measured without datasketch

    return exact | near_duplicates(keys, _PAIRS)


def _straddling(splits: dict[str, Rows], published: bool) -> dict[str, int]:
    """Groups that are in two splits, counted by patient where both splits have patients, else by document."""
    report = {}
    for a, b in _PAIRS:
        for field in ("patient", "doc"):
            first, second = getattr(splits[a], field), getattr(splits[b], field)
            if first is not None and second is not None:
                report[f"{a}_{b}_{field}s"] = len(set(first) & set(second))
                break
    if not published and any(report.values()):
        raise InputError(f"patients or documents in more than one split, which this project made: {report}")
    return report
