"""KL against cross-entropy: points, fits and the frontier against scipy and pandas on the tokens themselves."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import psycopg
import pytest
import scipy.stats

from tests.contents import frame
from tests.queries import crossed
from tests.queries.measured import Measured, load_layer, measure, model_key
from tests.queries.rows import Connection, Text, add_comparison, add_curve, add_model, add_text
from warehouse.comparisons import derive
from warehouse.database import Database
from warehouse.standing import flag_run
from warehouse.values import CorpusValues

STEPS = (0, 16, 64, 256)
KEYS = ["model", "step", "layer", "value"]
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def held(module_database: Database) -> Measured:
    """Two models, three seeds, four steps; some tokens without scores, others without KL; one model has its own layer.

    `cross` holds every step of one model against every step of the other, both ways.
    """
    held = measure(module_database, n_tokens=900, seeds=SEEDS, steps=STEPS, unmeasured=("kl",))
    with module_database.engine().begin() as connection:
        held.layers["own"] = np.roll(held.layers["pos"], 7)
        load_layer(connection, held, "own", model_id=model_key(connection, "large"))
        for p, q in (("small", "large"), ("large", "small")):
            for step in STEPS:
                for step_q in STEPS:
                    crossed.compare(connection, held, "cross", (p, step), (q, step_q))
    return held


def expected_points(held: Measured, kind: str, seeds: tuple[int, ...] = SEEDS) -> pd.DataFrame:
    """Points of kind step or final from the loaded arrays; a token's mean KL in single precision, as it is kept."""
    rows = []
    for model in held.models:
        for place, step in enumerate(STEPS[:-1]):
            other = STEPS[place + 1] if kind == "step" else STEPS[-1]
            kl = np.array([held.kl[(model, g, step), (model, g, other)] for g in seeds], np.float64)
            kl = kl.mean(0).astype(np.float32).astype(np.float64)
            for layer in ("all", "pos", "word_class", *["own"] * (model == "large")):
                codes = held.layers[layer]
                for code in np.unique(codes[codes >= 0]):
                    chosen = codes == code
                    p, q = (
                        np.mean(
                            [held.scores[model, g, s]["surprisal"][chosen].astype(np.float64).mean() for g in seeds]
                        )
                        for s in (step, other)
                    )
                    value = "all" if layer == "all" else f"{layer} {code}"
                    rows.append((model, step, layer, value, other, np.nanmean(kl[chosen]), p, q, p / q, p - q))
    names = ["step_q", "mean_kl", "cross_entropy", "cross_entropy_q", "ratio", "difference"]
    return pd.DataFrame(rows, columns=[*KEYS, *names]).set_index(KEYS).sort_index()


def points(database: Database, kind: str) -> pd.DataFrame:
    """Points of a kind as the view has them."""
    return frame(database, "select * from analysis.cross_entropy_points where kind = %s", kind).set_index(KEYS)


@pytest.mark.parametrize("kind", ["step", "final"])
def test_points_are_means_over_seeds_of_both_sides_and_of_kl(held: Measured, kind: str) -> None:
    wanted = expected_points(held, kind)
    found = points(held.database, kind).sort_index()
    assert len(wanted) == 6 * (1 + 6 + 2) + 3 * 6
    pd.testing.assert_frame_equal(found[wanted.columns], wanted, check_dtype=False, rtol=1e-7)
    assert (found["n_pairs"] == 3).all()


