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
from jaxpeft.data.splits import Splits
from jaxpeft.data.tokenise import Examples
from jaxpeft.data.words import with_words
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import with_interval
from jaxpeft.tasks.deidentification import HIPAA_TYPES, deidentification_scores
from jaxpeft.tasks.entity_scores import METRIC_NAMES, EntityScores, entity_scores
from jaxpeft.tasks.paper_protocol import labels_of_pieces, piece_f1
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
        self._has_hipaa = not HIPAA_TYPES.isdisjoint(self.types)

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
        """Those of `entity_scores` and, where the owner annotates characters, of `deidentification`.

        The latter end in `_characters`. Under the paper's protocol there is `paper_f1_pieces` as well.
        """
        scores = self._scores(answers, examples.rows, resamples)
        if self.config.data.protocol != "paper":
            return scores
        # The paper's code cuts at the end: of a text's other parts it would count the tags of its first words.
        pieces = _piece_f1(answers, examples) if self.config.data.long_text == "head" else None
        return scores.beside({"paper_f1_pieces": with_interval(pieces, None)})

    def known(self, splits: Splits) -> Rows:
        """Those that are trained on: what a word is most often is learned from them."""
        return splits.train

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
        scores = entity_scores(gold, found, rows.groups, types=self.types, resamples=resamples)
        if rows.spans is None:
            return scores
        own = deidentification_scores(rows.spans, _in_characters(found, rows), rows.groups, resamples=resamples)
        names = {name: f"{name}_characters" for name in own.metrics if self._has_hipaa or "hipaa" not in name}
        metrics = {shown: own.metrics[name] for name, shown in names.items()}
        return scores.beside(metrics, {shown: own.drawn[name] for name, shown in names.items() if own.drawn})

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
        found = [spans_of_tags(tags) for tags in answers]
        characters = found if rows.starts is None else _in_characters(found, rows)
        for spans, places in zip(found, characters, strict=True):
            entities = list(map(_as_json, spans))
            if rows.starts is not None:
                for entity, place in zip(entities, places, strict=True):
                    entity |= {"start_character": place.start, "end_character": place.end}
            yield {"entities": entities}

    def prediction_rows(self, answers: Tags, rows: Rows) -> Iterator[dict[str, Any]]:
        """`row`, `id` and `group`, `labels` and `predictions` (a tag a word each), and the predicted `entities`."""
        for place, (row, tags) in enumerate(zip(numbered(rows), answers, strict=True)):
            labels = {} if rows.tags is None else {"labels": rows.tags[place]}
            yield row | labels | {"predictions": tags, "entities": list(map(_as_json, spans_of_tags(tags)))}


def _as_json(span: Span) -> dict[str, Any]:
    return {"start": span.start, "end": span.end, "type": span.type}


def _in_characters(rows_of_spans: Sequence[Sequence[Span]], rows: Rows) -> list[list[Span]]:
    """Spans of words as spans of the characters from where the first begins to where the last ends."""
    assert rows.starts is not None
    assert rows.tokens is not None
    return [
        [Span(starts[span.start], starts[span.end - 1] + len(words[span.end - 1]), span.type) for span in spans]
        for spans, starts, words in zip(rows_of_spans, rows.starts, rows.tokens, strict=True)
    ]


def _piece_f1(answers: Tags, examples: Examples) -> float | None:
    """The paper's count: the answer to a word is that of each of its pieces. None for rows in several windows."""
    encoded, tags = examples.encoded, examples.rows.tags
    if encoded.words is None or tags is None or len(encoded) != len(examples):
        return None
    labels, found = [], []
    for row, words in enumerate(np.split(encoded.words, encoded.starts[1:-1])):
        labels.append(labels_of_pieces(tags[row], [None if word < 0 else int(word) for word in words]))
        found.append([OUTSIDE if word < 0 else answers[row][word] for word in words])
    return piece_f1(labels, found)


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
