"""Two-way tables: against pandas on the tall views, and how PostgreSQL reads for them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.queries.measured import Measured, load_layer, model_key
from tests.queries.test_plans import nodes

COMPARISON = ["kind", "corpus", "protocol", "run_set", "family", "model", "step", "model_q", "step_q"]
EVALUATION = ["corpus", "protocol", "family", "model", "seed", "step"]
FUNCTIONS = {
    "conditional_convergence_by": ("conditional_convergence", "convergence_chunk", "comparison_id"),
    "conditional_surprisal_by": ("conditional_surprisal", "score_chunk", "evaluation_id"),
}


def ask(measured: Measured, query: str) -> pd.DataFrame:
    with measured.database.read() as reader:
        cursor = reader.execute(query.encode())
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()])


def values(measured: Measured) -> pd.DataFrame:
    """One row a token that has a value of both layers: they, and its cluster."""
    annotation = ask(measured, "select token_id, layer, value from token_annotation where model is null")
    wide = annotation.pivot(index="token_id", columns="layer", values="value")[["pos", "word_class"]].dropna()
    wide.columns = pd.Index(["value_a", "value_b"])
    wide["document"] = measured.clusters[wide.index - measured.first_token_id]
    return wide.reset_index()


def ratio_error(x: Any, cluster: Any) -> float:
    """docs/methods.md §3: the ratio estimator over D clusters; NaN below five."""
    totals = pd.DataFrame({"x": x, "n": 1, "d": cluster}).groupby("d").sum()
    d, residual = len(totals), totals["x"] - x.mean() * totals["n"]
    return float(np.sqrt(d / (d - 1) * (residual**2).sum()) / len(x)) if d >= 5 else np.nan


def expected(facts: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    group = facts.groupby([*keys, "value_a", "value_b"])
    columns = {
        "n_tokens": group.size(),
        value: group[value].mean(),
        "sd_tokens": group[value].std(ddof=1),
        "n_clusters": group["document"].nunique(),
        "se_document": group.apply(lambda part: ratio_error(part[value], part["document"]), include_groups=False),
    }
    return pd.DataFrame(columns).sort_index()


def assert_equal(actual: pd.DataFrame, wanted: pd.DataFrame) -> None:
    assert len(wanted) > 20
    actual = actual.set_index(list(wanted.index.names)).sort_index()[wanted.columns]
    pd.testing.assert_frame_equal(actual, wanted, check_dtype=False, check_index_type=False, rtol=1e-6, atol=1e-12)


def test_convergence_by_two_layers_is_the_mean_over_tokens_with_both_values(measured: Measured) -> None:
    facts = ask(measured, "select * from token_convergence").dropna(subset="convergence")
    wanted = expected(facts.merge(values(measured), on="token_id"), COMPARISON, "convergence")
    assert_equal(ask(measured, "select * from conditional_convergence_by('pos', 'word_class')"), wanted)


def test_surprisal_by_two_layers_is_the_mean_over_tokens_with_both_values(measured: Measured) -> None:
    facts = ask(measured, "select * from token_score").merge(values(measured), on="token_id")
    facts["accuracy"] = facts["rank"] == 1
    wanted = expected(facts, EVALUATION, "surprisal")
    group = facts.groupby([*EVALUATION, "value_a", "value_b"])
    wanted = wanted.assign(entropy=group["entropy"].mean(), accuracy=group["accuracy"].mean())
    assert_equal(ask(measured, "select * from conditional_surprisal_by('pos', 'word_class')"), wanted)


def test_what_some_tokens_lack_is_not_known_for_their_values(measured: Measured) -> None:
    query = b"""
        select value_a = 'pos ' || %s and value_b = 'word_class ' || %s as lacks, surprisal, entropy, accuracy
        from analysis.conditional_surprisal_by('pos', 'word_class')
        where model = 'small' and seed = 0 and step = 16
    """
    chunk = measured.first_token_id // 256
    both = np.array([measured.layers[layer] for layer in ("pos", "word_class")])
    place = int(np.flatnonzero((both[:, :256] >= 0).all(0))[0])
    codes = both[:, place].tolist()
    with measured.database.connect() as connection:
        change = "update warehouse.score_chunk set entropy[%s] = null where chunk_id = %s"
        connection.execute(change, [place + 1, chunk])
        rows = connection.execute(query, codes).fetchall()
        connection.rollback()
    assert {(lacks, entropy is None) for lacks, _, entropy, _ in rows} == {(True, True), (False, False)}
    assert all(surprisal > 0 and accuracy is not None for _, surprisal, _, accuracy in rows)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_layer_by_all_tokens_is_the_one_way_view(measured: Measured, function: str) -> None:
    view, _, key = FUNCTIONS[function]
    measure = "convergence" if "convergence" in view else "surprisal"
    columns = f"{key}, n_tokens, {measure}, se_document, sd_tokens"
    two = ask(measured, f"select value_a as value, {columns} from {function}('pos', 'all') order by 1, 2")
    one = ask(measured, f"select value, {columns} from {view} where layer = 'pos' order by 1, 2")
    assert len(one) > 10
    pd.testing.assert_frame_equal(two, one, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_unknown_layer_has_no_rows(measured: Measured, function: str) -> None:
    assert ask(measured, f"select * from {function}('pos', 'pso')").empty


@pytest.mark.parametrize("function", FUNCTIONS)
def test_conditions_decide_which_facts_are_read(measured: Measured, function: str) -> None:
    _, table, key = FUNCTIONS[function]
    query = f"select * from {function}('pos', 'word_class') where model = 'small' and step = 16"
    with measured.database.read() as reader:
        reader.execute("set local enable_seqscan = off")
        reader.execute("set local enable_hashjoin = off")
        reader.execute("set local enable_mergejoin = off")
        row = reader.execute(f"explain (analyze, timing off, format json) {query}".encode()).fetchone()
        counted = reader.execute(f"select count(distinct {key}) from ({query}) as answer".encode()).fetchone()
    assert row is not None
    assert counted is not None
    found = list(nodes(row[0][0]["Plan"] if isinstance(row[0], list) else json.loads(row[0])[0]["Plan"]))
    # The function is taken into the query, whose conditions lead to the keys of the facts.
    assert function not in [node.get("Function Name") for node in found]
    (scan,) = [node for node in found if node.get("Relation Name") == table]
    assert f"({key} = " in scan.get("Index Cond", scan.get("Recheck Cond"))
    chunks = -(-len(measured.documents) // 256)
    assert scan["Actual Loops"] * scan["Actual Rows"] == counted[0] * chunks


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_column_is_explained(measured: Measured, function: str) -> None:
    query = "select proargnames, proargmodes, obj_description(oid, 'pg_proc') from pg_proc where proname = "
    [(names, modes, comment)] = ask(measured, f"{query} '{function}'").to_numpy().tolist()
    columns = [name for name, mode in zip(names, modes, strict=True) if mode == "t"]
    assert len(columns) > 15
    assert [name for name in columns if name not in comment] == []


def test_a_models_own_layer_comes_before_that_of_every_model(measured: Measured) -> None:
    """Made in a transaction that is taken back, for other tests read the same database."""
    with measured.database.engine().connect() as connection:
        codes = measured.layers["pos"]
        try:
            measured.layers["pos"] = np.where(codes == 0, -1, codes).astype(np.int32)
            load_layer(connection, measured, "pos", model_id=model_key(connection, "small"))
        finally:
            measured.layers["pos"] = codes
        query = "select model, array_agg(distinct value_a) from analysis.{}('pos', 'all') group by 1 order by 1"
        for function in FUNCTIONS:
            rows = dict(connection.exec_driver_sql(query.format(function)).all())  # type: ignore[arg-type]
            assert "pos 0" in rows["large"]
            assert "pos 0" not in rows["small"]
            assert len(rows["small"]) == len(rows["large"]) - 1
        connection.rollback()
