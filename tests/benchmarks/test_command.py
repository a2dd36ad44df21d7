"""`python -m benchmarks`: the table, the document and the exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks.claim import Claim


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the table is written by default."""
    monkeypatch.setattr(command, "DOCUMENT", tmp_path / "benchmarks.md")
    return tmp_path / "benchmarks.md"


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, ratio: float) -> list[bool]:
    """Put a benchmark of one claim, at least 2, in place of a real one; returns whether it was called with small."""
    called: list[bool] = []

    def claims(*, small: bool = False) -> Iterator[Claim]:
        called.append(small)
        yield Claim.at_least(f"{name} is fast", ratio, 2, ours="1 s", other="2 s")

    module = ModuleType(f"benchmarks.{name}")
    module.claims = claims  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    return called


def test_claims_that_hold_end_well_and_are_printed_and_written(monkeypatch: pytest.MonkeyPatch, document: Path) -> None:
    called = pretend(monkeypatch, "scoring", 2.5)
    result = CliRunner().invoke(command.main, ["scoring"])
    assert result.exit_code == 0, result.output
    assert called == [False]
    assert "scoring is fast" in result.stdout
    assert "==> scoring" not in result.stdout
    assert "==> scoring" in result.stderr
    assert "| scoring is fast | cpu | 1 s | 2 s | 2.5 | ≥ 2 | yes | 1 |" in document.read_text()
    assert "PostgreSQL" in document.read_text()


def test_a_claim_that_does_not_hold_is_written_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, document: Path) -> None:
    pretend(monkeypatch, "scoring", 2.5)
    pretend(monkeypatch, "loading", 1.5)
    assert CliRunner().invoke(command.main, ["scoring", "loading"]).exit_code == 1
    assert "| 1.5 | ≥ 2 | **no** | 1 |" in document.read_text()


def test_without_names_all_benchmarks_run(monkeypatch: pytest.MonkeyPatch, document: Path) -> None:
    calls = {name: pretend(monkeypatch, name, 2) for name in command.NAMES}
    assert CliRunner().invoke(command.main, []).exit_code == 0
    assert all(called == [False] for called in calls.values())


def test_a_small_run_judges_nothing_and_leaves_the_document_alone(
    monkeypatch: pytest.MonkeyPatch, document: Path, tmp_path: Path
) -> None:
    called = pretend(monkeypatch, "loading", 1.5)
    assert CliRunner().invoke(command.main, ["loading", "--small"]).exit_code == 0
    assert called == [True]
    assert not document.exists()
    elsewhere = tmp_path / "elsewhere.md"
    assert CliRunner().invoke(command.main, ["loading", "--small", "--document", str(elsewhere)]).exit_code == 0
    assert elsewhere.is_file()
    assert not document.exists()


def test_an_unknown_benchmark_is_refused_with_the_names_there_are() -> None:
    result = CliRunner().invoke(command.main, ["nothing"])
    assert result.exit_code == 2
    assert "'loading'" in result.stderr
