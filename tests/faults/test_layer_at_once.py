"""Layers and comparisons that are loaded at the same time lose nothing of each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sqlalchemy import Connection

from tests.contents import findings, frame
from tests.faults.conftest import Workplace
from tests.ingested import rows
from warehouse.annotations import load_layer
from warehouse.database import Database
from warehouse.layer import Category, Layer
from warehouse.writer import Writer

N_LAYERS = 4
#: For each table of sums: the single values that are summed, and the sums.
_SUMS = {
    "convergence_summary": (
        "select comparison_id as unit, token_id, -convergence as value from analysis.token_convergence",
        "select comparison_id as unit, category_id, n, sum_kl as total",
    ),
    "score_summary": (
        "select evaluation_id as unit, token_id, surprisal as value from analysis.token_score",
        "select evaluation_id as unit, category_id, n, sum_surprisal as total",
    ),
}


def test_layers_loaded_while_an_ingester_loads_comparisons_have_every_summary(
    workplace: Workplace, study_file: Path
) -> None:
    ingester = workplace.ingest(study_file, rest=0.2)
    ingester.wait_until(lambda: workplace.n_evaluations() > 0)
    [(corpus_id, n_tokens, first)] = rows(
        workplace.database, "select corpus_id, n_tokens, first_token_id from warehouse.corpus"
    )
    layers = {}
    writer = Writer(workplace.database, workplace.database.engine(), 0)

    def load(layer: Layer, connection: Connection) -> int:
        """Load a layer, and commit it only when the ingester has something to load at the same time."""
        before = workplace.n_evaluations()
        layer_id = load_layer(connection, corpus_id, layer)
        ingester.wait_until(lambda: is_waited_for(workplace.database) or workplace.n_evaluations() > before)
        return layer_id

    for number in range(N_LAYERS):
        codes = np.random.default_rng(number).integers(0, 3, n_tokens, dtype=np.int32)
        layers[writer.commit(partial(load, dice(number, codes)))] = codes

    ingester.succeed()

    assert findings(workplace.database) == {}
    for table, (values, totals) in _SUMS.items():
        tokens = frame(workplace.database, values)
        for layer_id, codes in layers.items():
            actual = frame(workplace.database, f"{totals} from warehouse.{table} where layer_id = %s", layer_id)
            assert_sums(actual, tokens, codes[tokens["token_id"] - first])


def assert_sums(actual: pd.DataFrame, tokens: pd.DataFrame, codes: NDArray[np.int32]) -> None:
    """Every unit has the count and the sum of its tokens' values for every face."""
    grouped = tokens.groupby([tokens["unit"], codes])["value"]
    expected = pd.DataFrame({"n": grouped.size(), "total": grouped.sum()}).rename_axis(["unit", "category_id"])
    pd.testing.assert_frame_equal(
        actual.sort_values(["unit", "category_id"], ignore_index=True),
        expected.reset_index(),
        check_dtype=False,
        rtol=1e-6,
    )


def is_waited_for(database: Database) -> bool:
    """Whether a session of the database waits for a lock that another one holds."""
    waiting = "select 1 from pg_locks inner join pg_stat_activity using (pid) where not granted "
    return bool(rows(database, waiting + "and datname = current_database()"))


def dice(number: int, codes: NDArray[np.int32]) -> Layer:
    """A layer that means nothing."""
    categories = tuple(Category(str(face)) for face in range(3))
    return Layer(f"dice {number}", "categorical", categories, codes, None, "dice", "thrown for each token")
