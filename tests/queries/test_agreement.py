"""How far seeds agree, pair by pair, type by type and all together: against scipy and pandas on what was loaded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr

from queries.refresh import refresh
from tests.contents import frame
from tests.ingested import Ingested
from tests.queries.measured import PIECES, Measured, evaluation_ids, measure
from tests.queries.test_views import jackknife, se_clusters
from warehouse.database import Database

COMPARISON = ["kind", "model", "step"]


def agreement(held: Measured, model: str, step: int, p: int, q: int) -> dict[str, float]:
    """Statistics of two seeds over the tokens that both have scored."""
    one, other = held.scores[model, p, step], held.scores[model, q, step]
    both = np.isfinite(one["surprisal"]) & np.isfinite(other["surprisal"])
    x, y = (scores["surprisal"][both].astype(np.float64) for scores in (one, other))
    same = one["top_vocab_id"][both] == other["top_vocab_id"][both]
    return {
        "pearson": float(pearsonr(x, y).statistic),
        "spearman": float(spearmanr(x, y).statistic),
        "top1_agreement": float(same.mean()),
    }


def test_seed_agreement_has_the_statistics_of_every_ordered_pair(measured: Measured) -> None:
    table = frame(measured.database, "select * from seed_agreement")
    assert len(table) == 2 * 3 * 12
    assert not table.duplicated(["model", "step", "seed_p", "seed_q"]).any()
    for row in table.itertuples():
        model, step, p, q = str(row.model), int(row.step), int(row.seed_p), int(row.seed_q)  # type: ignore[arg-type]
        kl = measured.kl[(model, p, step), (model, q, step)]
        assert row.kl == pytest.approx(np.nanmean(kl.astype(np.float64)), rel=1e-12)
        assert row.n_tokens == len(kl)
        for name, value in agreement(measured, model, step, p, q).items():
            assert getattr(row, name) == pytest.approx(value, rel=1e-9), name


def test_mean_seed_agreement_has_its_jackknife_over_seeds(measured: Measured) -> None:
    table = frame(measured.database, "select * from mean_seed_agreement")
    assert len(table) == 2 * 3
    for row in table.itertuples():
        model, step = str(row.model), int(row.step)  # type: ignore[arg-type]
        pairs = [(p[1], q[1]) for p, q in measured.members("seed", model, step)]
        found = {pair: agreement(measured, model, step, *pair) for pair in pairs}
        assert (row.n_pairs, row.n_seeds, row.df_seed, row.complete) == (12, 4, 3, True)
        for name in ("pearson", "spearman", "top1_agreement"):
            means = {pair: values[name] for pair, values in found.items()}
            assert getattr(row, name) == pytest.approx(np.mean(list(means.values())), rel=1e-9, abs=1e-12)
            assert getattr(row, f"se_{name}") == pytest.approx(jackknife(means, 2), rel=1e-6, abs=1e-9)


def test_two_seeds_agree_without_an_error_and_a_pair_without_scores_leaves_no_mean(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1), steps=(16,), n_tokens=300)
    query = "select * from mean_seed_agreement"
    [row] = frame(database, query).to_dict("records")
    assert row["spearman"] == pytest.approx(frame(database, "select spearman from seed_agreement").mean().item())
    assert row["se_spearman"] is None
    with database.connect() as connection:
        connection.execute("update warehouse.comparison_pair set spearman = null where pair_id = 1")
    [row] = frame(database, query).to_dict("records")
    assert row["spearman"] is None
    assert row["pearson"] is not None


def test_a_flagged_run_takes_part_where_the_session_says_so(database: Database) -> None:
    measure(database, models=("small",), seeds=(0, 1, 2), steps=(16,), n_tokens=300)
    with database.connect() as connection:
        connection.execute("update warehouse.comparison set run_set = 'all'")
        for view in ("seed_agreement", "mean_seed_agreement", "vocabulary_convergence", "expected_jensen_shannon"):
            query = f"select count(*) > 0 from analysis.{view}".encode()
            connection.execute("set warehouse.run_set = 'default'")
            assert connection.execute(query).fetchall() == [(False,)]
            connection.execute("set warehouse.run_set = 'all'")
            assert connection.execute(query).fetchall() == [(True,)]


def test_a_refresh_ranks_the_tokens_that_both_sides_have_and_fills_what_an_import_left_open(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(16,), n_tokens=700)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, held)
    lacking = [3, 300, 301]
    with database.connect() as connection:
        connection.execute(
            "update warehouse.comparison_pair set pearson = null, spearman = null, top1_agreement = null"
        )
        # Many are equal then.
        connection.execute(
            """
            update warehouse.score_chunk set surprisal = array(
                select floor(item.x)::real from unnest(surprisal) with ordinality as item (x, place) order by item.place
            )
            """
        )
        for place in lacking:
            connection.execute(
                "update warehouse.score_chunk set surprisal[%s] = null where evaluation_id = %s and chunk_id = %s",
                [place % 256 + 1, ids["small", 0, 16], (held.first_token_id + place) // 256],
            )
        connection.execute("delete from warehouse.score_chunk where evaluation_id = %s", [ids["small", 2, 16]])
        changes = {change.table: change for change in refresh(connection)}
        assert changes["comparison_pair"].changed == 2
    for scores in held.scores.values():
        scores["surprisal"] = np.floor(scores["surprisal"])
    held.scores["small", 0, 16]["surprisal"][lacking] = np.nan
    table = frame(database, "select * from seed_agreement")
    assert len(table) == 6
    for row in table.itertuples():
        pair = int(row.seed_p), int(row.seed_q)  # type: ignore[arg-type]
        for name in ("pearson", "spearman", "top1_agreement"):
            wanted = np.nan if 2 in pair else agreement(held, "small", 16, *pair)[name]
            assert getattr(row, name) == pytest.approx(wanted, rel=1e-9, nan_ok=True)


def types(held: Measured, kind: str, model: str, step: int) -> pd.DataFrame:
    """Convergence by vocabulary id, from the tokens."""
    tokens = pd.DataFrame(
        {"vocab_id": held.vocab_ids, "convergence": -held.mean(kind, model, step), "cluster": held.clusters}
    ).dropna()
    group = tokens.groupby("vocab_id")
    table = group["convergence"].agg(n_tokens="size", convergence="mean", sd_tokens="std")
    table["se_document"] = [
        se_clusters(part["convergence"].to_numpy(), part["cluster"].to_numpy()) for _, part in group
    ]
    return table


@pytest.mark.parametrize("min_tokens", [1, 28])
def test_types_have_their_convergence_and_their_place(measured: Measured, min_tokens: int) -> None:
    source = "vocabulary_convergence" if min_tokens == 1 else f"vocabulary_convergence_with(min_tokens => {min_tokens})"
    found: Any = frame(measured.database, f"select * from {source}").groupby(COMPARISON)
    assert len(found) == 14
    for (kind, model, step), rows in found:
        wanted = types(measured, kind, model, step)
        wanted = wanted[wanted["n_tokens"] >= min_tokens]
        assert 0 < len(wanted) <= len(PIECES)
        assert min_tokens == 1 or len(wanted) < len(PIECES)
        wanted["place"] = rankdata(wanted["convergence"], method="min")
        wanted["percentile"] = (wanted["place"] - 1) / (len(wanted) - 1)
        actual = rows.set_index("vocab_id").sort_index()
        pd.testing.assert_frame_equal(
            actual[wanted.columns], wanted, check_dtype=False, check_index_type=False, rtol=1e-6, atol=1e-12
        )
        assert (actual["n_types"] == len(wanted)).all()
        assert actual["piece"].tolist() == [PIECES[number] for number in actual.index]


def test_jensen_shannon_is_the_entropy_of_the_mixture_less_the_mean_entropy(measured: Measured) -> None:
    table = frame(measured.database, "select * from jensen_shannon order by model, step, token_id")
    mixtures = (
        frame(
            measured.database,
            "select model, step, token_id, mixture_entropy from token_convergence where kind = 'seed'",
        )
        .set_index(["model", "step", "token_id"])["mixture_entropy"]
        .sort_index()
    )
    groups: Any = table.groupby(["model", "step"])
    expected = (
        frame(measured.database, "select * from expected_jensen_shannon").set_index(["model", "step"]).sort_index()
    )
    assert len(groups) == len(expected) == 6
    for (model, step), rows in groups:
        entropies = [measured.scores[model, seed, step]["entropy"].astype(np.float64) for seed in measured.seeds]
        mean = np.mean(entropies, axis=0)
        np.testing.assert_allclose(rows["mean_entropy"], mean, rtol=1e-12)
        divergence = mixtures.loc[(model, step)].to_numpy() - mean
        np.testing.assert_allclose(rows["divergence"], divergence, rtol=1e-9, atol=1e-12)
        row = expected.loc[(model, step)]
        assert row["n_tokens"] == len(divergence)
        assert row["divergence"] == pytest.approx(divergence.mean(), rel=1e-9)
        assert row["se_document"] == pytest.approx(se_clusters(divergence, measured.clusters), rel=1e-6)


def test_without_the_entropy_of_one_seed_there_is_no_divergence_of_all(database: Database) -> None:
    held = measure(database, models=("small",), seeds=(0, 1, 2), steps=(16,), n_tokens=300)
    with database.engine().begin() as connection:
        ids = evaluation_ids(connection, held)
    with database.connect() as connection:
        connection.execute(
            "update warehouse.score_chunk set entropy = null where evaluation_id = %s and chunk_id = %s",
            [ids["small", 1, 16], held.first_token_id // 256 + 1],
        )
    table = frame(database, "select token_id, divergence from jensen_shannon order by token_id")
    assert table["divergence"].notna().tolist() == [True] * 256 + [False] * 44
    assert frame(database, "select n_tokens from expected_jensen_shannon").iloc[0, 0] == 256


def test_of_real_models_it_lies_between_nothing_and_the_mean_kl(ingested: Ingested) -> None:
    """By Jensen's inequality the KL to a mean of n predictions is at most (n - 1) / n of the mean KL to the others."""
    table = frame(
        ingested.database,
        """
        select jensen_shannon.divergence, jensen_shannon.n_seeds, -token.convergence as kl
        from jensen_shannon inner join token_convergence as token using (comparison_id, token_id)
        """,
    )
    assert len(table) > 1000
    assert (table["divergence"] > -1e-5).all()
    assert (table["divergence"] <= (table["n_seeds"] - 1) / table["n_seeds"] * table["kl"] + 1e-5).all()
    assert table["divergence"].max() > 0.1
