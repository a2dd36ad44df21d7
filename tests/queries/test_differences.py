"""Differences of convergence, paired by document and by seed: against numpy on the tokens, and where there are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import t as student

from tests.contents import frame
from tests.queries.measured import Measured, measure
from tests.queries.test_views import jackknife
from warehouse.database import Database

Mask = NDArray[np.bool_]
Side = tuple[str, int, Mask]  # model, step, tokens


def expected(held: Measured, a: Side, b: Side, *, kind: str = "seed", corrected: bool = True) -> dict[str, float]:
    """A difference as it should come out, from residuals token by token; interval by Welch and Satterthwaite."""
    means, residual, by_pair = [], np.zeros(len(held.documents)), []
    for sign, (model, step, chosen) in ((1, a), (-1, b)):
        x = held.mean(kind, model, step)
        chosen = chosen & np.isfinite(x)
        means.append(-x[chosen].mean())
        residual[chosen] += sign * (x[chosen] - x[chosen].mean()) / chosen.sum()
        pairs = held.members(kind, model, step)
        by_pair.append({(p[1], q[1]): held.kl[p, q][chosen].astype(np.float64).mean() for p, q in pairs})
    counted = pd.Series(a[2] | b[2]) & np.isfinite(held.mean(kind, *a[:2]))
    e = pd.Series(residual)[counted].groupby(held.clusters[counted]).sum()
    d = len(e)
    document = float(np.sqrt(d / (d - 1) * (e**2).sum()))
    differences = {pair: by_pair[0][pair] - by_pair[1][pair] for pair in by_pair[0]}
    seeds = {seed for pair in differences for seed in pair}
    seed = jackknife(differences, 2 if kind == "seed" and corrected else 1)
    total = float(np.hypot(seed, document))
    df = int(total**4 // (seed**4 / (len(seeds) - 1) + document**4 / (d - 1)))
    half = student.ppf(0.975, df) * total
    difference = means[0] - means[1]
    return {
        "convergence_a": means[0],
        "convergence_b": means[1],
        "difference": difference,
        "se_document": document,
        "se_seed": seed,
        "se_total": total,
        "df_document": d - 1,
        "df_seed": len(seeds) - 1,
        "df_total": df,
        "lower": difference - half,
        "upper": difference + half,
    }


def ask(held: Measured, arguments: str) -> dict[str, Any]:
    rows = frame(held.database, f"select * from convergence_difference_between('prose', {arguments})")
    assert len(rows) == 1
    return {str(name): value for name, value in rows.iloc[0].items()}


def assert_says(row: dict[str, Any], wanted: dict[str, float], rel: float = 1e-6) -> None:
    assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=rel)


@pytest.fixture
def everything(measured: Measured) -> Mask:
    return np.ones(len(measured.documents), bool)


def test_a_difference_between_steps_is_paired_by_document_and_by_seed(measured: Measured, everything: Mask) -> None:
    row = ask(measured, "'small', 64, step_b => 16")
    assert_says(row, expected(measured, ("small", 64, everything), ("small", 16, everything)))
    assert row["se_seed"] > 0
    single = frame(
        measured.database,
        f"select * from convergence_difference({row['comparison_a']}, {row['comparison_b']}, confidence => 0.95)",
    ).iloc[0]
    assert single.to_dict() == {name: row[name] for name in single.index}


def test_a_difference_between_models_is_paired_by_label_of_seed(measured: Measured, everything: Mask) -> None:
    row = ask(measured, "'small', 16, model_b => 'large'")
    assert_says(row, expected(measured, ("small", 16, everything), ("large", 16, everything)))


def test_a_difference_of_kind_step_has_one_seed_a_pair(measured: Measured, everything: Mask) -> None:
    row = ask(measured, "'small', 16, step_b => 0, kind => 'step'")
    assert_says(row, expected(measured, ("small", 16, everything), ("small", 0, everything), kind="step"))


def test_a_difference_of_a_kind_in_reverse_goes_by_the_earlier_step(measured: Measured) -> None:
    """Each comparison of kind final turned round: its step is the last one, and the step that counts that of q."""
    query = b"select * from analysis.convergence_difference_between('prose', 'small', 16, step_b => 0, kind => %s)"
    with measured.database.connect() as connection:
        forth = connection.execute(query, ["final"]).fetchall()
        connection.execute(
            """
            update warehouse.comparison set kind = 'final_reverse', step = step_q, step_q = step where kind = 'final'
            """
        )
        back = connection.execute(query, ["final_reverse"]).fetchall()
        connection.rollback()
    assert len(forth) == len(back) == 1
    assert back[0][:-4] == forth[0][:-4]


def test_a_difference_between_values_of_a_layer_reads_the_tokens(measured: Measured) -> None:
    codes = measured.layers["pos"]
    row = ask(measured, "'small', 16, layer => 'pos', value_a => 'pos 1', value_b => 'pos 4'")
    assert_says(
        row, expected(measured, ("small", 16, codes == 1), ("small", 16, codes == 4), corrected=False), rel=1e-5
    )
    assert (row["n_tokens_a"], row["n_tokens_b"]) == tuple(
        int(((codes == code) & np.isfinite(measured.mean("seed", "small", 16))).sum()) for code in (1, 4)
    )
    same = ask(measured, "'small', 16, step_b => 64, layer => 'pos', value_a => 'pos 1'")
    assert_says(same, expected(measured, ("small", 16, codes == 1), ("small", 64, codes == 1), corrected=False), 1e-5)


def test_nothing_differs_from_itself(measured: Measured) -> None:
    row = ask(measured, "'small', 16")
    zeros = ("difference", "se_seed", "se_document", "se_total", "lower", "upper")
    assert {name: row[name] for name in zeros} == dict.fromkeys(zeros, 0)
    # The lesser of the two.
    assert row["df_total"] == 3


def test_the_confidence_is_that_of_student_s_t(measured: Measured) -> None:
    wide, narrow = (ask(measured, f"'small', 64, 'large', confidence => {level}") for level in (0.99, 0.5))
    for row, level in ((wide, 0.99), (narrow, 0.5)):
        half = student.ppf((1 + level) / 2, row["df_total"]) * row["se_total"]
        assert row["upper"] - row["lower"] == pytest.approx(2 * half, rel=1e-9)


def test_all_tokens_are_answered_from_sums_over_documents(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=900)
    before = ask(held, "'small', 16, step_b => 0")
    with database.connect() as connection:
        connection.execute("delete from warehouse.convergence_chunk")
    assert ask(held, "'small', 16, step_b => 0") == before


def test_context_that_counts_in_no_document_is_read_from_the_tokens(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=900)
    everything = np.ones(900, bool)
    with database.connect() as connection:
        connection.execute("update warehouse.document set scored_from = 2 where document = 3")
        connection.execute("delete from warehouse.document_divergence_chunk")
    wanted = expected(held, ("small", 16, everything), ("small", 0, everything))
    assert_says(ask(held, "'small', 16, step_b => 0"), wanted)


def test_few_documents_are_paired_by_chunk(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=1500, n_documents=3)
    everything = np.ones(1500, bool)
    row = ask(held, "'small', 16, step_b => 0")
    assert_says(row, expected(held, ("small", 16, everything), ("small", 0, everything)))
    assert (row["cluster"], row["n_clusters"]) == ("chunk", 6)


def test_too_few_clusters_and_other_seeds_leave_an_error_unknown(database: Database) -> None:
    held = measure(database, models=("small", "large"), steps=(0, 16), n_tokens=700, n_documents=3)
    row = ask(held, "'small', 16, step_b => 0")
    assert all(pd.isna(row[name]) for name in ("se_document", "se_total", "lower", "upper"))
    assert row["se_seed"] > 0
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.comparison as comparison set seeds = '{0, 1, 5}'
            from warehouse.model as model where model.model_id = comparison.model_id and model.name = 'large'
            """
        )
    row = ask(held, "'small', 16, 'large'")
    assert pd.isna(row["se_seed"])
    assert pd.isna(row["se_total"])
    assert row["difference"] == pytest.approx(row["convergence_a"] - row["convergence_b"])


def test_a_document_that_pairs_cover_unequally_has_no_error(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=900)
    with database.connect() as connection:
        connection.execute(
            """
            update warehouse.document_divergence_chunk set n_tokens[2] = 1
            where pair_id = (select min(pair_id) from analysis.seed_agreement)
            """
        )
    row = ask(held, "'small', 0, step_b => 16")
    assert pd.isna(row["se_document"])
    assert row["se_seed"] > 0


def test_comparisons_of_different_texts_have_no_difference(database: Database) -> None:
    held = measure(database, models=("small",), steps=(0, 16), n_tokens=300)
    assert frame(held.database, "select * from convergence_difference(1, 999)").empty
    assert frame(held.database, "select * from convergence_difference(1, 1, 'pos', 'no such value')").empty
