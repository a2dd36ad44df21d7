"""The study that is broken off in these tests, and traces of its finished units."""

from __future__ import annotations

from pathlib import Path

from ingest.study import Study
from tests.ingested import rows
from warehouse.database import Database

SEEDS, STEPS = (0, 1), (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
N_CHECKPOINTS = len(SEEDS) * len(STEPS)

#: Rows that a finished unit consists of, by the table they are in.
_UNITS = {
    "evaluation": "where status = 'complete'",
    "score_chunk": "",
    "reference_chunk": "",
    "comparison_pair": "",
    "divergence_chunk": "",
    "document_score_chunk": "",
    "document_divergence_chunk": "",
}


def as_file(study: Study, file: Path) -> Path:
    """Write a study as a user would."""
    layers = ", ".join(f'"{layer}"' for layer in study.layers)
    kinds = ", ".join(f'"{kind}"' for kind in study.kinds)
    references = "".join(f'[references.{each.name}]\ntext = "{each.text}"\n' for each in study.references)
    file.write_text(
        f'root = "{study.root}"\nfamily = "{study.family}"\nlayers = [{layers}]\nkinds = [{kinds}]\n'
        f"seeds = {list(study.seeds)}\n"
        f'[corpus]\npath = "{study.corpus.path}"\nname = "{study.corpus.name}"\n'
        f"[protocol]\nwindow = {study.protocol.window}\n{references}"
    )
    return file


def traces(database: Database) -> set[tuple[object, ...]]:
    """Every row of a finished unit: where it lies and which transaction wrote it, as both change with every writing."""
    return {
        (table, *row)
        for table, condition in _UNITS.items()
        for row in rows(database, f"select ctid::text, xmin::text from warehouse.{table} {condition}")
    }
