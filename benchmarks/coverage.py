"""Do 95 % intervals hold the truth 95 times in a hundred, and do equal systems differ as seldom as p says?

Simulated patients have one to five rows each, which share a bias of their own, so that rows are not independent.
The true accuracy and AUROC follow from the normal distribution. The two systems of a comparison are equally good,
and mostly err on the same rows.

    nice python -m benchmarks.coverage --json=benchmarks/results/coverage.json
"""

import argparse
import collections
import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from jaxpeft.data.bio import Span
from jaxpeft.tasks.clusters import FEW_CLUSTERS, Scores
from jaxpeft.tasks.comparison import paired_differences
from jaxpeft.tasks.entity_scores import entity_scores
from jaxpeft.tasks.metrics import classification_scores

POSITIVE = 0.3  # share of the rows
SHIFT = 1.2  # of a positive row's score
BIAS = 0.7  # standard deviation of a patient's; a row's own is 1
FOUND, ALARMS = 0.7, 0.4  # share of entities found, false alarms a row


def interval_coverage(clusters: int, *, simulations: int, resamples: int, seed: int) -> dict[str, float]:
    """The share of simulations in which the interval of each metric of `TRUTH` holds the true value."""
    rng, inside = np.random.default_rng(seed), dict.fromkeys(TRUTH, 0)
    for number in range(simulations):
        (scores,) = classifiers(rng, clusters, systems=1, resamples=resamples, seed=number)
        for name, truth in TRUTH.items():
            found = scores.metrics[name]
            inside[name] += found["low"] <= truth <= found["high"]
    return {name: count / simulations for name, count in inside.items()}


def false_positives(
    simulate: Callable[..., list[Scores]], clusters: int, *, simulations: int, resamples: int, seed: int
) -> dict[str, float]:
    """The share of simulations in which p is below 0.05 between two equally good systems, for each metric."""
    rng, significant = np.random.default_rng(seed), collections.Counter[str]()
    for number in range(simulations):
        found = paired_differences(*simulate(rng, clusters, systems=2, resamples=resamples, seed=number))
        significant.update({name: (row["p"] or 1) < 0.05 for name, row in found.items()})
    return {name: count / simulations for name, count in significant.items()}


def classifiers(rng: np.random.Generator, clusters: int, *, systems: int, resamples: int, seed: int) -> list[Scores]:
    """Equally good systems of two classes on one drawn split."""
    groups, shared = patients(rng, clusters)
    labels = (rng.random(len(groups)) < POSITIVE).astype(int)
    shared = shared + SHIFT * labels + math.sqrt(0.8) * rng.normal(size=len(groups))
    found = []
    for _ in range(systems):
        scores = shared + math.sqrt(0.2) * rng.normal(size=len(groups))
        positive = 1 / (1 + np.exp(SHIFT / 2 - scores))
        probabilities = np.stack([1 - positive, positive], axis=1)
        found.append(
            classification_scores(labels, probabilities, ["no", "yes"], groups, resamples=resamples, seed=seed)
        )
    return found


def taggers(rng: np.random.Generator, clusters: int, *, systems: int, resamples: int, seed: int) -> list[Scores]:
    """Equally good systems that find entities of one word, on one drawn split."""
    groups, bias = patients(rng, clusters)
    gold = [[Span(place, place + 1, "A") for place in range(count)] for count in rng.integers(0, 4, len(groups))]
    hardness = [own + math.sqrt(0.8) * rng.normal(size=len(spans)) for own, spans in zip(bias, gold, strict=True)]
    limit = NormalDist(0, math.hypot(1, BIAS)).inv_cdf(FOUND)
    found = []
    for _ in range(systems):
        predicted = [
            [span for span, own in zip(spans, hard, strict=True) if own + math.sqrt(0.2) * rng.normal() < limit]
            + [Span(10 + alarm, 11 + alarm, "A") for alarm in range(rng.poisson(ALARMS))]
            for spans, hard in zip(gold, hardness, strict=True)
        ]
        found.append(entity_scores(gold, predicted, groups, resamples=resamples, seed=seed))
    return found


def patients(rng: np.random.Generator, clusters: int) -> tuple[list[int], np.ndarray]:
    """The patient of each row, and its bias."""
    groups = np.repeat(np.arange(clusters), rng.integers(1, 6, clusters))
    return groups.tolist(), (BIAS * rng.normal(size=clusters))[groups]


def _truth() -> dict[str, float]:
    """Of one more row, and of one more positive and one more negative row of different patients."""
    row = NormalDist(0, math.hypot(1, BIAS))
    pair = NormalDist(0, math.sqrt(2) * math.hypot(1, BIAS))
    return {"accuracy": row.cdf(SHIFT / 2), "auroc_macro": pair.cdf(SHIFT)}


TRUTH = _truth()


def main() -> None:
    """Prints and writes all figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--clusters", type=int, nargs="+", default=[50, 100, 200])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    settings = {"simulations": options.simulations, "resamples": options.resamples}
    report: dict[str, Any] = {**settings, "clusters": {}}
    for clusters in options.clusters:
        found = {
            "interval_holds_the_truth": interval_coverage(clusters, seed=0, **settings),
            "p_below_0.05_of_equal_systems": {
                **false_positives(classifiers, clusters, seed=1, **settings),
                **false_positives(taggers, clusters, seed=2, **settings),
            },
            "few_clusters": clusters < FEW_CLUSTERS,
        }
        print(clusters, found, flush=True)
        report["clusters"][clusters] = found
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
