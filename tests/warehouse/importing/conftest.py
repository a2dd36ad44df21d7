"""A warehouse that holds a corpus with layers and no measurement, and files to be imported into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.contents import frame
from tests.queries.measured import Measured, measure
from warehouse.database import Database

N_TOKENS = 600
SEEDS, STEPS = (0, 1, 2), (0, 8, 64)
Side = tuple[str, int, int]  # model, seed, step

#: Options that say what a manifest would.
SAID = ("--corpus", "prose", "--protocol", "lab", "--origin", "another lab", "--family", "toy")


@dataclass(frozen=True)
class Bare:
    """A corpus without measurements, and the database that holds it."""

    database: Database
    held: Measured

    def frame(self, query: str, *parameters: object) -> pd.DataFrame:
        """The result of a query."""
        return frame(self.database, query, *parameters)

    def counts(self) -> dict[str, int]:
        """Rows of each table that an import writes to."""
        tables = (
            *("model", "run", "checkpoint", "protocol", "environment", "evaluation", "comparison_pair"),
            *("divergence_chunk", "score_chunk", "comparison", "convergence_summary", "checkpoint_metric"),
        )
        return {table: int(self.frame(f"select count(*) as n from warehouse.{table}")["n"][0]) for table in tables}


@pytest.fixture
def bare(named_database: Database) -> Bare:
    """A corpus of 600 tokens in ten documents, on the database that commands open."""
    return Bare(named_database, measure(named_database, n_tokens=N_TOKENS, n_documents=10, models=()))


def kl_of(p: Side, q: Side, n: int = N_TOKENS) -> NDArray[np.float64]:
    """[n] made-up KL of a pair, the same each time and another for each pair."""
    random = np.random.default_rng([p[1], p[2], q[1], q[2], len(p[0]), len(q[0])])
    return random.gamma(2.0, 0.2 + 0.01 * p[2], n)


def long_table(values: Mapping[tuple[Side, Side], NDArray[np.float64]], **columns: Any) -> pd.DataFrame:
    """A row for each pair and position. columns: further ones, each an array over positions."""
    frames = []
    for (p, q), kl in values.items():
        names = {f"{side}_{key}": value for side, each in (("p", p), ("q", q)) for key, value in _named(each)}
        frames.append(pd.DataFrame({**names, "position": np.arange(len(kl)), "kl": kl, **columns}))
    return pd.concat(frames, ignore_index=True)


def _named(side: Side) -> list[tuple[str, Any]]:
    return list(zip(("model", "seed", "step"), side, strict=True))


def pairs_of_steps() -> dict[tuple[Side, Side], NDArray[np.float64]]:
    """Each seed's three steps, each against the next."""
    sides = [[("small", seed, step) for step in STEPS] for seed in SEEDS]
    return {(p, q): kl_of(p, q) for run in sides for p, q in pairwise(run)}


def write(path: Path, table: pd.DataFrame) -> Path:
    """Write a table as its path's suffix says."""
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path
