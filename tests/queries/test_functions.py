"""Standard errors in SQL on cases small enough to compute by hand, and where they are not defined."""

from __future__ import annotations

from math import sqrt
from typing import Any

import pytest

from ingest.windows import passes
from tests.queries.measured import Measured


def ask(measured: Measured, query: str) -> list[tuple[Any, ...]]:
    with measured.database.read() as reader:
        return reader.execute(query.encode()).fetchall()


def jackknife(measured: Measured, arguments: str) -> float | None:
    rows = ask(measured, f"select standard_error from jackknife_error({arguments})")
    return rows[0][0] if rows else None


def test_two_runs_against_themselves_differ_by_half_their_distance(measured: Measured) -> None:
    # Means 1 and 2: leaving one out leaves the other, so se^2 = 1/2 (1/4 + 1/4).
    assert jackknife(measured, "1, 2, 2, '{2, 4}', '{1, 1}', null") == pytest.approx(0.5)


def test_three_seeds_leave_one_pair_each(measured: Measured) -> None:
    # Pair means 1, 2 and 3 in both directions: what is left are 3, 2 and 1, and se^2 = 2/3 (1 + 0 + 1).
    assert jackknife(measured, "2, 6, 1, '{6, 8, 10}', '{4, 4, 4}', null") == pytest.approx(sqrt(4 / 3))


def test_four_seeds_lose_the_bias_of_interactions(measured: Measured) -> None:
    # Pair means of four seeds: 1 where the seeds are 0,1 or 2,3, else 0. Each seed's own mean is the same, so the
    # jackknife sees nothing, the correction is negative, and the variance stays at 0.
    assert jackknife(measured, "2, 12, 1, '{2, 2, 2, 2}', '{6, 6, 6, 6}', 8") == 0
    # Seed 0 lies apart: y = 1 for its pairs and 0 for the rest, the mean is 1/2, theta is 0, 2/3, 2/3, 2/3.
    plain = jackknife(measured, "2, 12, 1, '{6, 2, 2, 2}', '{6, 6, 6, 6}', null")
    assert plain == pytest.approx(sqrt(3 / 4 * (1 / 4 + 3 / 36)))
    # r = 1, 1/3, 1/3, 1/3 and a = 3/2 (r - 1/2), so B = (6/4 - 2 (9/16 + 3/16)) / 2 = 0: seeds alone explain the pairs.
    assert jackknife(measured, "2, 12, 1, '{6, 2, 2, 2}', '{6, 6, 6, 6}', 12") == pytest.approx(plain)
    # With 0.8 more in the sum of squares, B = 0.8 / 4 / 2, of which 2 / ((n - 1)(n - 2)) is subtracted.
    assert jackknife(measured, "2, 12, 1, '{6, 2, 2, 2}', '{6, 6, 6, 6}', 12.8") == pytest.approx(
        sqrt(1 / 4 - 2 * (0.8 / 4 / 2) / 6)
    )


@pytest.mark.parametrize(
    "arguments",
    [
        "2, 2, 1, '{2, 2}', '{2, 2}', null",  # two seeds leave no pair without one of them
        "1, 1, 1, '{2}', '{1}', null",
        "2, 4, 1, '{4, 2, 2}', '{4, 2, 2}', null",  # every pair touches the first seed
        "2, 6, 0, '{0, 0, 0}', '{4, 4, 4}', null",
        "2, 0, 0, null, null, null",
    ],
)
def test_a_standard_error_over_seeds_that_is_not_defined_is_null(measured: Measured, arguments: str) -> None:
    assert jackknife(measured, arguments) is None


def test_clusters_count_as_one_each(measured: Measured) -> None:
    # Five documents of two tokens with sums 2, 4, 6, 8, 10: mean 3; residual sums -4, -2, 0, 2, 4, their squares 40.
    rows = ask(measured, "select cluster_error(5, 5, 10, 30, 220, 60, 20)")
    assert rows[0][0] == pytest.approx(sqrt(5 / 4 * 40) / 10)


@pytest.mark.parametrize(
    "arguments",
    ["4, 5, 8, 20, 120, 40, 16", "1, 1, 2, 2, 4, 4, 4", "0, 0, 0, 0, 0, 0, 0", "5, 5, 10, null, 220, 60, 20"],
)
def test_too_few_clusters_or_an_unknown_sum_have_no_standard_error(measured: Measured, arguments: str) -> None:
    assert ask(measured, f"select cluster_error({arguments})") == [(None,)]


@pytest.mark.parametrize(
    ("target", "window", "bos", "context"),
    [(1, 2048, True, 1), (2048, 2048, True, 2048), (2049, 2048, True, 1025), (3072, 2048, True, 2048),
     (3073, 2048, True, 1025), (1, 2048, False, 0), (2050, 2048, False, 1025), (9, 1, True, 1)],
)  # fmt: skip
def test_context_length_of_the_published_windows(
    measured: Measured, target: int, window: int, bos: bool, context: int
) -> None:
    assert ask(measured, f"select context_length('concatenated', {target}, 7, {window}, {bos})") == [(context,)]
    if target < 1000:
        assert ask(measured, f"select context_length('documents', 99, {target - 1}, {window}, {bos})") == [(context,)]


@pytest.mark.parametrize("policy", ["concatenated", "documents", "truncated"])
@pytest.mark.parametrize("window", [2, 5, 8, 100])
def test_context_length_is_that_of_the_windows_that_are_read(measured: Measured, policy: Any, window: int) -> None:
    lengths = [7, 1, 30, 12]
    places = [place for length in lengths for place in range(length)]
    counted = [0] * len(places)
    for part in passes(policy, len(places), lengths, window, bos=True):
        for target in range(part.first_target, part.end_target):
            # Inputs of the pass up to the one that predicts the target.
            counted[target] = part.kept_rows.start + target - part.first_target + 1
    values = ", ".join(f"({target + 1}, {place})" for target, place in enumerate(places))
    query = (
        f"select context_length('{policy}', target, place, {window}, true) from (values {values}) as t (target, place)"
    )
    assert [context for (context,) in ask(measured, query)] == counted
