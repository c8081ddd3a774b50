"""The rows that a made-up corpus comes to, worked out from its truth in other ways than the readers'."""

import itertools


def tags_of(owners: list[int | None], types: list[str]) -> list[str]:
    """BIO tags of a row whose words belong to the entities with these numbers."""
    tags = []
    for before, owner in zip([None, *owners], owners, strict=False):
        tags.append("O" if owner is None else f"{'I' if before == owner else 'B'}-{types[owner]}")
    return tags


def owners_of(words_of_entity: dict[int, set]) -> dict:
    """word -> entity, where the entity with the most words of those that share one takes all of its own."""
    taken: dict = {}
    for number, words in sorted(words_of_entity.items(), key=lambda item: (-len(item[1]), item[0])):
        if not words & taken.keys():
            taken |= dict.fromkeys(words, number)
    return taken


def expected_entities(truth: list[dict], split: str) -> dict[str, list]:
    columns: dict[str, list] = {name: [] for name in ("text", "tokens", "tags", "starts", "doc", "id")}
    for row in truth:
        if row["split"] != split:
            continue
        where = {
            number: {
                (at, word)
                for at in range(line, last_line + 1)
                for word in range(len(row["lines"][at - 1]))
                if (at > line or word >= first) and (at < last_line or word < end)
            }
            for number, (line, first, last_line, end, _) in enumerate(row["concepts"])
        }
        owner = owners_of(where)
        for at, (words, starts) in enumerate(zip(row["lines"], row["starts"], strict=True), start=1):
            if words:
                owners = [owner.get((at, word)) for word in range(len(words))]
                columns["tags"].append(tags_of(owners, [concept[4] for concept in row["concepts"]]))
                columns["text"].append(" ".join(words))
                columns["tokens"].append(words)
                columns["starts"].append(starts)
                columns["doc"].append(row["doc"])
                columns["id"].append(f"{row['doc']}:{at}")
    return columns


def expected_pairs(truth: list[dict], split: str) -> tuple[dict[str, list], int]:
    columns: dict[str, list] = {name: [] for name in ("text", "label", "doc", "id")}
    overlapping = 0
    for row in truth:
        if row["split"] != split:
            continue
        concepts = row["concepts"]
        pairs = [
            pair for pair in itertools.combinations(range(len(concepts)), 2) if len({concepts[i][0] for i in pair}) == 1
        ]
        for a, b in sorted(pairs, key=lambda pair: concepts[pair[0]][0]):
            line = concepts[a][0]
            words = row["lines"][line - 1]
            inside = {}
            for one in (a, b):
                last = concepts[one][3] if concepts[one][2] == line else len(words)
                inside[one] = set(range(concepts[one][1], last))
            first, second = sorted((a, b), key=lambda one: concepts[one][1:4])
            names = {one: concepts[one][4] for one in (a, b)}
            shown, said = [], set()
            overlap = bool(inside[a] & inside[b])
            overlapping += overlap
            for number, word in enumerate(words):
                owners = [one for one in (first, second) if number in inside[one]]
                mark = f"@{names[first]}-{names[second]}$" if overlap else "".join(f"@{names[one]}$" for one in owners)
                if not owners:
                    shown.append(word)
                elif (key := "both" if overlap else owners[0]) not in said:
                    said.add(key)
                    shown.append(mark)
            labels = [label for i, j, label in row["relations"] if (i, j) == (a, b)] or ["false"]
            for label in labels:
                columns["text"].append(" ".join(shown))
                columns["label"].append(label)
                columns["doc"].append(row["doc"])
                columns["id"].append(f"{row['doc']}:{line}:{a}-{b}")
    return columns, overlapping


def words_of(text: str, cuts: set[int] | None = None) -> list[tuple[int, int]]:
    """Words by looking at each character: runs of letters, of digits, single others; or, with cuts, between spaces."""

    def kind(character: str) -> int:
        return 0 if character.isspace() else 1 if cuts is not None or character.isalpha() else 2 + character.isdigit()

    words: list[tuple[int, int]] = []
    for place, character in enumerate(text):
        goes_on = place and kind(character) == kind(text[place - 1]) != 2 and place not in (cuts or ())
        if goes_on and kind(character):
            words[-1] = (words[-1][0], place + 1)
        elif kind(character):
            words.append((place, place + 1))
    return words


def expected_marks(truth: list[dict], split: str, unit: str = "sentence", paper: bool = False) -> dict[str, list]:
    names = ("text", "patient", "doc", "id", "tokens", "tags", "starts", "spans")
    columns: dict[str, list] = {name: [] for name in names}
    for row in truth:
        if row["split"] != split:
            continue
        text, spans = row["text"], [tuple(span) for span in row["spans"]]
        words = words_of(text, {place for span in spans for place in span[:2]} if paper else None)
        line_of = [1 + text[:start].count("\n") if unit == "sentence" else 0 for start, _ in words]
        where = {
            number: {word for word, (a, b) in enumerate(words) if a < end and start < b}
            for number, (start, end, _) in enumerate(spans)
        }
        owner = owners_of(where)
        for line in sorted(set(line_of)):
            here = [word for word in range(len(words)) if line_of[word] == line]
            tokens = [text[slice(*words[word])] for word in here]
            columns["text"].append(" ".join(tokens) if unit == "sentence" else text)
            columns["patient"].append(row["patient"])
            columns["doc"].append(row["doc"])
            columns["id"].append(f"{row['doc']}:{line}" if unit == "sentence" else row["doc"])
            columns["tokens"].append(tokens)
            columns["tags"].append(tags_of([owner.get(word) for word in here], [span[2] for span in spans]))
            columns["starts"].append([words[word][0] for word in here])
            columns["spans"].append([span for number, span in enumerate(spans) if min(where[number]) in here])
    return columns


def in_file_order(truth: list[dict]) -> list[dict]:
    """The truth as folders list their files."""
    return sorted(truth, key=lambda row: row["doc"])
