"""Conditional convergence and surprisal from facts: what stored sums say, and what they cannot say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.contents import frame
from tests.queries.measured import Measured, load_layer, measure, model_key
from tests.queries.test_plans import nodes
from warehouse.database import Database

VIEWS = {"conditional_convergence": "comparison_id", "conditional_surprisal": "evaluation_id"}


def same(stored: pd.DataFrame, exact: pd.DataFrame) -> None:
    """Every column alike, numbers to a millionth."""
    assert len(stored) > 0
    pd.testing.assert_frame_equal(exact, stored, rtol=1e-6, atol=0)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("layer", ["pos", "word_class"])
def test_facts_say_what_stored_sums_say_in_every_column(measured: Measured, view: str, layer: str) -> None:
    query = "select * from {} where layer = %s order by {}, value"
    stored, exact = (
        frame(measured.database, query.format(f"analysis.{name}", VIEWS[view]), layer)
        for name in (view, f"{view}_exact")
    )
    same(stored, exact)
    if view == "conditional_convergence":
        assert set(exact["kind"]) == {"seed", "step", "final"}
        assert exact.loc[exact["kind"] == "seed", "se_seed"].notna().all()


@pytest.mark.parametrize(("seeds", "n_documents"), [((0, 1, 2), 12), ((0, 1), 3)])
def test_few_seeds_and_few_documents_are_treated_alike(
    database: Database, seeds: tuple[int, ...], n_documents: int
) -> None:
    gaps = ("kl", "scores")
    held = measure(database, seeds=seeds, n_documents=n_documents, n_tokens=900, models=("small",), unmeasured=gaps)
    held.layers["own"] = (np.arange(900) % 4 - 1).astype(np.int32)
    with database.engine().begin() as connection:
        load_layer(connection, held, "own", model_id=model_key(connection, "small"))
    for view, key in VIEWS.items():
        queries = [f"select * from analysis.{name} order by {key}, layer, value" for name in (view, f"{view}_exact")]
        same(*(frame(database, query) for query in queries))


def test_a_layer_of_too_many_values_for_sums_is_answered_from_facts(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(0,), n_tokens=1300)
    held.layers["rare"] = (np.arange(1300) % 1001).astype(np.int32)
    with database.engine().begin() as connection:
        load_layer(connection, held, "rare")
    assert not len(frame(database, "select 1 from analysis.conditional_convergence where layer = 'rare'"))
    found = frame(
        database,
        "select value, n_tokens, convergence, n_pairs from analysis.conditional_convergence_exact where layer = 'rare'",
    ).set_index("value")
    kl = np.mean([held.kl[pair] for pair in held.members("seed", "small", 0)], 0, np.float64)
    wanted = pd.Series(-kl).groupby([f"rare {code}" for code in held.layers["rare"]]).agg(["mean", "size"])
    assert len(found) == len(wanted) == 1001
    assert (found["n_pairs"] == 6).all()
    np.testing.assert_allclose(found["convergence"], wanted["mean"].loc[found.index], rtol=1e-12)
    np.testing.assert_array_equal(found["n_tokens"], wanted["size"].loc[found.index])


@pytest.mark.parametrize(
    ("view", "function", "condition", "calls"),
    [
        ("conditional_convergence_exact", "convergence_sums", "kind = 'seed' and model = 'small' and step = 16", 1),
        (
            "conditional_convergence_exact",
            "convergence_sums",
            "kind = 'seed' and model = 'small' and value = 'pos 1'",
            3,
        ),
        ("conditional_surprisal_exact", "score_sums", "model = 'large' and seed = 2", 3),
    ],
)
def test_conditions_decide_which_facts_are_read(
    measured: Measured, view: str, function: str, condition: str, calls: int
) -> None:
    """A call reads the facts of one comparison or evaluation."""
    query = f"explain (analyze, format json) select * from {view} where layer = 'pos' and {condition}"
    with measured.database.read() as reader:
        row = reader.execute(query.encode()).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    [loops] = [node["Actual Loops"] for node in nodes(plan) if node.get("Function Name") == function]
    assert loops == calls
