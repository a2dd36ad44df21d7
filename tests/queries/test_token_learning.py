"""Learning curves of tokens and distances of runs, against numpy token by token and cases worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.queries.curves import CONSTANT, END, RUN, Curves, Floats, add_curves
from warehouse.database import Database

LOG_V = np.log(1000)
VALUES = ["age_of_acquisition", "confidence", "variability", "forgettability"]


def age(steps: Any, surprisal: Floats) -> float:
    """The first crossing of (log V + minimum) / 2, on a line in log step."""
    steps, surprisal = steps[steps > 0], surprisal[steps > 0]
    level = (LOG_V + surprisal.min()) / 2
    below = np.flatnonzero(surprisal <= level)
    if not len(below):
        return np.nan
    if below[0] == 0:
        return float(steps[0])
    two = [below[0], below[0] - 1]
    return float(np.exp(np.interp(level, surprisal[two], np.log(steps[two]))))


def learned(steps: Any, surprisal: Floats, last: int) -> dict[str, float]:
    known = ~np.isnan(surprisal)
    late = surprisal[known & (steps >= 0.75 * last)]
    row = dict.fromkeys(VALUES, np.nan) | {"n_steps": int(known.sum()), "n_late_steps": len(late)}
    after = surprisal[known & (steps > 0)]
    row["lowest_surprisal"] = after.min() if len(after) else np.nan
    if known.all():
        smooth = np.convolve(surprisal, np.full(3, 1 / 3), "valid")
        row["forgettability"] = float(np.diff(smooth).clip(0).sum())
        row["age_of_acquisition"] = age(steps, surprisal)
    if len(late) >= 3:
        row |= {"confidence": late.mean(), "variability": late.std(ddof=1)}
    return row


@pytest.fixture(scope="module")
def learning(module_database: Database) -> Curves:
    """Sigmoid curves from log V down, late or early, some of which go up again; gaps; a flagged run."""
    random = np.random.default_rng(4)
    steps = [0, 1, 4, 16, 64, 128, 256, 512, 800, 900, 950, 1000]
    n = 300

    def run() -> Floats:
        midpoint, floor = random.uniform(-2, 8, n), random.uniform(0.2, 8, n)
        fall = 1 / (1 + np.exp(2 * (midpoint - np.log(np.maximum(steps, 0.5))[:, None])))
        bump = random.choice([0, 1.5], n) * np.exp(-((np.arange(len(steps))[:, None] - 7) ** 2) / 2)
        return LOG_V - (LOG_V - floor) * fall + bump + 0.05 * random.standard_normal((len(steps), n))

    surprisal = {("small", seed): run() for seed in range(4)} | {("large", 0): run()}
    surprisal["small", 0][3, 10] = np.nan
    surprisal["small", 0][[8, 10], 11] = np.nan
    surprisal["small", 0][:, 12] = np.nan
    surprisal["small", 1][5, 13] = np.nan
    return add_curves(
        module_database,
        surprisal,
        steps,
        flagged=[("small", 3)],
        without={("small", 1): {1000: "missing"}, ("large", 0): {900: "quarantined", 950: "missing"}},
    )


@pytest.mark.parametrize("run", [("small", 0), ("small", 1), ("small", 3), ("large", 0)])
def test_learning_equals_numpy_token_by_token(learning: Curves, run: tuple[str, int]) -> None:
    found = learning.by_token("select * from token_learning", run)
    steps, last = learning.steps[run], learning.last_step[run]
    wanted = pd.DataFrame([learned(steps, token, last) for token in learning.surprisal[run].T])
    assert wanted["age_of_acquisition"].nunique() > 200
    # Two late checkpoints are too few.
    assert wanted["confidence"].notna().any() == (run != ("large", 0))
    found = found[wanted.columns].astype(float)
    pd.testing.assert_frame_equal(found, wanted.astype(float), check_names=False, rtol=1e-9, atol=1e-12)


def test_what_was_not_measured_has_no_age(learning: Curves) -> None:
    found = learning.by_token("select * from token_learning", ("small", 0))
    assert found.loc[[10, 11, 12], ["age_of_acquisition", "forgettability"]].isna().all(axis=None)
    assert found[["forgettability", "confidence"]].notna().all(axis=1).sum() == 297
    assert found.loc[10, "confidence"] > 0
    assert pd.isna(found.loc[11, "confidence"])
    assert found.loc[12, "n_steps"] == 0


def test_a_token_that_stays_above_uniform_is_never_acquired(curves: Curves, learning: Curves) -> None:
    everything = learning.ask("select * from age_of_acquisition")
    never = everything["age_of_acquisition"].isna()
    assert everything["age_of_acquisition"].dropna().between(1, 1000).all()
    # Its surprisal is 2.5 nats throughout: below the level from the first step on.
    assert curves.by_token("select * from age_of_acquisition", RUN).loc[CONSTANT, "age_of_acquisition"] == 1
    assert never.sum() < len(never) / 4


def test_an_age_worked_by_hand(database: Database) -> None:
    # log V = 6.908, the minimum 0.908, halfway 3.908: a quarter of the way from 4.408 at step 16 to 2.408 at step 64.
    curve = (np.array([6.9, 6.8, 4.408, 2.408, 0.908, 1.508, 1.208]) + LOG_V - 6.908)[:, None]
    rising = np.full((7, 1), LOG_V + 1) + np.arange(7)[:, None]
    held = add_curves(database, {("a", 0): np.hstack([curve, rising])}, [0, 4, 16, 64, 128, 256, 512])
    rows = held.by_token("select * from token_learning", ("a", 0))
    assert rows.loc[0, "age_of_acquisition"] == pytest.approx(16 * 4**0.25, rel=1e-6)
    assert pd.isna(rows.loc[1, "age_of_acquisition"])
    # Means of three: 6.036, 4.539, 2.575, 1.608, 1.208 after rounding, none above the one before.
    assert rows.loc[0, "forgettability"] == 0
    assert rows.loc[1, "forgettability"] == pytest.approx(4, rel=1e-6)
    assert pd.isna(rows.loc[0, "confidence"])


@pytest.mark.parametrize("view", VALUES)
def test_each_view_is_a_column_of_token_learning(learning: Curves, view: str) -> None:
    names = "corpus, protocol, family, model, seed, token_id, {}, chunk_id, outlier"
    query = f"select {names} from {{}} order by model, seed, token_id"
    own, whole = learning.ask(query.format(view, view)), learning.ask(query.format(view, "token_learning"))
    assert own[view].notna().any()
    pd.testing.assert_frame_equal(own, whole)


def test_distances_of_runs_equal_numpy(learning: Curves) -> None:
    tokens = learning.ask("select * from token_cross_run_distance").set_index(["model", "seed_p", "seed_q", "token_id"])
    runs = learning.ask("select * from cross_run_distance").set_index(["model", "seed_p", "seed_q"])
    # One run of the large model has nothing beside it, and a flagged run is left out.
    assert sorted(runs.index) == [("small", 0, 1), ("small", 0, 2), ("small", 1, 2)]
    for model, p, q in runs.index:
        one, other = (
            dict(zip(learning.steps[run], learning.surprisal[run], strict=True)) for run in ((model, p), (model, q))
        )
        squares = np.array([(one[step] - other[step]) ** 2 for step in one.keys() & other.keys()])
        known = ~np.isnan(squares)
        distance = np.where(known.any(0), np.where(known, squares, 0).sum(0) / np.maximum(known.sum(0), 1), np.nan)
        rows = tokens.loc[model, p, q].sort_index()
        np.testing.assert_allclose(rows["distance"].astype(float), distance, rtol=1e-9)
        assert rows["n_steps"].tolist() == known.sum(0).tolist()
        assert runs.loc[(model, p, q), "distance"] == pytest.approx(np.nanmean(distance), rel=1e-9)
        assert runs.loc[(model, p, q), "n_tokens"] == np.isfinite(distance).sum()


def test_flagged_runs_have_distances_where_the_session_asks_for_all(learning: Curves) -> None:
    with learning.database.connect() as connection:
        connection.execute("set warehouse.run_set = 'all'")
        assert connection.execute("select count(*) from analysis.cross_run_distance").fetchone() == (6,)


def test_scores_of_one_token_are_found_by_its_chunk(curves: Curves) -> None:
    token = curves.first_token_id + END
    found = curves.ask(f"select * from token_score_trajectory({token})").set_index(["model", "seed", "step"])
    whole = curves.ask(f"select * from token_score where token_id = {token}").set_index(["model", "seed", "step"])
    assert len(found) == sum(map(len, curves.steps.values()))
    pd.testing.assert_frame_equal(found.sort_index(), whole.sort_index())
    surprisal = found.sort_index().loc[RUN, "surprisal"].to_numpy(float)
    np.testing.assert_array_equal(surprisal, curves.surprisal[RUN][:, END])
