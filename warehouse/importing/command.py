"""What `warehouse import kl` and `warehouse import scores` do: read a manifest and its files, then write them whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Engine, text

from warehouse.database import Database
from warehouse.fact_tables import SCORES
from warehouse.importing import kl, matrices, scores
from warehouse.importing.kl import Imported
from warehouse.importing.manifest import NAME_KEYS, BadManifest, Manifest, read_manifest
from warehouse.importing.rows import table_units
from warehouse.importing.tables import SUFFIXES, kind_of, read_table
from warehouse.importing.target import all_models, document_ranges, find_corpus
from warehouse.importing.units import Placement, Target, Unit
from warehouse.writer import Writer

What = Literal["kl", "scores"]
_TABLES = frozenset(SUFFIXES)
_FILLED = (
    *("evaluation", "score_chunk", "score_summary", "comparison", "comparison_pair", "comparison_member"),
    *("divergence_chunk", "convergence_chunk", "convergence_summary"),
)


def import_measurements(
    database: Database,
    what: What,
    file: Path,
    manifest_file: Path | None,
    options: Mapping[str, Any],
    *,
    on_commit: Callable[[], None],
) -> Imported:
    """Import a file of measurements, or all that a manifest names, in one transaction.

    file: data, or a manifest. options: keys of the manifest, None for those that are not given. on_commit: called when
    the transaction has ended well. Measurements are turned into arrays over the corpus a few at a time.
    Raises BadManifest, BadImport, UnknownCorpus, and ConflictingInputs where the warehouse has other values.
    """
    data = None if kind_of(file) == ".toml" else file
    if data is None and manifest_file is not None:
        raise BadManifest(f"{file} is a manifest itself: leave out --manifest, or give the file of measurements first.")
    manifest = read_manifest(manifest_file if data is not None else file, options)
    engine = database.engine()
    with engine.connect() as connection:
        target = find_corpus(connection, manifest.corpus)
        documents = document_ranges(connection, target)
        known = all_models(connection)
    units = _read(what, data, manifest, target, documents, (manifest_file or file).parent)
    load = kl.load_kl if what == "kl" else scores.load_scores
    writer = Writer(database, engine, reserve=0, on_commit=on_commit)
    # Units are read anew where a lost server makes the transaction begin again.
    done = writer.commit(lambda connection: load(connection, units(), manifest, target))
    if done.new:
        _analyze(engine)
    with engine.connect() as connection:
        new = sorted(all_models(connection) - known)
    return replace(done, new_models=tuple(f"{family}/{name}" for family, name in new))


def _read(
    what: What,
    data: Path | None,
    manifest: Manifest,
    target: Target,
    documents: list[tuple[int, int]],
    folder: Path,
) -> Callable[[], Iterator[Unit]]:
    """What gives the units of a file, or of all files of a manifest. Tables are read at once, as columns."""
    place = Placement.of(manifest, target)
    path = data if data is not None else folder / (manifest.path or "")
    if kind_of(path) in _TABLES:
        measures = ("kl",) if what == "kl" else SCORES
        table = read_table(path, [manifest.columns.get(key, key) for key in NAME_KEYS])
        return partial(table_units, table, manifest, place, documents, measures)
    if kind_of(path) != ".npy" and (data is not None or manifest.path):
        raise BadManifest(f"{path} is none of .npy, .parquet, .csv, .tsv, and no manifest (.toml).")
    return partial(matrices.kl_units if what == "kl" else matrices.score_units, manifest, place, folder, data)


def _analyze(engine: Engine) -> None:
    """Tell the planner what the tables hold now, outside the transaction that filled them."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in _FILLED:
            connection.execute(text(f"analyze warehouse.{table}"))
