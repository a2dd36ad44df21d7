"""Looks for rows that contradict each other: one query of ``checks/`` per way in which they can; and says what is left
out on purpose, one query of ``notices/`` per kind.

Facts have no foreign keys, since those would make loading several times slower; these queries are what stands in for
them. This module may not know what they look for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from queries.files import ROOT, header
from warehouse.errors import WarehouseError

Connection = psycopg.Connection[Any]


class UnknownCheck(WarehouseError):
    """There is no check of this name."""


@dataclass(frozen=True)
class Finding:
    """How many rows a check found; none are wanted. meaning: what a row would mean."""

    check: str
    rows: int
    meaning: str


def checks() -> dict[str, str]:
    """Text of every check by its name."""
    return {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "checks").glob("*.sql"))}


def run_checks(connection: Connection) -> Iterator[Finding]:
    """Run every check; connection: of the reader. Yields one finding per check as it is done."""
    for name, text in checks().items():
        query = f"select count(*) from (\n{_bare(text)}\n) as found"
        with connection.cursor(row_factory=tuple_row) as cursor:
            [(rows,)] = cursor.execute(query.encode()).fetchall()
        yield Finding(name, rows, header(text))


def query_of(name: str) -> str:
    """The query of a check, whose rows are what it finds. Raises UnknownCheck."""
    known = checks()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        suggestion = f"did you mean {near[0]}?" if near else "`warehouse check` lists them."
        raise UnknownCheck(f"There is no check {name}; {suggestion}")
    return known[name]


@dataclass(frozen=True)
class Notice:
    """What is no fault, but to be known. meaning: of the rows; rows: what it is, and why, if that is known."""

    meaning: str
    rows: list[tuple[str, str | None]]


def notices(connection: Connection) -> Iterator[Notice]:
    """What is left out on purpose; connection: of the reader. Yields no notice that says nothing."""
    for path in sorted((ROOT / "notices").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        with connection.cursor(row_factory=tuple_row) as cursor:
            rows = cursor.execute(text.encode()).fetchall()
        if rows:
            yield Notice(header(text), rows)


def _bare(text: str) -> str:
    return text.rstrip().removesuffix(";")
