"""Bins of numbers: against pandas, and at their edges."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.bins import binned, each_number, quantile_edges
from warehouse.layer import Category


def test_a_bin_holds_its_lower_edge_and_not_its_upper_one() -> None:
    numbers = np.array([-1, 0, 0.5, 1, 1.999, 2, 7, np.nan])
    categories, codes = binned(numbers, [0, 1, 2])
    assert [categories[code].value if code >= 0 else None for code in codes] == [
        "<0",
        "[0,1)",
        "[0,1)",
        "[1,2)",
        "[1,2)",
        ">=2",
        ">=2",
        None,
    ]
    assert categories[0] == Category("<0", None, None, 0)
    assert categories[1] == Category("[0,1)", None, 0, 1)
    assert categories[3] == Category(">=2", None, 2, None)


def test_bins_that_hold_nothing_are_left_out() -> None:
    categories, codes = binned(np.array([5.0, 0.5]), [0, 1, 2])
    assert [category.value for category in categories] == ["[0,1)", ">=2"]
    assert codes.tolist() == [1, 0]


def test_edges_that_six_digits_do_not_tell_apart_are_written_out() -> None:
    categories, _ = binned(np.array([1.0, 2.0, 3.0]), [1.00000001, 1.00000002, 2.5])
    assert [category.value for category in categories] == ["<1.00000001", "[1.00000002,2.5)", ">=2.5"]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=80), st.integers(2, 12))
def test_quantile_bins_are_those_of_pandas_where_numbers_differ(values: list[float], n_bins: int) -> None:
    numbers = np.unique(np.array(values) + 0.0)
    edges = quantile_edges(np.append(numbers, np.nan), n_bins)
    sizes = np.bincount(np.searchsorted(edges, numbers, side="right"))
    assert len(edges) == min(n_bins, len(numbers)) - 1
    # As many in each, but for one where the count does not divide.
    assert sizes.max() - sizes.min() <= 1
    if len(numbers) % n_bins == 0:
        groups = pd.qcut(pd.Series(numbers).rank(method="first"), n_bins, labels=False)
        assert np.searchsorted(edges, numbers, side="right").tolist() == groups.tolist()


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(2, 12))
def test_equal_numbers_are_in_one_bin_and_no_bin_is_empty(values: list[int], n_bins: int) -> None:
    numbers = np.array(values, float)
    edges = quantile_edges(numbers, n_bins)
    assert len(edges) < n_bins
    bins = np.searchsorted(edges, numbers, side="right")
    assert set(bins) == set(range(len(edges) + 1))


def test_numbers_that_are_few_are_values_themselves() -> None:
    categories, codes = each_number(np.array([2, -0.0, np.nan, 0.0, 2.5]))
    assert categories == (Category("0", 0.0), Category("2", 2.0), Category("2.5", 2.5))
    assert codes.tolist() == [1, 0, -1, 0, 2]


def test_no_numbers_have_no_edges() -> None:
    assert quantile_edges(np.array([np.nan]), 4) == []
    assert quantile_edges(np.array([3.0, 3.0]), 4) == []


@pytest.mark.parametrize("edges", [[0.0], [0.0, 1.0, 2.0]])
def test_bins_and_names_come_in_pairs(edges: list[float]) -> None:
    numbers = np.concatenate([[-1.0], np.array(edges)])
    categories, codes = binned(numbers, edges)
    assert codes.tolist() == list(range(len(edges) + 1))
    assert len({category.value for category in categories}) == len(edges) + 1
