"""Looks for rows that contradict each other: one query of ``checks/`` per way in which they can.

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


def _bare(text: str) -> str:
    return text.rstrip().removesuffix(";")
