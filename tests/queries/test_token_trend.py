"""Trends of tokens against a scipy loop, token by token; what noise gives; and how the facts are read."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from scipy import stats

from tests.queries.curves import (
    CONSTANT,
    END,
    EVERYTHING,
    FAR,
    LINE,
    MIDDLE,
    MOST,
    N_TOKENS,
    RUN,
    START,
    STEPS,
    Curves,
    Floats,
)
from tests.queries.test_plans import nodes


def trend(
    steps: Any, surprisal: Floats, last: int, start: float, predictor: str, variant: str, order: Any = None
) -> dict[str, Any]:
    """One token by scipy, in plain perplexities where these can be written down."""
    if predictor == "log_step":
        steps, surprisal = steps[steps > 0], surprisal[steps > 0]
    first = int(np.argmin(np.abs(steps - start * last)))
    steps, surprisal = steps[first:], surprisal[first:]
    if order is not None:
        surprisal = surprisal[order]
    x = {"step": steps, "log_step": np.log(np.maximum(steps, 1)), "index": np.arange(len(steps))}[predictor]
    perplexity = np.exp(np.minimum(surprisal - surprisal[0], 300))
    known = ~np.isnan(perplexity)
    row: dict[str, Any] = {"n_steps": int(known.sum()), "start_step": steps[0], "trend": None, "slope": np.nan}
    row |= {"p_value": np.nan, "autocorrelation": np.nan}
    if known.sum() < 2:
        return row
    fit = stats.linregress(x[known], perplexity[known])
    row["slope"] = fit.slope
    if np.ptp(perplexity[known]) > 0:
        row["p_value"] = fit.pvalue
        residual = perplexity - fit.intercept - fit.slope * x
        if residual @ residual > 1e-9 * len(x) * perplexity.var():
            row["autocorrelation"] = float(residual[1:] @ residual[:-1] / (residual @ residual))
    if known.sum() >= 5:
        significant = row["p_value"] < 0.05
        mean = stats.gmean(perplexity[known])
        ends = perplexity[[0, -1]]
        if variant == "paper":
            stagnated = np.all(np.abs(ends / mean - 1) <= 0.05)
        else:
            whole = np.exp(np.minimum(surprisal[known], 300))
            stagnated = np.all(np.abs(mean / ends - 1) < 0.05) and whole.var() < stats.gmean(whole)
        other = "stagnated" if stagnated else "unclassified"
        row["trend"] = ("upward" if fit.slope > 0 else "downward") if significant else other
    return row


def expected(curves: Curves, run: tuple[str, int], orders: Any = None, **settings: Any) -> pd.DataFrame:
    chosen = {"start": 0.1, "predictor": "step", "variant": "paper"} | settings
    rows = [
        trend(
            curves.steps[run], token, curves.last_step[run], order=None if orders is None else orders[place], **chosen
        )
        for place, token in enumerate(curves.surprisal[run].T)
    ]
    return pd.DataFrame(rows)


def assert_equal(found: pd.DataFrame, wanted: pd.DataFrame) -> None:
    found = found[wanted.columns].astype({"slope": float, "p_value": float, "autocorrelation": float})
    assert found["trend"].where(found["trend"].notna(), None).tolist() == wanted["trend"].tolist()
    for name in ("n_steps", "start_step"):
        assert found[name].tolist() == wanted[name].tolist()
    for name, tolerance in {"slope": 1e-9, "p_value": 1e-7, "autocorrelation": 1e-6}.items():
        scale = wanted[name].abs().median() if name == "slope" else 1.0
        np.testing.assert_allclose(found[name], wanted[name], rtol=tolerance, atol=tolerance * scale, err_msg=name)


@pytest.mark.parametrize("run", [("small", 0), ("small", 1), ("large", 1), ("large", 2)])
def test_trend_classes_equal_a_scipy_loop_token_by_token(curves: Curves, run: tuple[str, int]) -> None:
    found = curves.by_token("select * from token_trend", run)
    wanted = expected(curves, run)
    assert wanted["trend"].value_counts().min() >= 20
    assert set(wanted["trend"].dropna()) == {"upward", "downward", "stagnated", "unclassified"}
    assert_equal(found, wanted)
    assert set(found["outlier"]) == {run == ("large", 2)}


@pytest.mark.parametrize("level", [1e-8, 1e-3, 0.05, 0.5])
def test_what_is_below_the_threshold_is_a_trend_whatever_the_threshold(curves: Curves, level: float) -> None:
    """Most curves are told by their t alone; their classes must be those that their p says."""
    with curves.database.connect() as connection:
        connection.execute("update warehouse.settings set trend_p_value = %s", [level])
        rows = connection.execute(
            "select trend, slope, p_value from analysis.token_trend where trend is not null and p_value is not null"
        ).fetchall()
        connection.rollback()
    assert 0 < sum(p_value < level for *_, p_value in rows) < len(rows)
    for found, slope, p_value in rows:
        wanted = {"upward" if slope > 0 else "downward"} if p_value < level else {"stagnated", "unclassified"}
        assert found in wanted, (found, slope, p_value)


def test_the_start_is_a_share_of_the_training_that_is_planned(curves: Curves) -> None:
    # A quarter of 1,000 steps lies next to 256, a quarter of the 900 that were found next to 200.
    run = ("small", 1)
    found = curves.by_token("select * from token_trend_with(0.25)", run)
    assert curves.steps[run][-1] == 900
    assert set(found["start_step"]) == {256}
    assert_equal(found, expected(curves, run, start=0.25))


@pytest.mark.parametrize("variant", ["paper", "code"])
@pytest.mark.parametrize(("predictor", "start"), [("step", 0.25), ("log_step", 0.0), ("log_step", 0.1), ("index", 0.0)])
def test_every_predictor_and_variant_equals_scipy(curves: Curves, predictor: str, start: float, variant: str) -> None:
    query = f"select * from token_trend_with({start}, '{predictor}', '{variant}')"
    settings: dict[str, Any] = {"start": start, "predictor": predictor, "variant": variant}
    assert_equal(curves.by_token(query, RUN), expected(curves, RUN, **settings))


def test_the_codes_variant_calls_fewer_tokens_stagnated(curves: Curves) -> None:
    query = "select count(*) filter (where trend = 'stagnated') as n from token_trend_with(variant => '{}')"
    paper, code = (int(curves.ask(query.format(variant)).loc[0, "n"]) for variant in ("paper", "code"))
    assert 0 < code < paper


def test_what_is_not_known_is_null(curves: Curves) -> None:
    found = curves.by_token("select * from token_trend", RUN)
    assert found.loc[[START, EVERYTHING], "n_steps"].tolist() == [0, 0]
    assert found.loc[[START, EVERYTHING, MOST], "trend"].isna().all()
    assert found.loc[[MIDDLE, END], "trend"].notna().all()
    assert found.loc[[MIDDLE, END, MOST], "autocorrelation"].isna().all()


def test_curves_at_the_edge_of_arithmetic_have_a_trend(curves: Curves) -> None:
    found = curves.by_token("select * from token_trend", RUN)
    # A leap of 1,000 nats, e^300 of which count, is one point far above the others.
    assert found.loc[FAR, "trend"] == expected(curves, RUN).loc[FAR, "trend"]
    assert found.loc[FAR, "slope"] > 1e120
    assert found.loc[CONSTANT, ["trend", "slope"]].tolist() == ["stagnated", 0]
    assert np.isnan(found.loc[CONSTANT, "p_value"])
    assert found.loc[[CONSTANT, LINE], "autocorrelation"].isna().all()
    assert found.loc[LINE, "trend"] == "upward"
    assert found.loc[LINE, "p_value"] < 1e-30


def test_a_shuffled_curve_is_the_same_values_in_the_order_of_their_hashes(curves: Curves) -> None:
    length = int((curves.steps[RUN] >= 100).sum())
    first = len(STEPS) - length + 1
    orders = curves.ask(
        f"select token - {curves.first_token_id} as token, place - {first} as place "
        f"from generate_series({curves.first_token_id}, {curves.first_token_id + N_TOKENS - 1}) as token, "
        f"generate_series({first}, {len(STEPS)}) as place order by token, hashint8extended(token, place)"
    )
    wanted = expected(curves, RUN, orders=orders["place"].to_numpy().reshape(N_TOKENS, length))
    query = "select * from token_trend_with(shuffled => true)"
    assert_equal(curves.by_token(query, RUN), wanted)
    pd.testing.assert_frame_equal(curves.by_token(query, RUN), curves.by_token(query, RUN))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("predictor => 'steps'", "Predictor is step, log_step or index, not steps."),
        ("predictor => null", "Predictor is step, log_step or index, not NULL."),
        ("variant => 'Paper'", "Variant is paper or code, not Paper."),
        ("variant => null", "Variant is paper or code, not NULL."),
        ("start => 7", "Start is a share of training, from 0 to 1, and not 7."),
        ("start => -0.1", "Start is a share of training, from 0 to 1, and not -0.1."),
        ("start => 'nan'", "and not NaN."),
        ("start => null", "and not NULL."),
    ],
)
@pytest.mark.parametrize("function", ["token_trend_with", "trend_shares_with", "trend_overlap_with"])
def test_an_unknown_setting_is_refused(curves: Curves, function: str, setting: str, said: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=re.escape(said)):
        curves.ask(f"select * from {function}({setting})")


def test_conditions_decide_which_facts_are_read(curves: Curves) -> None:
    query = "select * from token_trend where model = 'small' and seed = 0"
    with curves.database.read() as reader:
        reader.execute("set local enable_seqscan = off")
        reader.execute("set local enable_hashjoin = off")
        reader.execute("set local enable_mergejoin = off")
        row = reader.execute(f"explain (analyze, timing off, format json) {query}".encode()).fetchone()
    assert row is not None
    found = list(nodes(row[0][0]["Plan"] if isinstance(row[0], list) else json.loads(row[0])[0]["Plan"]))
    assert {"token_trend_with", "trend_stagnates", "regressor"}.isdisjoint(node.get("Function Name") for node in found)
    (scan,) = [node for node in found if node.get("Relation Name") == "score_chunk"]
    assert scan["Actual Loops"] * scan["Actual Rows"] == len(STEPS) * -(-N_TOKENS // 256)
