"""Comparisons are derived from every visible pair: which pairs those are, their mean, and what is kept of the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sqlalchemy import Connection

from tests.contents import frame
from tests.queries.measured import Measured, add_run, evaluation_ids, load_pair, measure, model_key
from warehouse import pairs
from warehouse.comparisons import derive
from warehouse.database import Database
from warehouse.summaries import Values, convergence_rows
from warehouse.values import CorpusValues


@pytest.fixture
def measured(database: Database) -> Measured:
    """One model of four seeds and two steps, all of it loaded."""
    return measure(database, models=("small",), seeds=(0, 1, 2, 3), steps=(0, 16))


def comparison(measured: Measured, kind: str = "seed", step: int = 16) -> int:
    query = "select comparison_id from analysis.comparisons where kind = %s and step = %s"
    return int(frame(measured.database, query, kind, step).iloc[0, 0])


def mixture(measured: Measured, kind: str = "seed", step: int = 16) -> NDArray[Any]:
    query = "select mixture_entropy from analysis.token_convergence where kind = %s and step = %s order by token_id"
    return frame(measured.database, query, kind, step)["mixture_entropy"].to_numpy(np.float64)


def rederive(measured: Measured, comparison_id: int, **options: Any) -> None:
    with measured.database.engine().begin() as connection:
        derive(connection, comparison_id, CorpusValues(measured.corpus_id), **options)


def flag(measured: Measured, seed: int) -> None:
    """Flag a run as an outlier, without deriving anything."""
    with measured.database.connect() as connection:
        connection.execute("update warehouse.run set outlier = true where seed = %s", [seed])


def outdated_ones(measured: Measured) -> list[int]:
    with measured.database.engine().connect() as connection:
        return pairs.outdated(connection, measured.corpus_id, measured.protocol_id, model_key(connection, "small"))


def test_a_pair_is_loaded_once(measured: Measured) -> None:
    p, q = ("small", 0, 16), ("small", 1, 16)
    query = "select count(*), sum(cardinality(kl)) from warehouse.divergence_chunk"
    before = frame(measured.database, query)
    with measured.database.engine().begin() as connection:
        ids = evaluation_ids(connection, measured)
        unit = pairs.Pair(ids[p], ids[q], measured.environment_id, measured.kl[p, q] + 1, 9.0, None, None, None)
        assert pairs.load_pair(connection, unit, measured.corpus_id, measured.first_token_id) is None
    assert frame(measured.database, query).equals(before)
    stored = "select mean_kl from warehouse.comparison_pair where evaluation_p = %s and evaluation_q = %s"
    assert frame(measured.database, stored, ids[p], ids[q]).iloc[0, 0] < 9


def test_deriving_twice_changes_no_value(measured: Measured) -> None:
    queries = [
        f"select * from warehouse.{table} order by 1, 2, 3"
        for table in ("comparison", "comparison_member", "convergence_chunk", "convergence_summary")
        if table != "comparison_member"
    ]
    before = [frame(measured.database, query) for query in queries]
    rederive(measured, comparison(measured))
    for query, table in zip(queries, before, strict=True):
        assert frame(measured.database, query).astype(str).equals(table.astype(str))


def test_the_mean_over_pairs_is_taken_in_double_precision(measured: Measured) -> None:
    query = "select 0 - convergence from analysis.token_convergence where kind = 'seed' and step = 16 order by token_id"
    stored = frame(measured.database, query).iloc[:, 0].to_numpy()
    kls = [kl for (p, q), kl in measured.kl.items() if p[2] == q[2] == 16]
    assert len(kls) == 12
    expected = np.mean(np.array(kls, np.float64), 0)
    np.testing.assert_array_equal(stored, expected.astype(np.float32).astype(np.float64))


# --- the entropy of the seeds' mean prediction -----------------------------------------------------------------------


def test_a_mixture_is_kept_while_the_seeds_are_the_same(measured: Measured) -> None:
    before = mixture(measured)
    assert np.isfinite(before).all()
    rederive(measured, comparison(measured))
    np.testing.assert_array_equal(mixture(measured), before)


def test_a_mixture_of_just_these_seeds_takes_the_place_of_the_old(measured: Measured) -> None:
    new = np.linspace(1, 2, len(measured.documents), dtype=np.float32)
    rederive(measured, comparison(measured), mixtures={(0, 1, 2): new + 1, (0, 1, 2, 3): new})
    np.testing.assert_array_equal(mixture(measured), new.astype(np.float64))


def test_a_mixture_of_other_seeds_is_none(measured: Measured) -> None:
    flag(measured, 2)
    rederive(measured, comparison(measured), mixtures={(0, 1, 2, 3): np.ones(len(measured.documents), np.float32)})
    assert np.isnan(mixture(measured)).all()
    rederive(measured, comparison(measured))
    assert np.isnan(mixture(measured)).all()


def test_only_seeds_are_mixed(measured: Measured) -> None:
    entropy = np.ones(len(measured.documents), np.float32)
    rederive(measured, comparison(measured, "step", 0), mixtures={(0, 1, 2, 3): entropy})
    assert np.isnan(mixture(measured, "step", 0)).all()


# --- which pairs answer ----------------------------------------------------------------------------------------------


def test_a_flagged_run_leaves_the_comparisons_it_was_in(measured: Measured) -> None:
    assert outdated_ones(measured) == []
    flag(measured, 2)
    found = outdated_ones(measured)
    # Of seeds at two steps, to the next step and to the last.
    assert found == sorted(frame(measured.database, "select comparison_id from analysis.comparisons").iloc[:, 0])
    for comparison_id in found:
        rederive(measured, comparison_id)
    assert outdated_ones(measured) == []
    left = frame(measured.database, "select kind, n_pairs, seeds, seed_pairs from analysis.comparisons order by 1, 2")
    assert left.drop_duplicates(["kind", "n_pairs"]).to_numpy().tolist() == [
        ["final", 3, [0, 1, 3], [1, 1, 1]],
        ["seed", 6, [0, 1, 3], [4, 4, 4]],
        ["step", 3, [0, 1, 3], [1, 1, 1]],
    ]


def test_a_checkpoint_that_is_not_good_answers_nothing(measured: Measured) -> None:
    with measured.database.connect() as connection:
        connection.execute(
            "update warehouse.checkpoint set status = 'quarantined', reason = 'odd' "
            "where step = 16 and run_id = (select run_id from warehouse.run where seed = 3)"
        )
    assert comparison(measured) in outdated_ones(measured)
    assert comparison(measured, step=0) not in outdated_ones(measured)
    rederive(measured, comparison(measured))
    query = "select n_pairs, seeds, complete from analysis.comparisons where kind = 'seed' and step = 16"
    assert frame(measured.database, query).to_numpy().tolist() == [[6, [0, 1, 2], False]]


def test_a_comparison_without_pairs_says_nothing(measured: Measured) -> None:
    for seed in measured.seeds:
        flag(measured, seed)
    rederive(measured, comparison(measured))
    assert len(mixture(measured)) == 0
    gone = frame(measured.database, "select n_pairs, seeds, sd_pairs from analysis.comparisons where step = 16")
    assert gone.iloc[0].tolist()[:2] == [0, []]
    query = "select count(*) from warehouse.convergence_summary where comparison_id = %s"
    assert frame(measured.database, query, comparison(measured)).iloc[0, 0] == 0


def test_pairs_just_written_are_used_without_reading_them(measured: Measured) -> None:
    """known stands for what the database holds: a value that differs shows where the mean came from."""
    query = """
    select pair_id from analysis.pairwise_kl where kind = 'seed' and step = 16 and seed_p = 0 and seed_q = 1 limit 1
    """
    pair_id = int(frame(measured.database, query).iloc[0, 0])
    rederive(measured, comparison(measured), known={pair_id: np.full(len(measured.documents), 12, np.float32)})
    query = "select avg(0 - convergence) from analysis.token_convergence where kind = 'seed' and step = 16"
    others = [kl for (p, q), kl in measured.kl.items() if p[2] == q[2] == 16 and (p[1], q[1]) != (0, 1)]
    expected = (12 + sum(kl.astype(np.float64).mean() for kl in others)) / 12
    assert frame(measured.database, query).iloc[0, 0] == pytest.approx(expected, rel=1e-6)


def test_a_new_pair_makes_its_comparisons_outdated_and_no_others(measured: Measured) -> None:
    with measured.database.engine().begin() as connection:
        add_run(connection, measured, model_key(connection, "small"), 4)
        _complete(connection, measured, seed=4)
        p, q = ("small", 4, 16), ("small", 0, 16)
        load_pair(connection, measured, evaluation_ids(connection, measured), (p, q), np.random.default_rng(1))
        found = pairs.outdated(connection, measured.corpus_id, measured.protocol_id, model_key(connection, "small"))
        derive(connection, found[0], CorpusValues(measured.corpus_id))
    assert found == [comparison(measured)]
    row = frame(measured.database, "select n_pairs, seeds, seed_pairs from analysis.comparisons where step = 16")
    assert row.to_numpy().tolist() == [[13, [0, 1, 2, 3, 4], [7, 6, 6, 6, 1]]]
    squares = frame(
        measured.database,
        "select pair_square_sum from warehouse.convergence_summary where comparison_id = %s",
        comparison(measured),
    )
    assert squares["pair_square_sum"].isna().all()  # not all pairs of the five are there


def _complete(connection: Connection, measured: Measured, *, seed: int) -> None:
    """Declare a seed's evaluations complete without scores: pairs need no more."""
    ids = [identity for (_, s, _), identity in evaluation_ids(connection, measured).items() if s == seed]
    statement = "update warehouse.evaluation set status = 'complete', input_digest = 'x' where evaluation_id = any(%s)"
    raw = connection.connection.driver_connection
    assert raw is not None
    raw.execute(statement, [ids])