@pytest.mark.parametrize(("limit", "kind"), [(16, "step"), (32000, "step"), (64, "final"), (16, "final")])
def test_a_fit_is_least_squares_over_all_models_and_steps_up_to_a_step(held: Measured, limit: int, kind: str) -> None:
    query = "select * from analysis.cross_entropy_fit_with(max_step => %s, kind => %s) where layer <> 'own'"
    found = frame(held.database, query, limit, kind).set_index(["layer", "value", "predictor"])
    wanted = expected_points(held, kind).query("step <= @limit and layer != 'own'")
    assert len(found) == 2 * wanted.groupby(["layer", "value"]).ngroups
    for (layer, value), part in wanted.groupby(["layer", "value"]):
        for predictor in ("ratio", "difference"):
            line = scipy.stats.linregress(part[predictor], part["mean_kl"])
            row = found.loc[(layer, value, predictor)]
            assert row["alpha"] == pytest.approx(line.slope, rel=1e-6)
            assert row["intercept"] == pytest.approx(line.intercept, rel=1e-6)
            assert row["r2"] == pytest.approx(line.rvalue**2, rel=1e-5)
            assert row["se_alpha"] == pytest.approx(line.stderr, rel=1e-6)
            assert (row["n"], row["df"], row["n_models"]) == (len(part), len(part) - 2, 2)
            steps = part.index.get_level_values("step")
            assert (row["first_step"], row["last_step"]) == (steps.min(), steps.max())


def test_the_view_is_the_fit_to_the_last_step_of_the_settings(held: Measured) -> None:
    order = "order by layer, value, predictor"
    for limit in (32000, 16):
        with held.database.connect() as connection:
            connection.execute("update warehouse.settings set fit_max_step = %s", [limit])
            view = connection.execute(f"select * from analysis.cross_entropy_fit {order}".encode()).fetchall()
            given = connection.execute(
                f"select * from analysis.cross_entropy_fit_with({limit}, 'step') {order}".encode()
            ).fetchall()
            connection.rollback()
        assert view == given
        assert view[0][-1] == min(limit, 64)


def test_a_fit_of_a_kind_in_reverse_goes_by_the_earlier_step(held: Measured) -> None:
    """Each comparison of kind final turned round: its step is the last one, and the step that counts that of q."""
    query = "select * from analysis.cross_entropy_fit_with(max_step => 16, kind => %s) order by layer, value, predictor"
    forth = frame(held.database, query, "final")
    with held.database.connect() as connection:
        connection.execute(
            """
            update warehouse.comparison set kind = 'final_reverse', step = step_q, step_q = step where kind = 'final'
            """
        )
        back = connection.execute(query.encode(), ["final_reverse"]).fetchall()
        connection.rollback()
    names = list(forth)
    assert len(back) == len(forth) > 0
    found = pd.DataFrame(back, columns=names)
    same = ["layer", "value", "predictor", "alpha", "r2", "n", "first_step", "last_step"]
    pd.testing.assert_frame_equal(found[same], forth[same], check_dtype=False)


def test_kl_that_does_not_vary_has_no_share_explained(held: Measured) -> None:
    with held.database.connect() as connection:
        connection.execute("update warehouse.convergence_summary set sum_kl = n * 0.1")
        rows = connection.execute(
            b"select alpha, r2 from analysis.cross_entropy_fit where layer = 'all' and predictor = 'difference'"
        ).fetchall()
        connection.rollback()
    assert rows == [(pytest.approx(0, abs=1e-12), None)]


@pytest.mark.parametrize("kind", ["seed", "steps", None])
def test_a_kind_without_points_is_refused(held: Measured, kind: str | None) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=f"Kind is step, .*, not {kind or 'NULL'}"):
        frame(held.database, "select * from analysis.cross_entropy_fit_with(kind => %s)", kind)


def test_two_points_have_a_line_and_no_error_and_one_has_neither(held: Measured) -> None:
    query = "select n, alpha, se_alpha, df from analysis.cross_entropy_fit_with(max_step => 0) where layer <> 'own'"
    rows = frame(held.database, query)
    assert set(rows["n"]) == {2}
    assert rows["alpha"].notna().all()
    assert rows[["se_alpha", "df"]].isna().all(axis=None)
    with held.database.connect() as connection:
        connection.execute("update warehouse.comparison set n_pairs_expected = 9 where model_id = 1")
        lonely = connection.execute(
            "select n, alpha, r2 from analysis.cross_entropy_fit_with(max_step => 0)"
        ).fetchall()
        connection.rollback()
    assert set(lonely) == {(1, None, None)}


