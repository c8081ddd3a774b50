"""Two finished runs on the same data: how far apart are they, and is that more than chance?

python -m jaxpeft.compare runs/lora runs/ia3
python -m jaxpeft.compare runs/lora runs/ia3 --split=validation --metric=f1_macro --json=difference.json
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags

from jaxpeft.command_line import report_and_exit
from jaxpeft.config import expanded
from jaxpeft.data.bio import spans_of_tags
from jaxpeft.errors import InputError
from jaxpeft.tasks.clusters import Scores
from jaxpeft.tasks.comparison import paired_differences
from jaxpeft.tasks.entity_scores import entity_scores
from jaxpeft.tasks.metrics import classification_scores
from jaxpeft.tasks.relations import relation_scores
from jaxpeft.training.predictions import Row, are_entities, groups_of, paired, probabilities_of, read_predictions
from jaxpeft.training.report import comparison_table
from jaxpeft.training.workdir import Workdir, read_json, write_json

RESAMPLES = 2000


def main(argv: Sequence[str]) -> None:
    """Prints the comparison; every user error becomes one message and exit code 2."""
    try:
        chosen = _define_flags()
        folders = [expanded(folder) for folder in chosen(argv)[1:]]
        if chosen.help:
            print(__doc__, chosen.get_help(), sep="\n")
            return
        if len(folders) != 2:
            raise InputError(f"expected the folders of two finished runs, found {len(folders)}; --help says more")
        report = compare(*folders, split=chosen.split, metric=chosen.metric, resamples=chosen.resamples)
        print(comparison_table(report))
        if chosen.json:
            write_json(expanded(chosen.json), report)
    except InputError as error:
        report_and_exit(error)
    except flags.Error as error:
        report_and_exit(InputError(str(error)))
    except OSError as error:
        report_and_exit(InputError(f"{error.filename}: {error.strerror}"))


def compare(
    first: Path, second: Path, *, split: str = "test", metric: str | None = None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """What the second of two workdirs scores beyond the first on one split, metric by metric.

    Returns `first`, `second` and `split` as given, `rows`, `clusters`, `few_clusters`, `resamples`, and `metrics`:
    name -> first, second, difference (second - first), low, high (95 %), p. Raises InputError for runs that are not
    finished or not of the same data and labels, and for a metric that they do not have.
    """
    names = str(Workdir(first).predictions(split)), str(Workdir(second).predictions(split))
    classes = _classes(first, second)
    negative_label = _negative_label(first)
    ours, theirs = (read_predictions(Path(name)) for name in names)
    theirs = paired(ours, theirs, names)
    groups = groups_of(ours, theirs, names)
    scores = [
        scores_of_predictions(rows, name, classes, groups, negative_label=negative_label, resamples=resamples)
        for rows, name in zip((ours, theirs), names, strict=True)
    ]
    differences = paired_differences(*scores)
    if metric is not None and metric not in differences:
        raise InputError(f"--metric={metric}: expected one of {', '.join(differences)}")
    return {
        "first": str(first),
        "second": str(second),
        "split": split,
        "rows": len(ours),
        "clusters": scores[0].clusters,
        "few_clusters": scores[0].few_clusters,
        "resamples": resamples,
        "metrics": differences if metric is None else {metric: differences[metric]},
    }


def _define_flags() -> flags.FlagValues:
    """Flags that know nothing of absl's global ones: the main program has some of the same names."""
    values = flags.FlagValues()
    flags.DEFINE_enum("split", "test", ["validation", "test"], "Which predictions.", flag_values=values)
    flags.DEFINE_string("metric", None, "The one metric to show; all if left out.", flag_values=values)
    flags.DEFINE_string("json", None, "A file to write the comparison to.", flag_values=values)
    flags.DEFINE_integer("resamples", RESAMPLES, "Resamples of the patients.", 100, flag_values=values)
    flags.DEFINE_bool("help", False, "Show this.", flag_values=values)
    return values


def _classes(first: Path, second: Path) -> list[str]:
    """The labels that both runs were trained on, in the order of the first."""
    found = []
    for folder in (first, second):
        if not Workdir(folder).result.exists():
            raise InputError(f"{folder} holds no result.json: expected the workdir of a finished run")
        result = read_json(Workdir(folder).result)
        if "members" in result:
            raise InputError(f"{folder} holds a population: name one of its members, {folder}/members/NAME")
        found.append(result["labels"])
    if set(found[0]) != set(found[1]):
        different = ", ".join(sorted(set(found[0]) ^ set(found[1])))
        raise InputError(f"{first} and {second} were trained on different labels; only one has: {different}")
    return found[0]


def _negative_label(folder: Path) -> str | None:
    """The label of pairs without a relation, where the run is one on relations."""
    config = read_json(Workdir(folder).config)
    return config["data"]["negative_label"] if config.get("task") == "relation_extraction" else None


def scores_of_predictions(
    rows: Sequence[Row],
    name: str,
    classes: Sequence[str],
    groups: Sequence[int] | None,
    *,
    negative_label: str | None,
    resamples: int,
    seed: int = 0,
) -> Scores:
    """The scores of one run, by the kind of its predictions; `name` is the file, for messages."""
    if are_entities(rows):
        gold, predicted = ([spans_of_tags(row[field]) for row in rows] for field in ("labels", "predictions"))
        return entity_scores(gold, predicted, groups, resamples=resamples, seed=seed)
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers.get(row["label"], -1) for row in rows])
    probabilities = probabilities_of(rows, classes, name)
    if negative_label is not None:
        return relation_scores(
            labels, probabilities, classes, groups, negative_label=negative_label, resamples=resamples, seed=seed
        )
    return classification_scores(labels, probabilities, classes, groups, resamples=resamples, seed=seed)


if __name__ == "__main__":
    main(sys.argv)