# --- sums ------------------------------------------------------------------------------------------------------------


def totals_of(kl: dict[tuple[int, int], Any], values: Values) -> dict[tuple[int, int], Any]:
    return {pair: values.totals(x) for pair, x in kl.items()}


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.randoms(use_true_random=False), st.sampled_from([1, 255, 256, 257]))
def test_the_order_and_names_of_seeds_do_not_matter(n: int, draw: Any, n_tokens: int) -> None:
    random = np.random.default_rng(draw.randrange(2**32))
    names = draw.sample(range(100), n)
    kl = {(p, q): random.gamma(1, 1, n_tokens).astype(np.float32) for p in range(n) for q in range(n) if p != q}
    renamed = {(names[p], names[q]): values for (p, q), values in kl.items()}
    items = list(renamed.items())
    draw.shuffle(items)
    mean = np.mean(list(kl.values()), 0, np.float64).astype(np.float32)
    values = Values(1, random.integers(-1, 3, n_tokens).astype(np.int32), 3)
    clusters = np.arange(n_tokens) // 100
    plain = convergence_rows(mean, totals_of(kl, values), range(n), values, clusters)
    other = convergence_rows(mean, totals_of(dict(items), values), sorted(names), values, clusters)
    assert len(plain) == len(other)
    place = [sorted(names).index(name) for name in names]
    for row, same in zip(plain, other, strict=True):
        sums, moved = row.pop("seed_sums"), same.pop("seed_sums")
        assert sums == pytest.approx([moved[i] for i in place], rel=1e-12)
        squares, same_squares = row.pop("pair_square_sum"), same.pop("pair_square_sum")
        assert (squares is None) == (n < 4)
        assert squares is None or squares == pytest.approx(same_squares, rel=1e-12)
        assert row == same


def test_sums_of_three_tokens_by_hand() -> None:
    """Two documents, two values; the third token has none."""
    x = np.array([1, 2, 4], np.float32)
    kl = {(0, 1): x * 2, (1, 0): np.zeros(3, np.float32)}
    values = Values(7, np.array([0, 1, -1], np.int32), 2)
    first, second = convergence_rows(x, totals_of(kl, values), [0, 1], values, np.array([0, 0, 1]))
    assert first == {
        "layer_id": 7,
        "category_id": 0,
        "n": 1,
        "sum_kl": 1.0,
        "sum_kl2": 1.0,
        "min_kl": 1.0,
        "max_kl": 1.0,
        "clusters": 1,
        "cluster_xx": 1.0,
        "cluster_xn": 1.0,
        "cluster_nn": 1.0,
        "cross_xx": 3.0,  # 1 of the value times 1 + 2 of its document
        "cross_xn": 2.0,
        "cross_nx": 3.0,
        "cross_nn": 2.0,
        "pair_square_sum": None,
        "seed_sums": [2.0, 2.0],
    }
    assert (second["category_id"], second["sum_kl2"], second["cross_xx"]) == (1, 4.0, 6.0)
    assert second["seed_sums"] == [4.0, 4.0]
