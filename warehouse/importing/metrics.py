"""What `warehouse import metrics` does: read all files, then write their results whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from warehouse import schema
from warehouse.database import Database
from warehouse.importing.kl import Imported
from warehouse.importing.naming import Known
from warehouse.importing.result_files import Found, Reading, read_results
from warehouse.importing.results import load_results
from warehouse.importing.target import IMPORTED, all_models
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
        known = _known(connection)
    found = read_results(paths, reading, known)
    if not found.results:
        unread = f", such as {', '.join(found.without_number[:5])}" if found.without_number else ""
        raise BadImport(f"No result of {', '.join(map(str, paths[:5]))} is a finite number{unread}: nothing was found.")
    writer = Writer(database, engine, reserve=0, on_commit=on_commit)
    done = writer.commit(partial(load_results, results=found.results))
    named = {(result.checkpoint.family, result.checkpoint.model) for result in found.results}
    return found, replace(done, new_models=tuple(f"{family}/{name}" for family, name in sorted(named - known.models)))


def _known(connection: Connection) -> Known:
    model, run, checkpoint = schema.model.c, schema.run.c, schema.checkpoint.c
    joined = schema.checkpoint.join(schema.run, run.run_id == checkpoint.run_id)
    joined = joined.join(schema.model, model.model_id == run.model_id)
    runs = select(checkpoint.source, model.family, model.name, run.seed).select_from(joined).distinct()
    by_source: dict[str, set[tuple[str, str, int]]] = {}
    for source, *names in connection.execute(runs.where(checkpoint.source != IMPORTED)):
        by_source.setdefault(source, set()).add(tuple(names))
    # A folder holds several runs; a repository of a suite one.
    repositories = {source: next(iter(found)) for source, found in by_source.items() if len(found) == 1}
    return Known(all_models(connection), repositories)
