"""Simulated studies: what the document says of intervals, against a smaller simulation through the same views."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks import coverage
from benchmarks.coverage import Coverage, Design, DifferenceCoverage
from warehouse.database import Database

#: The shares of a row, by design: of intervals over seeds (t, 1.96), over text (t, 1.96) and over both.
Rows = dict[Design, list[float]]


def documented() -> tuple[Rows, Rows]:
    """Both tables of the document."""
    text = coverage.DOCUMENT.read_text("utf-8")
    found: list[Rows] = []
    for table in re.findall(r"^\| seeds .*?(?=\n\n|\n\Z)", text, re.M | re.S):
        rows = [[float(cell.strip(" %")) for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
        found.append({Design(int(seeds), int(texts)): rest for seeds, texts, *rest in rows})
    one, two = found
    return one, two


def assert_agree(percent: float, share: float, replicates: int, of_document: int) -> None:
    """Two shares of so many replicates differ by chance."""
    mean = np.clip(percent / 100, 0.02, 0.98)
    chance = np.sqrt(mean * (1 - mean) * (1 / replicates + 1 / of_document))
    assert abs(percent / 100 - share) < 4 * chance


def test_the_document_has_a_row_for_every_design() -> None:
    one, two = documented()
    assert list(one) == list(coverage.DESIGNS)
    assert list(two) == list(coverage.DIFFERENCE_DESIGNS)


def test_student_s_t_holds_the_truth_about_as_often_as_it_says_and_1_96_does_not() -> None:
    one, two = documented()
    for seed, seed_normal, text, text_normal, total in one.values():
        assert 92 < seed < 97
        assert 92 < text < 97
        assert 92 < total < 98
        assert seed_normal < seed
        assert text_normal < text
    assert one[Design(3, 10)][1] < 86
    assert all(92 < interval < 98 and ratio > 2 for interval, ratio in two.values())


def test_a_smaller_simulation_says_what_the_document_says(database: Database) -> None:
    one, two = documented()
    designs, replicates = [Design(3, 10), Design(5, 5)], 500
    found = list(coverage.coverage(database, designs, replicates))
    assert [row.design for row in found] == designs
    for row in found:
        shares = (row.se_seed, row.se_seed_normal, row.se_document, row.se_document_normal, row.se_total)
        for percent, share in zip(one[row.design], shares, strict=True):
            assert_agree(percent, share, replicates, coverage.REPLICATES)
    [difference] = coverage.difference_coverage(database, [Design(3, 10)], 120)
    interval, ratio = two[difference.design]
    assert_agree(interval, difference.interval, 120, coverage.DIFFERENCES)
    assert difference.width == pytest.approx(ratio, rel=0.15)


def test_standard_errors_are_as_large_as_estimates_scatter(database: Database) -> None:
    """Of many draws, the mean square of the error is that of the distance to the truth it is an error of."""
    design, replicates = Design(4, 20), 400
    drawn = coverage.draw(design, replicates, np.random.default_rng(3))
    off = ~np.eye(4, dtype=bool)
    estimate = (drawn.kl[:, off].mean(1) * drawn.lengths).sum(1) / drawn.lengths.sum(1)
    assert np.mean(estimate - drawn.on_text) == pytest.approx(0, abs=0.005)
    assert np.mean(estimate - drawn.of_runs) == pytest.approx(0, abs=0.005)
    with database.connect() as connection:
        coverage.Warehouse.of(connection).add_comparisons("studies", drawn.kl, drawn.lengths)
        rows = connection.execute(
            "select -convergence, se_seed, se_document from analysis.expected_convergence order by step"
        ).fetchall()
    kl, se_seed, se_document = np.array(rows, float).T
    np.testing.assert_allclose(kl, estimate, rtol=1e-4)
    assert np.mean(se_seed**2) == pytest.approx(np.mean((estimate - drawn.on_text) ** 2), rel=0.3)
    assert np.mean(se_document**2) == pytest.approx(np.mean((estimate - drawn.of_runs) ** 2), rel=0.3)


def test_tables_are_written_in_the_place_of_those_that_were_there(tmp_path: Path) -> None:
    document = tmp_path / "uncertainty.md"
    document.write_text(
        "# Title\n\n| seeds | a |\n|---|---|\n| 1 | 2 |\n\nText.\n\n| seeds | b |\n|---|---|\n| 3 | 4 |\n"
    )
    design = Design(3, 10)
    written = coverage.tables(
        [Coverage(design, 0.951, 0.8, 0.94, 0.9, 0.96)], [DifferenceCoverage(design, 0.955, 2.34)]
    )
    coverage.write(document, written)
    assert document.read_text() == f"# Title\n\n{written[0]}\n\nText.\n\n{written[1]}\n"
    assert "| 3 | 10 | 95.1% | 80.0% | 94.0% | 90.0% | 96.0% |" in written[0]
    assert "| 3 | 10 | 95.5% | 2.3 |" in written[1]
