"""What a reader returns: `Rows`, the examples of one split with a column a field, and `Corpus`, all of them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jaxpeft.data.bio import Span, entity_types


@dataclasses.dataclass(frozen=True)
class Rows:
    """Examples of one split, held in memory only: text of notes is never cached outside the workdir.

    All columns that are present have the same length N. `label` is None where a file to predict on
    has none. `patient` and `doc` name the group that must not straddle splits and that the bootstrap
    resamples.

    Entity corpora have `tokens`, the words of each row, and `tags`, a strict BIO tag a word: an entity
    begins with B-, and I- goes on with the type before it. `starts` has the offset of each word in its
    document, in characters, where the source has characters. `spans` has the gold entities where the owner
    annotates characters, in offsets of the document too: the owner's truth, which words cannot always express.
    An entity over several lines stands once, in the row that it begins in.
    `text` is the document, or the words of a sentence joined by one space.
    """

    text: list[str]
    label: list[str] | None = None
    text_pair: list[str] | None = None
    patient: list[str] | None = None
    doc: list[str] | None = None
    id: list[str] | None = None
    tokens: list[list[str]] | None = None
    tags: list[list[str]] | None = None
    starts: list[list[int]] | None = None
    spans: list[list[Span]] | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            if column is not None and len(column) != len(self.text):
                raise ValueError(f"column {field.name} has {len(column)} rows, text has {len(self.text)}")
        for name in ("tags", "starts"):
            column = getattr(self, name)
            if column is not None and list(map(len, column)) != list(map(len, self.tokens or [])):
                raise ValueError(f"column {name} does not have one entry a word of tokens")

    def __len__(self) -> int:
        return len(self.text)

    @property
    def groups(self) -> list[str] | None:
        """The patient of each row, else its document, else None: the unit that splits and intervals respect."""
        return self.patient if self.patient is not None else self.doc

    @property
    def answers(self) -> list[set[str]] | None:
        """What is to be found in each row: its label, else the types of its entities; None without either."""
        if self.label is not None:
            return [{label} for label in self.label]
        return None if self.tags is None else list(map(entity_types, self.tags))

    def take(self, indices: Sequence[int]) -> "Rows":
        """The rows at `indices`, in that order."""
        chosen: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            column = getattr(self, field.name)
            chosen[field.name] = None if column is None else [column[i] for i in indices]
        return dataclasses.replace(self, **chosen)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """All that a reader found.

    `splits` has the keys train, validation and test; train and test where the source publishes no
    validation; or only "all", to be split by `fractions`. `report` counts what was repaired or dropped.
    `published` says that the source chose the splits, so that leakage in them is reported, not refused.
    """

    splits: dict[str, Rows]
    report: dict[str, int] = dataclasses.field(default_factory=dict)
    fractions: tuple[float, float, float] = (0.7, 0.1, 0.2)
    published: bool = True