def test_a_comparison_that_lacks_pairs_is_no_point(held: Measured) -> None:
    with held.database.connect() as connection:
        connection.execute("update warehouse.comparison set n_pairs_expected = 4 where kind = 'step' and step = 16")
        query = "select distinct step from analysis.cross_entropy_points where kind = 'step' order by 1"
        assert connection.execute(query.encode()).fetchall() == [(0,), (64,)]
        connection.rollback()


def test_a_comparison_with_a_side_that_was_not_scored_is_no_point(held: Measured) -> None:
    """As where KL was imported, and scores of some checkpoints only."""
    with held.database.connect() as connection:
        connection.execute(
            """
            delete from warehouse.score_summary where evaluation_id = (
                select evaluation_id from analysis.evaluations where model = 'small' and seed = 1 and step = 16
            )
            """
        )
        query = "select distinct model, step from analysis.cross_entropy_points where kind = 'step' order by 1, 2"
        assert connection.execute(query.encode()).fetchall() == [
            ("large", 0),
            ("large", 16),
            ("large", 64),
            ("small", 64),
        ]
        connection.rollback()


def test_of_several_next_steps_the_nearest_is_the_point(held: Measured) -> None:
    before = points(held.database, "step").sort_index()
    engine = held.database.engine()
    with engine.connect() as connection:
        for step_q in (64, 256):
            identity = crossed.declare(connection, held, "step", ("small", 0), ("small", step_q))
            pairs = crossed.same_seeds(held, ("small", 0), ("small", step_q))
            new = [pair for pair in pairs if pair not in held.kl]
            crossed.load(connection, held, new)
            for pair in new:
                del held.kl[pair]
            derive(connection, identity, CorpusValues(held.corpus_id))
        query = "select count(*) from analysis.comparisons where kind = 'step' and model = 'small' and step = 0"
        assert connection.exec_driver_sql(query).scalar_one() == 3
        rows = connection.exec_driver_sql("select * from analysis.cross_entropy_points where kind = 'step'")
        after = pd.DataFrame(rows.all(), columns=list(rows.keys())).set_index(KEYS).sort_index()
        connection.rollback()
    pd.testing.assert_frame_equal(after, before)


def test_a_flagged_run_is_no_part_of_the_points_of_run_set_default(held: Measured) -> None:
    engine = held.database.engine()
    with engine.connect() as connection:
        flag_run(connection, None, "small", 1, "an outlier")
        for run_set, seeds in (("default", (0, 2)), ("all", SEEDS)):
            connection.exec_driver_sql(f"set local warehouse.run_set = '{run_set}'")
            query = "select * from analysis.cross_entropy_points where kind = 'step' and model = 'small'"
            rows = connection.exec_driver_sql(query)
            found = pd.DataFrame(rows.all(), columns=list(rows.keys())).set_index(KEYS).sort_index()
            wanted = expected_points(held, "step", seeds).loc[["small"]]
            assert (found["run_set"] == run_set).all()
            pd.testing.assert_frame_equal(found[wanted.columns], wanted, check_dtype=False, rtol=1e-7)
        connection.rollback()


def test_fits_read_only_what_conditions_on_names_leave(held: Measured) -> None:
    """A condition on the function's rows reaches the tables: the function is taken in."""
    query = (
        "explain select * from analysis.cross_entropy_fit where corpus = 'prose' and family = 'toy' and layer = 'pos'"
    )
    plan = frame(held.database, query)["QUERY PLAN"]
    grouped = min(plan.index[plan.str.contains("Aggregate")])
    for condition in ("'prose'", "'toy'", "'pos'"):
        assert min(plan.index[plan.str.contains(condition)]) > grouped
    assert not plan.str.contains("cross_entropy_fit_with|_chunk").any()


