"""Layers: what is refused, what is kept of them, and that nothing is lost when other sessions load at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection

from tests.contents import findings, frame
from tests.queries.measured import Measured, add_run, evaluation_ids, load_evaluation, load_pair, measure, model_key
from warehouse.annotations import BadAnnotation, drop_layer, layer_names, layer_source, load_layer
from warehouse.comparisons import derive
from warehouse.database import Database
from warehouse.layer import TOTAL, Category, Layer
from warehouse.ledger import declare_comparisons
from warehouse.pairs import outdated
from warehouse.values import CorpusValues


@pytest.fixture
def measured(database: Database) -> Measured:
    """Two models of three seeds and two steps, all of it loaded."""
    return measure(database, steps=(0, 16))


def layer_of(measured: Measured, name: str = "late", size: int = 3, seed: int = 5, **changes: Any) -> Layer:
    """Values at random, with gaps."""
    codes = np.random.default_rng(seed).integers(-1, size, len(measured.documents)).astype(np.int32)
    codes[:size] = np.arange(size)
    values: dict[str, Any] = {
        "name": name,
        "kind": "categorical",
        "categories": tuple(Category(f"value {number}") for number in range(size)),
        "codes": codes,
        "numbers": None,
        "source": "chance",
        "description": "drawn at random",
        **changes,
    }
    return Layer(**values)


def load(measured: Measured, layer: Layer, **options: Any) -> int:
    with measured.database.engine().begin() as connection:
        return load_layer(connection, measured.corpus_id, layer, **options)


def model_id(measured: Measured, name: str) -> int:
    with measured.database.engine().connect() as connection:
        return model_key(connection, name)


def sums(measured: Measured, layer: str) -> list[list[Any]]:
    """Both kinds of summaries of a layer, without ids."""
    found = []
    for table, unit in (("convergence_summary", "comparison_id"), ("score_summary", "evaluation_id")):
        query = f"""
        select summary.* from warehouse.{table} as summary
        inner join warehouse.annotation_layer as layer using (layer_id)
        where layer.name = %s order by {unit}, category_id
        """
        found.append(frame(measured.database, query, layer).drop(columns="layer_id").astype(str).to_numpy().tolist())
    return found


def test_a_layer_loaded_before_or_after_gives_the_same_sums(database: Database, other_database: Database) -> None:
    measured = measure(database, steps=(0, 16))
    load(measured, layer_of(measured, "pos again", codes=measured.layers["pos"], size=6))
    before, after = sums(measured, "pos"), sums(measured, "pos again")
    assert before == after
    assert all(len(rows) > 20 for rows in before)
    assert findings(database) == {}


def test_a_layer_of_one_model_is_summarised_for_that_model(measured: Measured) -> None:
    load(measured, layer_of(measured), model_id=model_id(measured, "large"))
    for view in ("conditional_convergence", "conditional_surprisal"):
        query = f"select distinct model from analysis.{view} where layer = 'late'"
        assert frame(measured.database, query).to_numpy().tolist() == [["large"]]
    assert findings(measured.database) == {}


def test_layers_of_one_name_may_belong_to_different_models(measured: Measured) -> None:
    for seed, owner in enumerate(("small", "large")):
        load(measured, layer_of(measured, seed=seed), model_id=model_id(measured, owner))
    load(measured, layer_of(measured, seed=3))
    with measured.database.engine().connect() as connection:
        assert "late" in layer_names(connection, measured.corpus_id)
        assert layer_names(connection, measured.corpus_id, model_id(measured, "small")) == {"late"}
        assert layer_source(connection, measured.corpus_id, "late", model_id(measured, "large")) == "chance"
        assert layer_source(connection, measured.corpus_id, "never") is None


def test_a_layer_with_numbers_keeps_them_and_its_bounds(measured: Measured) -> None:
    numbers = np.linspace(0, 5, len(measured.documents), dtype=np.float32)
    numbers[3] = np.nan
    categories = (Category("low", None, 0.0, 1.0), Category("mid", 2.0, 1.0, 2.0), Category("high", None, 2.0, None))
    load(measured, layer_of(measured, kind="numeric", numbers=numbers, categories=categories))
    query = "select value, lower, upper, n_tokens from warehouse.annotation_category as c inner join "
    query += "warehouse.annotation_layer as l using (layer_id) where l.name = 'late' order by category_id"
    stored = frame(measured.database, query)
    assert stored["value"].tolist() == ["low", "mid", "high"]
    assert stored["lower"].tolist() == [0, 1, 2]
    assert stored["upper"].tolist()[:2] == [1, 2]
    assert np.isnan(stored["upper"].iloc[2])
    counted = np.bincount(layer_of(measured).codes + 1)[1:]
    assert stored["n_tokens"].tolist() == counted.tolist()
    told = frame(measured.database, "select token_id, value_number from token_annotation where layer = 'late'")
    at = told.set_index("token_id")["value_number"]
    assert at[measured.first_token_id + 10] == pytest.approx(float(numbers[10]))


def test_a_layer_of_more_than_a_thousand_values_has_no_sums(database: Database) -> None:
    measured = measure(database, models=("small",), steps=(0,), n_tokens=1300)
    for size, rows in ((1001, 0), (1000, 1000)):
        codes = (np.arange(1300) % size).astype(np.int32)
        load(measured, layer_of(measured, f"of {size}", size=size, codes=codes))
        query = """
        select count(distinct category_id) from warehouse.score_summary
        inner join warehouse.annotation_layer as l using (layer_id) where l.name = %s
        """
        assert frame(database, query, f"of {size}").iloc[0, 0] == rows
    assert findings(database) == {}


def test_a_dropped_layer_leaves_nothing(measured: Measured) -> None:
    tables = ("annotation_layer", "annotation_category", "annotation_chunk", "convergence_summary", "score_summary")
    queries = [f"select count(*) from warehouse.{table}" for table in tables]
    before = [frame(measured.database, query).iloc[0, 0] for query in queries]
    load(measured, layer_of(measured))
    assert all(frame(measured.database, query).iloc[0, 0] > n for query, n in zip(queries, before, strict=True))
    with measured.database.engine().begin() as connection:
        drop_layer(connection, measured.corpus_id, "late")
    assert [frame(measured.database, query).iloc[0, 0] for query in queries] == before


def test_a_replaced_layer_is_as_if_the_first_had_never_been(measured: Measured) -> None:
    load(measured, layer_of(measured, seed=1))
    with pytest.raises(BadAnnotation, match="has a layer late already"):
        load(measured, layer_of(measured, seed=2))
    load(measured, layer_of(measured, seed=2), replace=True)
    replaced = sums(measured, "late")
    load(measured, layer_of(measured, "fresh", seed=2))
    assert sums(measured, "fresh") == replaced


def test_what_does_not_fit_its_corpus_is_refused(measured: Measured) -> None:
    n = len(measured.documents)
    refused = [
        (layer_of(measured, codes=np.zeros(n - 1, np.int32)), None, f"has {n - 1} tokens, but corpus prose has {n}"),
        (layer_of(measured, codes=np.full(n, 3, np.int32)), None, "has 3 categories, but codes from 3 to 3"),
        (layer_of(measured, codes=np.full(n, -1, np.int32)), None, "gives no token of corpus prose a value"),
        (layer_of(measured, TOTAL), model_id(measured, "small"), "The name all is the layer of all tokens"),
        (layer_of(measured, TOTAL), None, "has a layer all already"),
    ]
    before = frame(measured.database, "select count(*) from warehouse.annotation_layer").iloc[0, 0]
    for layer, owner, message in refused:
        with pytest.raises(BadAnnotation, match=message):
            load(measured, layer, model_id=owner)
    assert frame(measured.database, "select count(*) from warehouse.annotation_layer").iloc[0, 0] == before


# --- at the same time ------------------------------------------------------------------------------------------------


def add_seed(connection: Connection, measured: Measured) -> None:
    """Score a fourth seed of the small model, pair it, and derive what changes."""
    random, values = np.random.default_rng(9), CorpusValues(measured.corpus_id)
    model = model_key(connection, "small")
    add_run(connection, measured, model, 3)
    ids = evaluation_ids(connection, measured)
    for step in measured.steps:
        load_evaluation(connection, measured, values, ("small", 3, step), ids["small", 3, step], random)
        for seed in measured.seeds:
            p, q = ("small", 3, step), ("small", seed, step)
            for pair in ((p, q), (q, p)):
                load_pair(connection, measured, ids, pair, random)
    declare_comparisons(connection, measured.corpus_id, measured.protocol_id, [])
    for comparison_id in outdated(connection, measured.corpus_id, measured.protocol_id, model):
        derive(connection, comparison_id, values)


def add_layer(connection: Connection, measured: Measured) -> None:
    load_layer(connection, measured.corpus_id, layer_of(measured))


def waiting(database: Database) -> bool:
    """Whether a session waits for an advisory lock of this database."""
    query = """
    select 1 from pg_locks
    where locktype = 'advisory' and not granted
        and database = (select oid from pg_database where datname = current_database())
    """
    return len(frame(database, query)) > 0


@pytest.mark.parametrize(("first", "second"), [(add_seed, add_layer), (add_layer, add_seed)])
def test_a_layer_and_a_seed_loaded_at_once_lose_nothing(
    measured: Measured,
    first: Callable[[Connection, Measured], None],
    second: Callable[[Connection, Measured], None],
) -> None:
    failures: list[BaseException] = []

    def late() -> None:
        try:
            with measured.database.engine().begin() as connection:
                second(connection, measured)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=late)
    with measured.database.engine().begin() as connection:
        first(connection, measured)
        # The second begins before the first ends, and has to wait for it.
        thread.start()
        while not waiting(measured.database) and thread.is_alive():
            time.sleep(0.01)
        assert thread.is_alive()
    thread.join(60)
    assert failures == []
    parts = frame(
        measured.database,
        "select n_seeds, count(*) as n from analysis.conditional_convergence "
        "where layer = 'late' and model = 'small' and kind = 'seed' group by 1",
    )
    assert parts.to_numpy().tolist() == [[4, 6]]
    scored = "select count(*) from analysis.conditional_surprisal where layer = 'late' and seed = 3"
    assert frame(measured.database, scored).iloc[0, 0] == 6
    # The other kinds miss the new seed's pairs, which nobody measured.
    assert findings(measured.database) == {}


def test_two_seeds_loaded_at_once_are_both_in_the_comparison(measured: Measured) -> None:
    """Units share a corpus; whoever derives last sees the pairs of both."""
    started, failures = threading.Barrier(2), list[BaseException]()
    with measured.database.engine().begin() as connection:
        for seed in (3, 4):
            add_run(connection, measured, model_key(connection, "small"), seed)
        ids = evaluation_ids(connection, measured)
        # Evaluations of a corpus with items come one after another.
        for table in ("paradigm_divergence", "paradigm_score", "item", "paradigm"):
            connection.exec_driver_sql(f"delete from warehouse.{table}")

    def one(seed: int) -> None:
        try:
            values, random = CorpusValues(measured.corpus_id), np.random.default_rng(seed)
            with measured.database.engine().begin() as connection:
                p, q = ("small", seed, 16), ("small", 0, 16)
                load_evaluation(connection, measured, values, p, ids[p], random)
                load_pair(connection, measured, ids, (p, q), random)
                started.wait(30)
                model = model_key(connection, "small")
                for comparison_id in outdated(connection, measured.corpus_id, measured.protocol_id, model):
                    derive(connection, comparison_id, values)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(seed,)) for seed in (3, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    query = "select seeds, n_pairs from analysis.comparisons where kind = 'seed' and step = 16 and model = 'small'"
    assert frame(measured.database, query).to_numpy().tolist() == [[[0, 1, 2, 3, 4], 6 + 2]]
