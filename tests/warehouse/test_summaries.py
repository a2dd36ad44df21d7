"""Sums by value: against pandas, with gaps everywhere, and without a table of all values times all clusters."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from warehouse.summaries import Values, convergence_rows, portions, score_rows

KL_NAMES = ("n", "sum_kl", "sum_kl2", "min_kl", "max_kl", "clusters", "cluster_xx", "cluster_xn", "cluster_nn")


def drawn(n: int, size: int, n_clusters: int, seed: int) -> tuple[pd.DataFrame, Values]:
    """Tokens in clusters without order, some without value and some without x, as a table and as arrays."""
    random = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "value": random.integers(-1, size, n),
            "cluster": random.integers(0, n_clusters, n),
            "x": random.gamma(1, 1, n).astype(np.float32),
            "entropy": random.gamma(1, 1, n).astype(np.float32),
            "rank": random.integers(1, 4, n),
        }
    )
    table.loc[random.random(n) < 0.1, ["x", "entropy"]] = np.nan
    table.loc[table["x"].isna(), "rank"] = -1
    return table, Values(4, table["value"].to_numpy(np.int32), size)


def rows_of(x: NDArray[np.float32], values: Values, clusters: NDArray[np.int64]) -> list[dict[str, Any]]:
    """Of a comparison of one pair."""
    return convergence_rows(x, {(0, 1): values.totals(x)}, [0, 1], values, clusters)


def by_cluster(table: pd.DataFrame) -> pd.DataFrame:
    """Sum and number of x by value and cluster, in double precision."""
    known = table[(table["value"] >= 0) & table["x"].notna()].astype({"x": float})
    cells = known.groupby(["value", "cluster"])["x"].agg(["sum", "count"]).reset_index()
    whole = table[table["x"].notna()].astype({"x": float}).groupby("cluster")["x"].agg(["sum", "count"])
    return cells.join(whole.add_suffix("_of_all"), on="cluster")


def expected(table: pd.DataFrame) -> pd.DataFrame:
    cells = by_cluster(table)
    known = table[(table["value"] >= 0) & table["x"].notna()].astype({"x": float})
    x, n, all_x, all_n = (cells[name] for name in ("sum", "count", "sum_of_all", "count_of_all"))
    products = {
        "cluster_xx": x * x,
        "cluster_xn": x * n,
        "cluster_nn": n * n,
        "cross_xx": x * all_x,
        "cross_xn": x * all_n,
        "cross_nx": n * all_x,
        "cross_nn": n * all_n,
    }
    sums = pd.DataFrame(products).groupby(cells["value"]).sum()
    each = known.groupby("value")["x"]
    sums["clusters"] = cells.groupby("value").size()
    sums["n"], sums["sum_kl"], sums["min_kl"], sums["max_kl"] = each.size(), each.sum(), each.min(), each.max()
    sums["sum_kl2"] = (known["x"] ** 2).groupby(known["value"]).sum()
    return sums


@pytest.mark.parametrize(
    ("n", "size", "n_clusters"), [(1000, 7, 12), (300, 1, 300), (50, 40, 3), (2000, 900, 1500), (1, 1, 1)]
)
def test_sums_of_convergence_are_those_of_a_table(n: int, size: int, n_clusters: int) -> None:
    table, values = drawn(n, size, n_clusters, seed=n + size)
    mean = table["x"].to_numpy(np.float32)
    rows = pd.DataFrame(rows_of(mean, values, table["cluster"].to_numpy()))
    wanted = expected(table)
    if not len(wanted):
        assert not len(rows)
        return
    assert rows["category_id"].tolist() == wanted.index.tolist()
    for name in wanted:
        np.testing.assert_allclose(rows[name], wanted[name], rtol=1e-12, err_msg=name)


def test_sums_of_scores_are_those_of_a_table() -> None:
    table, values = drawn(3000, 9, 40, seed=3)
    arrays = [table["x"].to_numpy(np.float32), table["entropy"].to_numpy(np.float32), table["rank"].to_numpy(np.int32)]
    rows = pd.DataFrame(score_rows(arrays[0], arrays[1], arrays[2], values, table["cluster"].to_numpy()))
    known = table[(table["value"] >= 0) & table["x"].notna()].astype({"entropy": float})
    wanted = expected(table).rename(columns=lambda name: name.replace("kl", "surprisal"))
    wanted["n_correct"] = known["rank"].eq(1).groupby(known["value"]).sum()
    wanted["sum_entropy"] = known.groupby("value")["entropy"].sum()
    for name in (*(name.replace("kl", "surprisal") for name in KL_NAMES), "n_correct", "sum_entropy"):
        np.testing.assert_allclose(rows[name].astype(float), wanted[name], rtol=1e-12, err_msg=name)


def test_what_one_token_of_a_value_lacks_is_unknown_for_the_value() -> None:
    values = Values(1, np.array([0, 0, 1, 1, 2, -1], np.int32), 3)
    surprisal = np.array([1, 2, 3, 4, np.nan, 5], np.float32)
    entropy = np.array([1, np.nan, 1, 2, np.nan, np.nan], np.float32)
    rank = np.array([1, 1, 1, -1, -1, -1], np.int32)
    clusters = np.zeros(6, np.int64)
    first, second = score_rows(surprisal, entropy, rank, values, clusters)
    assert (first["n"], first["n_correct"], first["sum_entropy"]) == (2, 2, None)
    assert (second["n"], second["n_correct"], second["sum_entropy"]) == (2, None, 3.0)
    for row in score_rows(surprisal, None, None, values, clusters):
        assert (row["n_correct"], row["sum_entropy"]) == (None, None)


def test_a_sum_by_value_leaves_out_what_is_not_finite() -> None:
    values = Values(1, np.array([0, 0, 1, -1, 2], np.int32), 4)
    x = np.array([1, np.nan, np.inf, np.nan, 3], np.float32)
    assert values.sums(x).tolist() == [1, 0, 3, 0]
    least, greatest = values.extremes(x.astype(float))
    assert least.tolist() == [1, np.inf, 3, np.inf]
    assert greatest.tolist() == [1, -np.inf, 3, -np.inf]


def test_many_values_times_many_clusters_take_memory_by_the_token() -> None:
    n = 50_000
    codes = np.arange(n, dtype=np.int32) % 1000
    clusters, x = np.arange(n), np.ones(n, np.float32)
    tracemalloc.start()
    try:
        rows = rows_of(x, Values(1, codes, 1000), clusters)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row["clusters"] for row in rows] == [50] * 1000
    assert peak < 200 * n * 8  # all values times all clusters would be 1000 * n * 8


def test_clusters_of_another_corpus_are_not_those_of_before() -> None:
    values, x = Values(1, np.zeros(4, np.int32), 1), np.ones(4, np.float32)
    found = [rows_of(x, values, np.array(clusters))[0]["clusters"] for clusters in ([0] * 4, range(4))]
    assert found == [1, 4]


@pytest.mark.parametrize("size", [1, 40, 1000, 10**6])
def test_portions_hold_every_unit_once_and_at_least_one_each(size: int) -> None:
    units = list(range(500))
    found = list(portions(units, size, lambda unit: 20))
    assert [unit for portion in found for unit in portion] == units
    assert all(found)
    largest: Any = max(len(portion) for portion in found)
    assert largest == (500 if size <= 40 else 20 if size == 1000 else 1)


def test_a_value_of_which_one_pair_lacks_tokens_has_no_sums_by_seed() -> None:
    values = Values(1, np.array([0, 0, 1, 1, -1], np.int32), 2)
    even = np.array([1, np.nan, 1, 1, 1], np.float32)
    gaps = np.array([1, np.nan, 1, np.nan, np.nan], np.float32)
    totals = {(0, 1): values.totals(even), (1, 0): values.totals(gaps)}
    first, second = convergence_rows(even + gaps, totals, [0, 1], values, np.zeros(5, np.int64))
    assert (first["n"], first["seed_sums"]) == (1, [2.0, 2.0])
    assert (second["n"], second["seed_sums"], second["pair_square_sum"]) == (1, [None, None], None)
