"""The document of claims: what a run writes, and what it leaves of earlier runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.claim import Claim
from benchmarks.document import parse, update

ORDER = ("scoring", "loading")


def claim(name: str, ratio: float = 0.8, *, note: str = "", device: str = "cpu") -> Claim:
    return Claim.at_least(name, ratio, 0.7, ours="1.5 s", other="1.2 s", note=note, device=device)


def rows(path: Path) -> list[list[str]]:
    """Cells of the table's rows, in order."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
    return [line.strip("| ").split(" | ") for line in lines[2:]]


def test_a_row_says_what_was_measured_where_and_whether_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    update(path, ORDER, [("loading", claim("facts")), ("loading", claim("summaries", 0.65432))], "today; a machine")
    assert rows(path) == [
        ["loading", "facts", "cpu", "1.5 s", "1.2 s", "0.8", "≥ 0.7", "yes", "1"],
        ["loading", "summaries", "cpu", "1.5 s", "1.2 s", "0.654", "≥ 0.7", "**no**", "1"],
    ]
    assert "1. today; a machine" in path.read_text().splitlines()


def test_a_run_of_some_benchmarks_leaves_the_rows_of_others_with_their_run(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    update(path, ORDER, [("scoring", claim("14m")), ("loading", claim("facts")), ("loading", claim("old"))], "monday")
    update(path, ORDER, [("loading", claim("facts", 0.9))], "tuesday")
    assert [(row[0], row[1], row[5], row[8]) for row in rows(path)] == [
        ("scoring", "14m", "0.8", "1"),
        ("loading", "facts", "0.9", "2"),
    ]
    assert [line for line in path.read_text().splitlines() if line.endswith("day")] == ["1. monday", "2. tuesday"]


def test_a_run_from_which_no_row_is_left_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    update(path, ORDER, [("loading", claim("facts"))], "monday")
    update(path, ORDER, [("loading", claim("facts"))], "tuesday")
    assert "monday" not in path.read_text()


def test_devices_are_replaced_apart(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    update(path, ORDER, [("scoring", claim("14m")), ("scoring", claim("14m", 3, device="cuda"))], "monday")
    update(path, ORDER, [("scoring", claim("14m", 2))], "tuesday")
    assert {(row[2], row[5], row[8]) for row in rows(path)} == {("cpu", "2", "2"), ("cuda", "3", "1")}


def test_notes_and_column_signs_survive_being_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "benchmarks.md"
    update(path, ORDER, [("loading", claim("KL(p || q)", note="median of\nseven | rounds"))], "monday")
    before = path.read_text()
    assert "median of seven ∣ rounds" in before
    update(path, ORDER, [], "tuesday")
    assert path.read_text() == before
    assert [row.note for row in parse(before)] == ["median of seven ∣ rounds"]


@pytest.mark.parametrize(("ratio", "holds"), [(0.7, True), (0.69, False)])
def test_a_lower_bound_belongs_to_what_holds(ratio: float, holds: bool) -> None:
    assert Claim.at_least("a", ratio, 0.7, ours="", other="").holds is holds


@pytest.mark.parametrize(("ratio", "holds"), [(1.6, True), (1.61, False)])
def test_an_upper_bound_belongs_to_what_holds(ratio: float, holds: bool) -> None:
    assert Claim.at_most("a", ratio, 1.6, ours="", other="").holds is holds


def test_what_is_only_told_holds_whatever_it_is(tmp_path: Path) -> None:
    update(tmp_path / "benchmarks.md", ORDER, [("scoring", Claim.told("a", 0.01, ours="1 s", other="1 ms"))], "monday")
    assert rows(tmp_path / "benchmarks.md") == [["scoring", "a", "cpu", "1 s", "1 ms", "0.01", "told", "yes", "1"]]
