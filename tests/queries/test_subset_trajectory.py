"""Subsets of tokens followed through models, against pandas; their most prominent peak, against scipy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import psycopg
import pytest
from scipy import signal, stats

from tests.queries.curves import STEPS, TOKENS_PER_STEP, Curves, Floats, add_curves
from warehouse.database import Database

KEYS = ["model", "seed", "step"]


def expected(curves: Curves, of_model: str, of_trend: str, of_seed: int | None) -> pd.DataFrame:
    trends = curves.ask(f"select seed, token_id, trend from token_trend where model = '{of_model}'")
    subsets = {
        seed: own.loc[own["trend"] == of_trend, "token_id"].to_numpy() - curves.first_token_id
        for seed, own in trends.groupby("seed")
    }
    rows = []
    for (model, seed), surprisal in curves.surprisal.items():
        subset = subsets.get(seed if of_seed is None else of_seed)
        if subset is None:
            continue
        for step, values in zip(curves.steps[model, seed], surprisal, strict=True):
            chosen = values[subset]
            chosen = chosen[~np.isnan(chosen)]
            rows.append(
                {
                    "model": model,
                    "seed": seed,
                    "step": step,
                    "n_tokens": len(chosen),
                    "surprisal": chosen.mean(),
                    "perplexity": stats.gmean(np.exp(chosen)),
                    "validation_perplexity": stats.gmean(np.exp(np.minimum(values[~np.isnan(values)], 700))),
                    "flops": 6.0 * curves.parameters[model] * TOKENS_PER_STEP * step,
                    "tokens_seen": TOKENS_PER_STEP * step,
                }
            )
    return pd.DataFrame(rows).set_index(KEYS).sort_index()


@pytest.mark.parametrize(
    ("of_model", "of_trend", "of_seed"),
    [("small", "upward", None), ("large", "stagnated", 1), ("large", "downward", 2)],
)
def test_a_subset_is_followed_through_every_model(
    curves: Curves, of_model: str, of_trend: str, of_seed: int | None
) -> None:
    seed = "" if of_seed is None else f", {of_seed}"
    found = curves.ask(f"select * from subset_trajectory('{of_model}', '{of_trend}'{seed})")
    wanted = expected(curves, of_model, of_trend, of_seed)
    # One token of one run surges by 1,000 nats at the end, which is more than its perplexity can be written with.
    wanted.loc[("small", 0, 1000), "validation_perplexity"] = found.set_index(KEYS).loc[
        ("small", 0, 1000), "validation_perplexity"
    ]
    pd.testing.assert_frame_equal(
        found.set_index(KEYS).sort_index()[wanted.columns], wanted, check_dtype=False, rtol=1e-9
    )


def test_the_perplexity_of_the_corpus_is_that_of_its_mean_surprisal(curves: Curves) -> None:
    found = curves.ask("select * from subset_trajectory('small', 'upward')").set_index(KEYS)
    mean = np.nanmean(curves.surprisal["small", 0][-1])
    assert found.loc[("small", 0, 1000), "validation_perplexity"] == pytest.approx(np.exp(mean), rel=1e-7)


@pytest.mark.parametrize("trend", ["'upwards'", "null"])
@pytest.mark.parametrize("function", ["subset_trajectory", "double_descent"])
def test_a_trend_that_is_none_is_refused(curves: Curves, function: str, trend: str) -> None:
    said = f"Trend is upward, downward, stagnated or unclassified, not {trend.strip(chr(39)).replace('null', 'NULL')}."
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=said):
        curves.ask(f"select * from {function}('small', {trend})")


def test_a_flagged_run_chooses_no_tokens_unless_asked_for(database: Database) -> None:
    random = np.random.default_rng(3)
    falling = np.linspace(9, 2, len(STEPS))[:, None] + random.uniform(-0.5, 0.5, 40)
    runs = {(model, seed): falling for model in ("small", "large") for seed in (0, 1)}
    curves = add_curves(database, runs, STEPS)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.run as run set outlier = true from warehouse.model as model
            where run.model_id = model.model_id and model.name = 'small' and run.seed = 1
            """
        )
        for name in ("subset_trajectory", "double_descent"):
            query = f"select distinct model, seed from analysis.{name}('small', 'downward') order by 1, 2".encode()
            assert connection.execute(query).fetchall() == [("large", 0), ("small", 0)]
            connection.execute("set warehouse.run_set = 'all'")
            assert len(connection.execute(query).fetchall()) == 4
            connection.execute("reset warehouse.run_set")
    named = curves.ask("select distinct model, seed from subset_trajectory('small', 'downward', 1)")
    assert len(named) == 4, "a run that is named chooses whatever its flag"