# --- kind cross ---------------------------------------------------------------------------------------------------


def crossings(held: Measured) -> pd.DataFrame:
    """Every comparison of kind cross: mean KL and difference of cross-entropies from the arrays."""
    rows = []
    for p in held.models:
        q = next(model for model in held.models if model != p)
        for step in STEPS:
            for step_q in STEPS:
                kl = np.array([held.kl[(p, g, step), (q, g, step_q)] for g in SEEDS], np.float64).mean(0)
                h = [
                    [held.scores[model, g, s]["surprisal"].astype(np.float64).mean() for g in SEEDS]
                    for model, s in ((p, step), (q, step_q))
                ]
                rows.append((p, step, step_q, np.nanmean(kl), np.mean(h[0]) - np.mean(h[1])))
    columns = ["model", "step", "step_q", "mean_kl", "surprisal_difference"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3]).sort_index()


def test_differences_are_those_of_every_two_checkpoints(held: Measured) -> None:
    found = frame(held.database, "select * from analysis.cross_entropy_difference")
    wanted = crossings(held)
    assert len(wanted) == 32
    found = found.set_index(wanted.index.names).sort_index()
    pd.testing.assert_frame_equal(found[wanted.columns], wanted, check_dtype=False, rtol=1e-6)
    assert set(found["kind"]) == {"cross"}
    assert found["complete"].all()
    assert found[["se_seed", "se_document", "se_total"]].notna().all(axis=None)


def test_the_frontier_is_the_largest_difference_below_each_decile(held: Measured) -> None:
    found = frame(held.database, "select * from analysis.cross_entropy_frontier").set_index("decile").sort_index()
    table = crossings(held).sort_values("mean_kl")
    assert list(found.index) == list(range(1, 11))
    for decile, row in found.iterrows():
        lowest = table.head(math.ceil(decile * len(table) / 10))
        assert row["max_kl"] == pytest.approx(lowest["mean_kl"].max(), rel=1e-7)
        assert row["max_surprisal_difference"] == pytest.approx(lowest["surprisal_difference"].abs().max(), rel=1e-5)
        assert row["n_comparisons"] == len(lowest)
    assert found["max_surprisal_difference"].is_monotonic_increasing


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


def add_crossing(connection: Connection, text: Text, kl: float, difference: float | None, **values: object) -> None:
    """A comparison of kind cross between two models, with this mean KL and difference."""
    add_curve(
        connection,
        text,
        1,
        [int(1000 * kl) + len(values)],
        [kl],
        kind="cross",
        model_q_id=2,
        step_q=round(1000 * abs(difference or 0)),
        surprisal_difference=difference,
        **values,
    )


def test_a_frontier_by_hand_takes_equal_kl_together_and_leaves_out_what_is_not_known(connection: Connection) -> None:
    text = add_text(connection)
    for name in ("one", "two"):
        add_model(connection, text, name)
    for kl, difference in ((0.1, -0.2), (0.2, 0.1), (0.2, -0.5), (0.4, 0.3)):
        add_crossing(connection, text, kl, difference)
    add_crossing(connection, text, 0.05, None)
    add_crossing(connection, text, 0.05, 9.0, n_pairs_expected=12)
    add_comparison(connection, text, 1, 7, kind="cross", model_q_id=2, n_pairs=0)
    rows = connection.execute(
        "select decile, max_kl, max_surprisal_difference, n_comparisons from analysis.cross_entropy_frontier order by 1"
    ).fetchall()
    # Of four, the first, second, third and fourth tenths end at the first, first, second and second.
    first, second, all_of_them = (0.1, 0.2, 1), (0.2, 0.5, 3), (0.4, 0.5, 4)
    assert [row[1:] for row in rows] == [first] * 2 + [second] * 5 + [all_of_them] * 3
    assert len(connection.execute("select from analysis.cross_entropy_difference").fetchall()) == 6
