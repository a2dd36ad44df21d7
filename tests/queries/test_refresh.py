"""`warehouse refresh`: SQL computes from facts what the loader computed in numpy."""

from __future__ import annotations

import pytest

from queries.refresh import Change, refresh
from tests.queries.measured import measure
from warehouse.database import Database

TABLES = ["convergence_chunk", "comparison", "convergence_summary", "score_summary"]


def refreshed(database: Database) -> dict[str, Change]:
    with database.connect() as connection:
        return {change.table: change for change in refresh(connection)}


def unchanged(changes: dict[str, Change]) -> bool:
    return not any(change.changed or change.added or change.removed for change in changes.values())


@pytest.mark.parametrize("seeds", [(0, 1, 2), (0, 1, 2, 3)])
@pytest.mark.parametrize("n_documents", [3, 12])
@pytest.mark.parametrize("unmeasured", [False, True])
def test_sql_and_numpy_agree_on_every_derived_row(
    database: Database, seeds: tuple[int, ...], n_documents: int, unmeasured: bool
) -> None:
    measure(database, seeds=seeds, n_documents=n_documents, n_tokens=1300, models=("small",), unmeasured=unmeasured)
    changes = refreshed(database)
    assert list(changes) == TABLES
    assert all(change.rows > 0 and change.largest <= 1e-9 for change in changes.values())
    assert unchanged(changes)
