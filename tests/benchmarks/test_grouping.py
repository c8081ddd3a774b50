from benchmarks import grouping


def test_a_set_is_compared_over_the_seeds_that_both_have():
    runs = [
        {"data": name, "seed": seed, "batches": batches, "score": score}
        for name, batches, scores in (
            ("nicta_piboso", "grouped", [0.5, 0.7, 0.9]),
            ("nicta_piboso", "mixed", [0.4, 0.6]),
            ("ncbi_disease", "grouped", [0.5]),
        )
        for seed, score in enumerate(scores)
    ]
    row, *others = grouping.table(runs).splitlines()[1:]
    assert not others
    assert row.split()[:6] == ["nicta_piboso", "accuracy", "2", "0.600", "0.500", "+0.100"]


def test_only_the_buckets_differ(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(grouping, "run_ours", lambda config, metric: seen.append(config) or 0.0)
    for batches in grouping.BUCKETS:
        grouping.score(tmp_path / "nicta_piboso", 1, batches)
    assert [config.data.buckets for config in seen] == [6, 1]
    seen[1].data.buckets = 6
    assert seen[0] == seen[1]
