"""Relative divergence, its tests and outliers against numpy, scipy and pandas on the tokens themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from tests.queries.rows import (
    Connection,
    Text,
    add_comparison,
    add_layer,
    add_model,
    add_text,
    insert_many,
    summary,
)
from warehouse.database import Database

N_DOCUMENTS = 24
#: Values of a layer with the factor by which their tokens differ more than others.
FACTORS = {
    "determiner": 0.3,
    "noun": 1.1,
    "verb": 1.4,
    "adjective": 1.0,
    "adverb": 1.0,
    "name": 1.8,
    "number": 2.5,
    "particle": 0.7,
    "rare": 9.0,
    "silent": 0.0,
}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def random_tokens(seed: int) -> pd.DataFrame:
    """Tokens of documents of unequal length and difficulty: document, value, half, kl (mean over pairs, nats).

    Value `rare` is in four documents, `silent` never diverges, and some tokens have no value.
    """
    random = np.random.default_rng(seed)
    documents = np.repeat(np.arange(N_DOCUMENTS), random.integers(20, 200, N_DOCUMENTS))
    common = [value for value in FACTORS if value != "rare"]
    values = np.where(random.random(len(documents)) < 0.05, "", random.choice(common, len(documents)))
    values = np.where((documents < 4) & (random.random(len(documents)) < 0.2), "rare", values)
    ease = random.lognormal(0, 0.4, N_DOCUMENTS)[documents]
    kl = random.exponential(0.2, len(documents)) * ease * [FACTORS.get(value, 1.0) for value in values]
    halves = random.choice(["one", "two"], len(documents))
    return pd.DataFrame({"document": documents, "value": values, "half": halves, "kl": kl})


def store(
    connection: Connection, text: Text, tokens: pd.DataFrame, comparison: int, layers: dict[str, tuple[int, list[str]]]
) -> None:
    """Summaries of a comparison; layers: column of `tokens` to key and values of the layer."""
    in_all = tokens.groupby("document")["kl"].agg(["sum", "count"])
    parts = [(text.total_layer, 0, tokens)]
    for column, (layer, values) in layers.items():
        parts += [(layer, number, tokens[tokens[column] == value]) for number, value in enumerate(values)]
    rows = []
    for layer, category, part in parts:
        own = part.groupby("document")["kl"].agg(["sum", "count"])
        total = in_all.loc[own.index]
        sums = {
            f"{kind}_{x}{y}": float((own[column_x] * other[column_y]).sum())
            for kind, other in (("cluster", own), ("cross", total))
            for x, column_x in (("x", "sum"), ("n", "count"))
            for y, column_y in (("x", "sum"), ("n", "count"))
            if f"{kind}_{x}{y}" != "cluster_nx"
        }
        sums |= {"clusters": len(own), "n": len(part), "sum_kl": float(part["kl"].sum())}
        rows.append(summary(comparison, layer, category, **sums))
    insert_many(connection, "convergence_summary", rows)


def oracle(tokens: pd.DataFrame, column: str, min_clusters: int = 5) -> pd.DataFrame:
    """Relative divergence of each value from the tokens, by residuals of one document at a time."""
    m = tokens["kl"].mean()
    rows = {}
    for value, part in tokens[tokens[column] != ""].groupby(column):
        sigma = part["kl"].mean() / m
        row = {"n_tokens": len(part), "n_clusters": part["document"].nunique(), "sigma": sigma}
        log_sigma = math.log(sigma) if sigma > 0 else math.nan
        se = math.nan
        if sigma > 0 and row["n_clusters"] >= min_clusters:
            residuals = []
            for document in range(N_DOCUMENTS):
                inside = tokens[tokens["document"] == document]
                of_value = inside.loc[inside[column] == value, "kl"]
                share = (of_value - part["kl"].mean()).sum() / part["kl"].sum()
                residuals.append(share - (inside["kl"] - m).sum() / tokens["kl"].sum())
            se = math.sqrt(row["n_clusters"] / (row["n_clusters"] - 1) * math.fsum(r * r for r in residuals))
        z = log_sigma / se
        p = 2 * scipy.stats.t.sf(abs(z), row["n_clusters"] - 1)
        rows[value] = row | {"log_sigma": log_sigma, "se_log_sigma": se, "z": z, "p_value": p}
    frame = pd.DataFrame.from_dict(rows, orient="index")
    tested = frame["p_value"].dropna()
    frame["q_value"] = pd.Series(scipy.stats.false_discovery_control(tested), index=tested.index)
    logs = frame["log_sigma"].dropna()
    # Counted are values with a logarithm, so nine of ten; a layer of two has no robust score.
    if len(logs) >= 8:
        spread = scipy.stats.median_abs_deviation(logs)
        frame["robust_score"] = 0.6745 * (logs - logs.median()) / spread
    else:
        frame["robust_score"] = math.nan
    return frame.sort_index()


@pytest.fixture
def tokens_of(connection: Connection, text: Text) -> dict[tuple[str, int], pd.DataFrame]:
    """Three comparisons over two layers: (kind, step) to the tokens that were summarised."""
    layers = {
        "value": (add_layer(connection, text.corpus_id, "value", dict.fromkeys(FACTORS, 1)), list(FACTORS)),
        "half": (add_layer(connection, text.corpus_id, "half", {"one": 1, "two": 1}), ["one", "two"]),
    }
    model = add_model(connection, text, "one")
    found = {}
    for number, (kind, step, step_q) in enumerate([("seed", 0, 0), ("seed", 64, 64), ("step", 64, 128)]):
        found[kind, step] = random_tokens(number)
        comparison = add_comparison(connection, text, model, step, kind=kind, step_q=step_q)
        store(connection, text, found[kind, step], comparison, layers)
    return found


def view(connection: Connection, name: str, kind: str, step: int, layer: str) -> pd.DataFrame:
    """Rows of a view of one comparison and layer, by value."""
    cursor = connection.execute(
        f"select * from analysis.{name} where kind = %s and step = %s and layer = %s".encode(), [kind, step, layer]
    )
    assert cursor.description
    frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
    return frame.set_index("value").sort_index()


def test_relative_divergence_equals_residuals_of_documents(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    for (kind, step), tokens in tokens_of.items():
        for layer in ("value", "half"):
            found = view(connection, "relative_divergence", kind, step, layer)
            expected = oracle(tokens, layer)
            pd.testing.assert_frame_equal(
                found[expected.columns].astype(float), expected.astype(float), check_names=False, rtol=1e-8, atol=1e-12
            )


def test_a_value_in_few_documents_and_one_without_divergence_are_not_tested(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    found = view(connection, "relative_divergence", "seed", 0, "value")
    assert found.loc["rare", "n_clusters"] == 4
    assert found.loc["rare", "sigma"] > 2
    assert found.loc["silent", "sigma"] == 0
    assert found.loc["silent", ["log_sigma", "robust_score"]].isna().all()
    assert found.loc[["rare", "silent"], ["se_log_sigma", "z", "p_value", "q_value"]].isna().all(axis=None)
    assert not found.drop(index=["rare", "silent"]).isna().any(axis=None)


def test_outliers_pass_every_threshold_of_the_settings(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    def expected(q: float, ratio: float, least_tokens: int) -> list[str]:
        frame = oracle(tokens_of["seed", 64], "value")
        far = frame["log_sigma"].abs() >= math.log(ratio)
        return frame.index[(frame["q_value"] <= q) & far & (frame["n_tokens"] >= least_tokens)].tolist()

    outliers = view(connection, "relative_divergence_outliers", "seed", 64, "value")
    assert outliers.index.tolist() == expected(0.05, 1.25, 30)
    assert {"determiner", "number"} <= set(outliers.index)
    assert not {"rare", "silent", "adverb"} & set(outliers.index)
    assert outliers["sigma"].tolist() == pytest.approx((outliers["mean_kl"] / outliers["total_mean_kl"]).tolist())
    few = int(outliers["n_tokens"].min())
    for setting, value, arguments in (
        ("outlier_q_value", 1e-4, (1e-4, 1.25, 30)),
        ("outlier_ratio", 2.0, (0.05, 2.0, 30)),
        ("outlier_min_tokens", few + 1, (0.05, 1.25, few + 1)),
    ):
        with connection.transaction(force_rollback=True):
            connection.execute(f"update warehouse.settings set {setting} = %s".encode(), [value])
            narrower = view(connection, "relative_divergence_outliers", "seed", 64, "value")
        assert narrower.index.tolist() == expected(*arguments)
        assert len(narrower) < len(outliers)


def test_the_least_number_of_documents_is_a_setting(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    connection.execute("update warehouse.settings set min_clusters = 4")
    found = view(connection, "relative_divergence", "seed", 0, "value")
    expected = oracle(tokens_of["seed", 0], "value", min_clusters=4)
    assert found.loc["rare", "se_log_sigma"] == pytest.approx(expected.loc["rare", "se_log_sigma"], rel=1e-9)
    assert found["q_value"].tolist() == pytest.approx(expected["q_value"].tolist(), rel=1e-8, nan_ok=True)


def test_of_an_even_number_of_values_the_median_lies_between_two(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    connection.execute("update warehouse.settings set robust_min_values = 2")
    found = view(connection, "relative_divergence", "seed", 0, "half")
    assert sorted(found["robust_score"]) == pytest.approx([-0.6745, 0.6745])


def test_models_that_never_differ_have_no_relative_divergence(connection: Connection, text: Text) -> None:
    tokens = random_tokens(0).assign(kl=0.0)
    layer = add_layer(connection, text.corpus_id, "value", dict.fromkeys(FACTORS, 1))
    comparison = add_comparison(connection, text, add_model(connection, text, "one"), 0)
    store(connection, text, tokens, comparison, {"value": (layer, list(FACTORS))})
    found = view(connection, "relative_divergence", "seed", 0, "value")
    assert len(found) == len(FACTORS)
    assert found[["sigma", "log_sigma", "se_log_sigma", "z", "p_value", "q_value"]].isna().all(axis=None)


def test_values_that_all_lie_alike_have_no_robust_score(connection: Connection, text: Text) -> None:
    tokens = random_tokens(0).assign(kl=0.5)
    layer = add_layer(connection, text.corpus_id, "value", dict.fromkeys(FACTORS, 1))
    comparison = add_comparison(connection, text, add_model(connection, text, "one"), 0)
    store(connection, text, tokens, comparison, {"value": (layer, list(FACTORS))})
    found = view(connection, "relative_divergence", "seed", 0, "value")
    assert found["sigma"].tolist() == pytest.approx([1.0] * len(FACTORS))
    assert found["robust_score"].isna().all()


def test_a_filter_on_a_name_reaches_the_tables(
    connection: Connection, tokens_of: dict[tuple[str, int], pd.DataFrame]
) -> None:
    """Windows over the values of a layer must not make PostgreSQL read every comparison."""
    plan = connection.execute(
        "explain select * from analysis.relative_divergence where model = 'one' and step = 64 and layer = 'value'"
    ).fetchall()
    lines = [line for (line,) in plan]
    last_window = max(number for number, line in enumerate(lines) if "WindowAgg" in line)
    for condition in ("step = 64", "'one'", "'value'"):
        # Children follow their parents in a plan.
        assert min(number for number, line in enumerate(lines) if condition in line) > last_window


# --- Student's t --------------------------------------------------------------------------------------------------


def test_student_t_equals_scipy_at_any_degrees_of_freedom(connection: Connection) -> None:
    # Close steps about where the series gives way to the continued fraction.
    ts = [
        0.001,
        0.01,
        0.5,
        *np.arange(0.9, 2.1, 0.02),
        2.5,
        2.9,
        -2.999,
        -3.0,
        4.9,
        5.0,
        -6.0,
        10.0,
        20.0,
        30.0,
        40.0,
        0.0,
    ]
    rows = connection.execute(
        "select df, t, analysis.student_t(t, df) from unnest(%s::int[]) as df, unnest(%s::float8[]) as t",
        [[*range(1, 101), 200, 201, 1000, 5000, 50_000, 1_000_000], ts],
    ).fetchall()
    assert len(rows) == 106 * len(ts)
    degrees, t, found = map(np.array, zip(*rows, strict=True))
    np.testing.assert_allclose(found, 2 * scipy.stats.t.sf(np.abs(t), degrees), rtol=1e-12, atol=1e-99)


def test_student_t_near_0_is_that_of_an_arc_tangent_at_one_degree_of_freedom(connection: Connection) -> None:
    # Where scipy gives 1.
    [row] = connection.execute("select analysis.student_t(1e-9, 1)").fetchall()
    assert row[0] == pytest.approx(1 - 2 / math.pi * math.atan(1e-9), rel=1e-15, abs=0)


def test_student_t_at_the_ends_of_its_range_raises_nothing(connection: Connection) -> None:
    rows = connection.execute(
        "select df, t, analysis.student_t(t, df) from unnest(array[1, 2, 5, 1000, 2147483647]) as df,"
        " unnest(array[1e3, 1e6, 1e99, -1e200, 1e-90, 1e-200, 'infinity']::float8[]) as t"
    ).fetchall()
    for degrees, t, found in rows:
        assert found == pytest.approx(2 * scipy.stats.t.sf(abs(t), degrees), rel=1e-12, abs=1e-99)


def test_student_t_is_null_without_a_value_or_degrees_of_freedom(connection: Connection) -> None:
    [row] = connection.execute(
        "select analysis.student_t(2, 0), analysis.student_t(2, -1), analysis.student_t(null, 3),"
        " analysis.student_t(2, null), analysis.student_t('nan', 3)"
    ).fetchall()
    assert row == (None,) * 5


def test_student_t_quantile_equals_scipy(connection: Connection) -> None:
    rows = connection.execute(
        "select confidence, df, analysis.student_t_quantile(confidence, df)"
        " from unnest(array[0, 0.01, 0.5, 0.683, 0.9, 0.95, 0.99, 0.9999, 0.999999]::float8[]) as confidence,"
        " unnest(array[1, 2, 3, 9, 30, 61, 500, 5000, 1000000]) as df"
    ).fetchall()
    assert len(rows) == 81
    for confidence, degrees, found in rows:
        assert found == pytest.approx(scipy.stats.t.isf((1 - confidence) / 2, degrees), rel=1e-12, abs=0)
    [row] = connection.execute(
        "select analysis.student_t_quantile(0.95, 0), analysis.student_t_quantile(1, 5),"
        " analysis.student_t_quantile(-0.1, 5)"
    ).fetchall()
    assert row == (None,) * 3
