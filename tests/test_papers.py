"""docs/papers.md keeps its word: what a row says can be had is asked on a page, answers there, and is held to a test.

That the pages' queries and commands run, and that their answers are the true ones, is seen with those of all documents.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from queries.files import definitions
from tests.documents import ROOT, Block, blocks, spans

OVERVIEW = ROOT / "docs" / "papers.md"
PAGES = sorted((ROOT / "docs" / "papers").glob("*.md"))
WORKS = {"F": 14, "S": 4, "X": 11, "G": 9, "C": 4, "L": 10}
NOT_HERE = "not here"

_NAME = re.compile(r"\[(\w+)\]\((papers/\w+\.md)\)|(\w\d+)")
_SPAN = re.compile(r"`([^`]+)`")
_PROOF = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
_ASKED = re.compile(r"^\*\*([\w, ]+)\*\*")


@dataclass(frozen=True)
class Row:
    """A figure: its name here, the page that asks for it, and the cells of its row."""

    name: str
    page: str
    figure: str
    here: str
    differs: str
    proof: str

    def __str__(self) -> str:
        return self.name

    @property
    def is_here(self) -> bool:
        """Whether the warehouse gives the figure."""
        return self.here != NOT_HERE

    @property
    def spans(self) -> list[str]:
        """The views, functions and commands that give it."""
        return _SPAN.findall(self.here)


def _rows() -> list[Row]:
    lines = [line for line in OVERVIEW.read_text("utf-8").split("\n") if line.startswith("|")]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    found = []
    for first, figure, here, differs, proof in table:
        if match := _NAME.fullmatch(first):
            found.append(Row(match[1] or match[3], match[2] or "", figure, here, differs, proof))
    return found


ROWS = _rows()
HERE = [row for row in ROWS if row.is_here]
LACKING = [row for row in ROWS if not row.is_here]


@cache
def _asked(page: str) -> dict[str, list[Block]]:
    """The blocks of a page by the rows that they stand for: those that the last bold line before them names."""
    path = ROOT / "docs" / page
    lines = path.read_text("utf-8").split("\n")
    asked: dict[str, list[Block]] = {}
    for block in blocks():
        if block.document == path and block.language in ("sql", "bash"):
            names = next(match[1] for line in reversed(lines[: block.line]) if (match := _ASKED.match(line)))
            for name in names.split(", "):
                asked.setdefault(name, []).append(block)
    return asked


def test_every_work_has_its_rows_numbered_in_order() -> None:
    assert [row.name for row in ROWS] == [f"{work}{n + 1}" for work, rows in WORKS.items() for n in range(rows)]


@pytest.mark.parametrize("row", HERE, ids=str)
def test_what_gives_a_figure_exists(row: Row) -> None:
    known = {file.name for file in definitions()}
    assert row.spans
    assert {span for span in row.spans if not span.startswith("warehouse ")} <= known


@pytest.mark.parametrize("document", [OVERVIEW, *PAGES], ids=lambda document: document.name)
def test_every_view_in_a_sentence_exists(document: Path) -> None:
    known = {file.name for file in definitions()}
    named = {span for path, span in spans() if path == document and re.fullmatch("[a-z]+(_[a-z]+)+", span)}
    assert named <= known


@pytest.mark.parametrize("row", HERE, ids=str)
def test_what_gives_a_figure_is_asked_on_its_page(row: Row) -> None:
    code = "\n".join(block.code for block in _asked(row.page)[row.name])
    assert [span for span in row.spans if not re.search(rf"\b{re.escape(span)}\b", code)] == []


@pytest.mark.parametrize("row", HERE, ids=str)
def test_what_is_asked_has_an_answer_of_a_row_at_least(row: Row) -> None:
    answers = [block.answer for block in _asked(row.page)[row.name] if "warehouse plot" not in block.code]
    assert answers
    assert all(answer and len(answer.strip("\n").split("\n")) > 2 for answer in answers)


@pytest.mark.parametrize("row", HERE, ids=str)
def test_what_is_claimed_is_held_to_a_test(row: Row) -> None:
    proofs = _PROOF.findall(row.proof)
    assert proofs
    for file, name in proofs:
        assert re.search(rf"^def {name}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE), f"{file}::{name}"


@pytest.mark.parametrize("row", LACKING, ids=str)
def test_what_cannot_be_had_says_why_and_claims_nothing(row: Row) -> None:
    assert row.differs
    assert (row.page, row.proof) == ("", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_ask_for_nothing_but_rows(page: Path) -> None:
    name = f"papers/{page.name}"
    assert set(_asked(name)) == {row.name for row in HERE if row.page == name}
