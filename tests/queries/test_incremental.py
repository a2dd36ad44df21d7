"""Layers and comparisons come in any order: the sums are those of a warehouse that was loaded at once."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from queries.refresh import refresh
from tests.contents import frame
from tests.queries.measured import Measured, add_seed, load_layer, measure, model_key
from warehouse.annotations import drop_layer
from warehouse.database import Database

SUMS = {
    "convergence_summary": "c.kind, c.model, c.step from {} as s "
    "inner join analysis.comparisons as c using (comparison_id)",
    "score_summary": "e.model, e.seed, e.step from {} as s inner join analysis.evaluations as e using (evaluation_id)",
}


def late_layer(held: Measured) -> None:
    held.layers["late"] = (np.arange(len(held.documents)) % 5 - 1).astype(np.int32)
    with held.database.engine().begin() as connection:
        load_layer(connection, held, "late")


def layer_of_one_model(held: Measured) -> None:
    held.layers["own"] = (np.arange(len(held.documents)) // 7 % 3).astype(np.int32)
    with held.database.engine().begin() as connection:
        load_layer(connection, held, "own", model_id=model_key(connection, "large"))


def replaced_layer(held: Measured) -> None:
    with held.database.engine().begin() as connection:
        drop_layer(connection, held.corpus_id, "word_class")
        load_layer(connection, held, "word_class")


def fourth_seed(held: Measured) -> None:
    with held.database.engine().begin() as connection:
        add_seed(connection, held, "large", 3)


STEPS: tuple[Callable[[Measured], None], ...] = (late_layer, layer_of_one_model, replaced_layer, fourth_seed)


def loaded(database: Database, order: tuple[Callable[[Measured], None], ...]) -> dict[str, pd.DataFrame]:
    """All sums by natural keys, after steps in an order; a refresh finds nothing to change."""
    held = measure(database, models=("small", "large"), steps=(0, 16), n_tokens=700, unmeasured=("kl", "scores"))
    for step in order:
        step(held)
    with database.connect() as connection:
        changes = refresh(connection)
    assert not any(change.changed or change.added or change.removed for change in changes)
    return {
        table: _by_names(
            frame(
                database,
                f"select l.name as layer, s.*, {names.format(f'warehouse.{table}')} "
                "inner join warehouse.annotation_layer as l using (layer_id)",
            )
        )
        for table, names in SUMS.items()
    }


def _by_names(table: pd.DataFrame) -> pd.DataFrame:
    table = table.drop(columns=[name for name in table if name.endswith("_id") and name != "category_id"])
    keys = [name for name in ("layer", "category_id", "kind", "model", "seed", "step") if name in table]
    return table.set_index(keys).sort_index()


@pytest.fixture(scope="module")
def at_once(module_database: Database) -> dict[str, pd.DataFrame]:
    """The sums where the seed came before all late layers."""
    return loaded(module_database, STEPS[::-1])


@pytest.mark.parametrize("order", list(permutations(STEPS))[::7], ids=lambda order: " ".join(s.__name__ for s in order))
def test_sums_do_not_depend_on_the_order_in_which_things_came(
    database: Database, at_once: dict[str, pd.DataFrame], order: tuple[Callable[[Measured], None], ...]
) -> None:
    for table, sums in loaded(database, order).items():
        assert len(sums) > 50
        # To the last bit: the same arrays are added in the same order, whoever reads them.
        pd.testing.assert_frame_equal(sums, at_once[table], check_exact=True)