def test_perplexity_beyond_arithmetic_is_infinite(curves: Curves) -> None:
    query = "select perplexity(0) as a, perplexity(709) as b, perplexity(1000) as c, perplexity(null) as d"
    a, b, c, d = curves.ask(query).loc[0]
    assert (a, b, c, d) == (1, pytest.approx(np.exp(709)), np.inf, None)


CURVES = {
    "falls": np.linspace(9, 2, len(STEPS)),
    "rises": np.linspace(2, 9, len(STEPS)),
    "descends twice": np.array([9, 8, 6, 4, 3, 3.5, 5, 4.4, 4.6, 4, 3.2, 2.5, 2.4, 2.1, 2, 2.0]),
    "rises higher later": np.array([5, 4, 4.5, 4, 3, 3.5, 3.2, 6, 5, 5.5, 4, 8, 7.5, 7.2, 9, 8.9]),
    "level": np.full(len(STEPS), 3.0),
}


@pytest.fixture(scope="module")
def drawn(module_database: Database) -> Curves:
    """One curve a model; the tokens of `falls`, whose trend is the same in every token, lie about it."""
    about = np.random.default_rng(2).uniform(-0.5, 0.5, 40)
    surprisal = {(name, 0): curve[:, None] + about for name, curve in CURVES.items()}
    return add_curves(module_database, surprisal, STEPS)


def test_a_class_without_tokens_has_no_perplexity(drawn: Curves) -> None:
    found = drawn.ask("select * from subset_trajectory('falls', 'upward')")
    assert len(found) == len(CURVES) * len(STEPS)
    assert set(found["n_tokens"]) == {0}
    assert found[["surprisal", "perplexity"]].isna().all(axis=None)
    assert drawn.ask("select * from double_descent('falls', 'upward')").empty


def peak(curve: Floats) -> dict[str, Any]:
    places, _ = signal.find_peaks(curve)
    prominences = signal.peak_prominences(curve, places)[0]
    if not len(places):
        return {"peak_step": None, "prominence": 0.0}
    best = int(np.argmax(prominences))
    return {"peak_step": STEPS[places[best]], "prominence": prominences[best]}


@pytest.mark.parametrize("model", CURVES)
def test_the_peak_is_the_one_that_scipy_calls_most_prominent(drawn: Curves, model: str) -> None:
    found = drawn.ask(f"select * from double_descent('falls', 'downward') where model = '{model}'")
    assert len(found) == 1
    mean = drawn.surprisal[model, 0].mean(axis=1)
    wanted = peak(mean)
    row = found.loc[0]
    assert row["n_steps"] == len(STEPS)
    assert row["prominence"] == pytest.approx(wanted["prominence"], abs=1e-7)
    if wanted["peak_step"] is None:
        assert pd.isna(row["peak_step"])
        assert pd.isna(row["peak_perplexity"])
    else:
        assert row["peak_step"] == wanted["peak_step"]
        assert row["peak_perplexity"] == pytest.approx(np.exp(mean[STEPS.index(row["peak_step"])]))


def test_two_steps_have_no_peak(database: Database) -> None:
    curve = np.array([9.0, 8, 7, 6, 5])[:, None] + np.random.default_rng(1).uniform(0, 0.1, (5, 30))
    without = {("b", 0): dict.fromkeys((1, 2, 3), "missing")}
    held = add_curves(database, {("a", 0): curve, ("b", 0): curve}, [0, 1, 2, 3, 4], without=without)
    rows = held.ask("select * from double_descent('a', 'downward', start => 0)").set_index("model")
    assert rows["n_steps"].to_dict() == {"a": 5, "b": 2}
    assert rows["prominence"].notna().to_dict() == {"a": True, "b": False}
