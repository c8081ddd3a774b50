"""BIO tags, one a word: `O`, or B- and I- with the type of an entity that begins or goes on."""

from collections.abc import Iterable, Sequence


def entity_types(tags: Iterable[str]) -> set[str]:
    """The types that tags speak of."""
    return {tag[2:] for tag in tags if tag != "O"}


def is_tag(tag: str) -> bool:
    """Whether a tag is `O`, B-TYPE or I-TYPE."""
    return tag == "O" or (tag[:2] in ("B-", "I-") and tag[2:].strip() == tag[2:] != "")


def strict(tags: Sequence[str]) -> tuple[list[str], int]:
    """The tags with each I- that continues nothing as B-, and how many of those there were."""
    repaired, before = list(tags), "O"
    stray = 0
    for place, tag in enumerate(tags):
        if tag.startswith("I-") and before[2:] != tag[2:]:
            repaired[place] = "B-" + tag[2:]
            stray += 1
        before = tag
    return repaired, stray


def tag_words(count: int, entities: Sequence[tuple[int, int, str]]) -> tuple[list[str], int]:
    """The tags of `count` words, and how many entities they cannot express.

    An entity is its first word, the word after its last, and its type. Of entities that share a word the one
    with the most words is tagged (the first of equals): a word has one tag.
    """
    tags, left_out = ["O"] * count, 0
    for first, end, name in sorted(entities, key=lambda entity: entity[0] - entity[1]):
        if any(tag != "O" for tag in tags[first:end]):
            left_out += 1
        else:
            tags[first:end] = [f"B-{name}", *[f"I-{name}"] * (end - first - 1)]
    return tags, left_out
