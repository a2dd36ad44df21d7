"""What `warehouse import metrics` does: read all files, then write their results whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from warehouse import schema
from warehouse.database import Database
from warehouse.importing.kl import Imported
from warehouse.importing.result_files import Found, Reading, read_results
from warehouse.importing.results import load_results
from warehouse.importing.units import BadImport
from warehouse.writer import Writer


def import_results(
    database: Database, paths: Sequence[Path], reading: Reading, *, on_commit: Callable[[], None]
) -> tuple[Found, Imported]:
    """Import the results of files and folders in one transaction. on_commit: called when it has ended well.

    Raises BadImport, also where no result is a number, BadManifest, and ConflictingInputs where the warehouse has
    other numbers.
    """
    engine = database.engine()
    with engine.connect() as connection:
        families = _families(connection)
    found = read_results(paths, reading, families)
    if not found.results:
        unread = f", such as {', '.join(found.without_number[:5])}" if found.without_number else ""
        raise BadImport(f"No result of {', '.join(map(str, paths[:5]))} is a finite number{unread}: nothing was found.")
    writer = Writer(database, engine, reserve=0, on_commit=on_commit)
    return found, writer.commit(partial(load_results, results=found.results))


def _families(connection: Connection) -> dict[str, list[str]]:
    """The families of each model's name."""
    model = schema.model.c
    found: dict[str, list[str]] = {}
    for family, name in connection.execute(select(model.family, model.name)):
        found.setdefault(name, []).append(family)
    return found
