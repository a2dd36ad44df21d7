"""Shares of trends and their overlap against pandas on the trends of tokens, and on noise, of which theory knows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.queries.curves import Curves, add_curves
from warehouse.database import Database

TRENDS = ["upward", "downward", "stagnated", "unclassified"]
NOISE_STEPS = list(range(0, 1300, 100))


def test_shares_are_those_of_the_tokens_that_have_a_trend(curves: Curves) -> None:
    found = curves.ask("select * from trend_shares").set_index(["model", "seed", "trend"]).sort_index()
    assert len(found) == 5 * 4
    assert found.loc[("large", 2), "outlier"].all()
    tokens, shuffled = (
        curves.ask(f"select * from token_trend_with(shuffled => {flag})").dropna(subset="trend")
        for flag in ("false", "true")
    )
    for run, own in tokens.groupby(["model", "seed"]):
        rows = found.loc[run].loc[TRENDS]
        counts = own["trend"].value_counts().reindex(TRENDS, fill_value=0)
        drawn = shuffled[(shuffled["model"] == run[0]) & (shuffled["seed"] == run[1])]["trend"]
        assert rows["n_tokens"].tolist() == counts.tolist()
        assert set(rows["n_classified"]) == {len(own)}
        np.testing.assert_allclose(rows["share"], counts / len(own), rtol=1e-12)
        np.testing.assert_allclose(rows["shuffled_share"], [np.mean(drawn == t) for t in TRENDS], rtol=1e-12)
        np.testing.assert_allclose(rows["autocorrelation"], own["autocorrelation"].mean(), rtol=1e-9)


def test_shares_take_the_settings_of_trends(curves: Curves) -> None:
    settings = "start => 0.25, predictor => 'log_step', variant => 'code'"
    found = curves.ask(f"select trend, sum(n_tokens) as n from trend_shares_with({settings}) group by 1")
    tokens = curves.ask(f"select trend, count(*) as n from token_trend_with({settings}) group by 1").dropna()
    assert {t: int(n) for t, n in found.to_numpy()} == dict(tokens.to_numpy())


@pytest.fixture(scope="module")
def noise(module_database: Database) -> Curves:
    """Runs without any trend: of independent noise, and of noise that leans on the checkpoint before by 0.7."""
    random = np.random.default_rng(11)
    shape = (len(NOISE_STEPS), 6000)
    leaning = np.zeros(shape)
    innovations = random.standard_normal(shape)
    leaning[0] = innovations[0]
    for place in range(1, len(leaning)):
        leaning[place] = 0.7 * leaning[place - 1] + np.sqrt(1 - 0.7**2) * innovations[place]
    surprisal = {("independent", 0): random.standard_normal(shape), ("leaning", 0): leaning}
    return add_curves(module_database, {run: 3 + 0.1 * values for run, values in surprisal.items()}, NOISE_STEPS)


def test_a_fortieth_of_pure_noise_rises_and_a_fortieth_falls(noise: Curves) -> None:
    rows = noise.ask("select * from trend_shares where model = 'independent'").set_index("trend")
    # Two standard errors of a share of 0.025 of 6,000 tokens are 0.004.
    for name in ("share", "shuffled_share"):
        assert rows.loc["upward", name] == pytest.approx(0.025, abs=0.005)
        assert rows.loc["downward", name] == pytest.approx(0.025, abs=0.005)
    # Residuals of a line through n points lean against each other by 2 / n.
    assert rows["autocorrelation"].iloc[0] == pytest.approx(-2 / 12, abs=0.01)


def test_shuffling_tells_autocorrelated_noise_from_a_trend(noise: Curves) -> None:
    rows = noise.ask("select * from trend_shares where model = 'leaning'").set_index("trend")
    # Simulated apart from this: 0.178 of 20,000 tokens at twelve checkpoints, residuals at 0.188.
    assert rows.loc["upward", "share"] == pytest.approx(0.178, abs=0.015)
    assert rows.loc["upward", "shuffled_share"] == pytest.approx(0.025, abs=0.006)
    assert rows["autocorrelation"].iloc[0] == pytest.approx(0.188, abs=0.015)


def overlap(one: NDArray[np.str_], other: NDArray[np.str_], trend: str) -> dict[str, float]:
    shared = int(np.sum((one == trend) & (other == trend)))
    n = int(np.sum(one == trend))
    share = shared / n if n else np.nan
    return {"n_tokens": n, "n_shared": shared, "share": share, "expected_share": float(np.mean(other == trend))}


def test_overlap_is_the_share_of_one_models_class_in_that_of_another(curves: Curves) -> None:
    keys = ["seed", "model", "other_model", "trend"]
    found = curves.ask("select * from trend_overlap").set_index(keys).sort_index()
    trends = curves.ask("select * from token_trend").pivot(index=["seed", "token_id"], columns="model", values="trend")
    rows = []
    for seed, own in trends.dropna().groupby(level="seed"):
        for one, other in (("small", "large"), ("large", "small")):
            for trend in TRENDS:
                counted = overlap(own[one].to_numpy(str), own[other].to_numpy(str), trend)
                rows.append({"seed": seed, "model": one, "other_model": other, "trend": trend} | counted)
    wanted = pd.DataFrame(rows).set_index(keys).sort_index()
    # Seed 2 is a flagged run of one of the models only.
    assert set(wanted.reset_index()["seed"]) == {0, 1}
    assert wanted["n_tokens"].min() > 0
    pd.testing.assert_frame_equal(found[wanted.columns], wanted, check_dtype=False, rtol=1e-12)


def test_models_that_are_one_overlap_in_full(database: Database) -> None:
    random = np.random.default_rng(3)
    same = 3 + random.standard_normal((len(NOISE_STEPS), 300)) * 0.3
    other = 3 + random.standard_normal((len(NOISE_STEPS), 300)) * 0.3
    held = add_curves(database, {("a", 0): same, ("b", 0): same, ("c", 0): other}, NOISE_STEPS, flagged=[("c", 0)])
    rows = held.ask("select * from trend_overlap where n_tokens > 0")
    assert set(zip(rows["model"], rows["other_model"], strict=True)) == {("a", "b"), ("b", "a")}
    assert set(rows["share"]) == {1.0}
    with held.database.connect() as connection:
        connection.execute("set warehouse.run_set = 'all'")
        query = "select count(distinct (model, other_model)) from analysis.trend_overlap"
        assert connection.execute(query).fetchone() == (6,)
