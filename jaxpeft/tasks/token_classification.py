"""Token classification: entities, as a BIO tag a word. How tags become labels of tokens and logits become entities.

A word is labelled on its first token; what follows it and special tokens weigh nothing. Words that have no token,
or lost theirs to `data.max_length`, are answered `O`.
"""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxpeft.config import Config
from jaxpeft.data.batches import Targets
from jaxpeft.data.bio import OUTSIDE, Span, spans_of_tags, tags_of_types
from jaxpeft.data.rows import Rows
from jaxpeft.data.tokenise import Examples
from jaxpeft.data.words import with_words
from jaxpeft.errors import InputError
from jaxpeft.tasks.entity_scores import METRIC_NAMES, EntityScores, entity_scores
from jaxpeft.tasks.task import Task, numbered

Tags = list[list[str]]


class TokenClassification(Task):
    """Entities of words. Its answers are tags, a list a row with one a word."""

    head = "token_classification"
    reads_words = True
    metric_names = METRIC_NAMES
    default_metric = "f1_strict"

    def __init__(self, config: Config, classes: Sequence[str]):
        super().__init__(config, classes)
        self.types = tuple(tag[2:] for tag in self.classes if tag.startswith("B-"))

    @staticmethod
    def classes_of(labels: Sequence[str]) -> tuple[str, ...]:
        """The tags of the types."""
        return tags_of_types(labels)

    def check(self, rows: Rows) -> None:
        """Raises InputError for texts with a label."""
        if rows.tokens is None or rows.label is not None:
            raise InputError(
                f"the data has texts with a label, and task {self.config.task} wants words with tags: set "
                "task=sequence_classification or relation_extraction, or read something else with data.target"
            )

    def labels(self, examples: Examples) -> Targets:
        """The number of its tag for each token that answers for a word."""
        encoded = examples.encoded
        assert examples.rows.tags is not None
        assert encoded.leads is not None
        index = {tag: number for number, tag in enumerate(self.classes)}
        tags = np.array([index[tag] for row in examples.rows.tags for tag in row], np.int32)
        label = np.zeros(len(encoded.ids), np.int32)
        label[encoded.leads] = tags[_word_places(examples)]
        return Targets(label, encoded.leads.astype(np.float32), of_tokens=True)

    def answers(self, logits: np.ndarray, examples: Examples) -> Tags:
        """The tag of every word, of logits [words with a token, C]. Raises InputError where they are not finite."""
        if bad := int((~np.isfinite(logits)).any(axis=1).sum()):
            raise InputError(
                f"the model's logits are not finite in {bad} of {len(logits)} words: "
                "lower train.learning_rate, or set model.dtype to float32"
            )
        starts = _first_words(examples.rows)
        found = np.full(starts[-1], self.classes.index(OUTSIDE))
        found[_word_places(examples)] = logits.argmax(axis=-1)
        return [[self.classes[tag] for tag in row] for row in np.split(found, starts[1:-1])]

    def scores(self, answers: Tags, examples: Examples, *, resamples: int = 1000) -> EntityScores:
        """Those of `entity_scores`."""
        return self._scores(answers, examples.rows, resamples)

    def majority(self, train: Rows, rows: Rows) -> dict[str, float | None]:
        """Of giving every word the tag that it has most often in training; `O` to words that are new."""
        counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for words, tags in zip(train.tokens or (), train.tags or (), strict=True):
            for word, tag in zip(words, tags, strict=True):
                counts[word][tag] += 1
        usual = {word: max(sorted(found), key=found.__getitem__) for word, found in counts.items()}
        answers = [[usual.get(word, OUTSIDE) for word in words] for words in rows.tokens or ()]
        scores = self._scores(answers, rows, resamples=0)
        return {name: score["value"] for name, score in scores.metrics.items()}

    def _scores(self, answers: Tags, rows: Rows, resamples: int) -> EntityScores:
        assert rows.tags is not None
        gold, found = ([spans_of_tags(tags) for tags in column] for column in (rows.tags, answers))
        return entity_scores(gold, found, rows.groups, types=self.types, resamples=resamples)

    def pictures(self, answers: Tags, test: Examples, result: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """How well each type is found."""
        return {"types": (result["per_class"]["test"],)}

    def readable(self, rows: Rows) -> Rows:
        """The rows with words: their own, else those of their texts."""
        if rows.text_pair is not None:
            raise InputError("entities are looked for in single texts, not in pairs: see data.columns.text_pair")
        return with_words(rows)

    def said(self, answers: Tags, rows: Rows) -> Iterator[dict[str, Any]]:
        """`entities`: start and end (exclusive) in words and, where the words were cut from a text, in characters."""
        for place, tags in enumerate(answers):
            found = []
            for span in spans_of_tags(tags):
                one: dict[str, Any] = _as_json(span)
                if rows.starts is not None and rows.tokens is not None:
                    start, end = _characters(span, rows.tokens[place], rows.starts[place])
                    one |= {"start_character": start, "end_character": end}
                found.append(one)
            yield {"entities": found}

    def prediction_rows(self, answers: Tags, rows: Rows) -> Iterator[dict[str, Any]]:
        """`row`, `id` and `group`, `labels` and `predictions` (a tag a word each), and the predicted `entities`."""
        for place, (row, tags) in enumerate(zip(numbered(rows), answers, strict=True)):
            labels = {} if rows.tags is None else {"labels": rows.tags[place]}
            yield row | labels | {"predictions": tags, "entities": list(map(_as_json, spans_of_tags(tags)))}


def _as_json(span: Span) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "type": span.type}


def _characters(span: Span, words: Sequence[str], starts: Sequence[int]) -> tuple[int, int]:
    """Where a span of words begins and ends in the text that the words begin in at `starts`."""
    last = span.end - 1
    return starts[span.start], starts[last] + len(words[last])


def _first_words(rows: Rows) -> np.ndarray:
    """The number of each row's first word [N + 1], all rows end to end."""
    return np.concatenate([[0], np.cumsum([len(words) for words in rows.tokens or ()])]).astype(np.int64)


def _word_places(examples: Examples) -> np.ndarray:
    """For each token that answers for a word, the number of that word, all rows end to end."""
    encoded = examples.encoded
    assert encoded.words is not None
    assert encoded.leads is not None
    row_of_token = np.repeat(encoded.row_of, encoded.lengths)
    found: np.ndarray = (_first_words(examples.rows)[row_of_token] + encoded.words)[encoded.leads]
    return found
