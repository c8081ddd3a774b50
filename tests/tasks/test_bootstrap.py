"""The weighted, all-at-once bootstrap against resamples scored one by one on gathered rows."""

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from jaxpeft.tasks import clusters
from jaxpeft.tasks.bootstrap import bootstrap_scores
from jaxpeft.tasks.clusters import cluster_of_rows
from jaxpeft.tasks.metrics import METRIC_NAMES, classification_scores


def split(seed, rows, classes, groups, levels):
    rng = np.random.default_rng(seed)
    labels = rng.integers(-1, classes, rows)
    weights = rng.integers(1, levels, size=(rows, classes)).astype(np.float64)
    cluster = np.concatenate([np.arange(groups), rng.integers(0, groups, rows - groups)])
    return labels, weights / weights.sum(axis=1, keepdims=True), cluster


def drawn_clusters(seed, clusters, resamples):
    return np.random.default_rng(seed).integers(0, clusters, size=(resamples, clusters))


@pytest.mark.parametrize("classes", [2, 4])
def test_resamples_score_as_their_gathered_rows(classes, monkeypatch):
    labels, probabilities, cluster = split(3, rows=24, classes=classes, groups=7, levels=4)
    monkeypatch.setattr(clusters, "_CELLS", 24 * 9)  # 9 resamples at once, the last 4
    fast = bootstrap_scores(labels, probabilities, cluster, resamples=40, seed=5)
    names = [str(index) for index in range(classes)]
    for resample, drawn in enumerate(drawn_clusters(5, 7, 40)):
        rows = np.concatenate([np.flatnonzero(cluster == number) for number in drawn])
        slow = classification_scores(labels[rows], probabilities[rows], names, None, resamples=0).metrics
        for name in METRIC_NAMES:
            value = np.nan if slow[name]["value"] is None else slow[name]["value"]
            assert fast[name][resample] == pytest.approx(value, abs=1e-8, nan_ok=True), name


@given(seed=st.integers(0, 10**6), rows=st.integers(8, 40), classes=st.integers(2, 4), levels=st.sampled_from([3, 99]))
def test_rank_scores_are_scikit_learns_with_sample_weight(seed, rows, classes, levels):
    labels, probabilities, cluster = split(seed, rows, classes, groups=rows, levels=levels)
    fast = bootstrap_scores(labels, probabilities, cluster, resamples=3, seed=seed)
    columns = [1] if classes == 2 else range(classes)
    for resample, drawn in enumerate(drawn_clusters(seed, rows, 3)):
        weight = np.bincount(drawn, minlength=rows)[cluster]
        for name, metric in (
            ("auroc_macro", sklearn.metrics.roc_auc_score),
            ("auprc_macro", sklearn.metrics.average_precision_score),
        ):
            values = [
                metric(labels == column, probabilities[:, column], sample_weight=weight)
                for column in columns
                if 0 < weight[labels == column].sum() < weight.sum()
            ]
            expected = np.mean(values) if values else np.nan
            assert fast[name][resample] == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("metric", ["auroc_macro", "auprc_macro"])
@pytest.mark.parametrize("rare", [0, 1])
def test_intervals_are_the_percentiles_of_the_defined_resamples(metric, rare):
    labels = np.array([rare] + [1 - rare] * 11)  # a third of the resamples lack the one row of this class
    probabilities = np.stack([1 - np.linspace(0, 1, 12), np.linspace(0, 1, 12)], axis=1)
    drawn = bootstrap_scores(labels, probabilities, np.arange(12), resamples=300, seed=0)[metric]
    assert 0.2 < np.isnan(drawn).mean() < 0.5
    score = classification_scores(labels, probabilities, ["a", "b"], None, resamples=300).metrics[metric]
    assert [score["low"], score["high"]] == np.nanpercentile(drawn, [2.5, 97.5]).tolist()


def test_clusters_are_numbered_in_order_of_appearance():
    assert cluster_of_rows(["b", "a", "b", "c"], 4).tolist() == [0, 1, 0, 2]
    assert cluster_of_rows(None, 3).tolist() == [0, 1, 2]
