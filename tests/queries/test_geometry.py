"""Spectra of heads and anisotropy over training: against numpy, scipy and cases worked by hand."""

from __future__ import annotations

from math import exp, log, sqrt

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.typing import NDArray

from tests.contents import frame
from tests.ingested import Ingested
from tests.queries.rows import add_evaluation, add_model, add_run, add_text
from tests.queries.test_plans import nodes
from warehouse.database import Database

CHECKPOINT = ["family", "model", "seed", "step"]


def add_spectrum(database: Database, values: list[float] | None, *, status: str = "ok") -> None:
    """A checkpoint at step 8 whose head has these singular values, and its evaluation."""
    with database.connect() as owner:
        text = add_text(owner)
        run = add_run(owner, add_model(owner, text, "small"), 0)
        add_evaluation(owner, text, run, 8, surprisal=3, entropy=2)
        owner.execute("update warehouse.evaluation set mean_surprisal = 3, anisotropy = 0.25")
        owner.execute("update warehouse.checkpoint set head_singular_values = %s, status = %s", [values, status])


# --- by hand ------------------------------------------------------------------------------------------------------


def test_a_spectrum_by_hand(database: Database) -> None:
    add_spectrum(database, [2.0, 1.0, 1.0, 0.0])
    [row] = frame(database, "select * from head_spectrum").to_dict("records")
    # Scaled to 1/2, 1/4, 1/4 and 0, the entropy is 3/2 log 2, and log 4 less that is 1/2 log 2.
    assert row["singular_entropy"] == pytest.approx(log(2) / 2, rel=1e-12)
    assert row["effective_rank"] == pytest.approx(2 * sqrt(2), rel=1e-12)
    assert row["stable_rank"] == pytest.approx(6 / 4)
    assert (row["spectral_norm"], row["frobenius_norm"], row["n_values"]) == (2, pytest.approx(sqrt(6)), 4)


def test_w_error_by_hand(database: Database) -> None:
    add_spectrum(database, [2.0, 1.0, 1.0, 0.0])
    rows = frame(database, "select d, w_error from w_error order by d")
    assert rows["d"].tolist() == [0, 1, 2, 3, 4]
    assert rows["w_error"].tolist() == pytest.approx([1, sqrt(2 / 6), sqrt(1 / 6), 0, 0])


@pytest.mark.parametrize(("values", "entropy"), [([3.0] * 5, 0.0), ([3.0, 0.0, 0.0, 0.0, 0.0], log(5)), ([7.0], 0.0)])
def test_singular_entropy_goes_from_nothing_to_the_log_of_the_width(
    database: Database, values: list[float], entropy: float
) -> None:
    add_spectrum(database, values)
    [found] = frame(database, "select singular_entropy from head_spectrum")["singular_entropy"]
    assert found == pytest.approx(entropy, abs=1e-12)


def test_a_head_of_zeros_has_no_entropy_and_no_error(database: Database) -> None:
    add_spectrum(database, [0.0, 0.0])
    measures = frame(database, "select singular_entropy, effective_rank, stable_rank from head_spectrum")
    assert measures.isna().to_numpy().all()
    norms = frame(database, "select spectral_norm, frobenius_norm from head_spectrum")
    assert norms.to_numpy().tolist() == [[0, 0]]
    assert frame(database, "select w_error from w_error")["w_error"].isna().tolist() == [True] * 3


@pytest.mark.parametrize("values", [None, []])
def test_a_checkpoint_without_a_spectrum_has_no_row(database: Database, values: list[float] | None) -> None:
    add_spectrum(database, values)
    assert frame(database, "select * from head_spectrum").empty
    assert frame(database, "select * from w_error").empty
    geometry = frame(database, "select anisotropy, singular_entropy, cross_entropy from representation_geometry")
    assert geometry["anisotropy"].tolist() == [0.25]
    assert geometry["singular_entropy"].isna().all()


def test_a_checkpoint_that_is_not_good_is_left_out(database: Database) -> None:
    add_spectrum(database, [1.0, 0.5], status="quarantined")
    for view in ("head_spectrum", "w_error", "representation_geometry"):
        assert frame(database, f"select * from {view}").empty


def test_the_smallest_singular_values_keep_their_digits(database: Database) -> None:
    values = np.logspace(3, -20, 40).astype(np.float32)
    add_spectrum(database, values.tolist())
    found = frame(database, "select w_error from w_error order by d")["w_error"].to_numpy()
    np.testing.assert_allclose(found, curve(values), rtol=1e-12)
    assert 0 < found[-2] < 1e-22


# --- what was ingested --------------------------------------------------------------------------------------------


def curve(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """[d + 1] norm of what a best approximation of each rank leaves, over the norm of all."""
    wide = values.astype(np.float64)
    return np.array([np.linalg.norm(wide[d:]) / np.linalg.norm(wide) for d in range(len(wide) + 1)])


@pytest.fixture(scope="module")
def spectra(ingested: Ingested) -> pd.DataFrame:
    stored = frame(ingested.database, "select * from checkpoints where head_singular_values is not null")
    stored["values"] = stored["head_singular_values"].map(lambda values: np.array(values, np.float32))
    assert len(stored) > 20
    return stored.set_index(CHECKPOINT).sort_index()


def test_measures_of_ingested_heads_are_those_of_scipy(ingested: Ingested, spectra: pd.DataFrame) -> None:
    found = frame(ingested.database, "select * from head_spectrum").set_index(CHECKPOINT).sort_index()
    assert found.index.tolist() == spectra.index.tolist()
    for key, values in spectra["values"].items():
        uniform = np.full(len(values), 1 / len(values))
        row = found.loc[key]
        expected = scipy.stats.entropy(values.astype(np.float64), uniform)
        assert row["singular_entropy"] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert row["effective_rank"] == pytest.approx(exp(scipy.stats.entropy(values.astype(np.float64))), rel=1e-9)
        assert row["stable_rank"] == pytest.approx((values.astype(np.float64) ** 2).sum() / float(values[0]) ** 2)
        assert row["n_values"] == row["hidden_size"] == len(values)


def test_w_error_of_ingested_heads_is_that_of_their_best_approximations(
    ingested: Ingested, spectra: pd.DataFrame
) -> None:
    found = frame(ingested.database, "select * from w_error order by d").groupby(CHECKPOINT)
    assert len(found) == len(spectra)
    for key, rows in found:
        assert rows["d"].tolist() == list(range(rows["hidden_size"].iloc[0] + 1))
        np.testing.assert_allclose(rows["w_error"], curve(spectra["values"][key]), rtol=1e-9, atol=1e-15)


def test_geometry_stands_beside_the_loss_of_each_evaluation(ingested: Ingested) -> None:
    query = "select * from representation_geometry order by evaluation_id"
    found = frame(ingested.database, query)
    evaluations = frame(ingested.database, "select * from evaluations order by evaluation_id")
    heads = frame(ingested.database, "select checkpoint_id, singular_entropy from head_spectrum")
    expected = evaluations.merge(heads, on="checkpoint_id").sort_values("evaluation_id", ignore_index=True)
    assert len(found) == len(evaluations) == len(expected)
    for column, wanted in {"anisotropy": "anisotropy", "cross_entropy": "mean_surprisal"}.items():
        pd.testing.assert_series_equal(found[column], expected[wanted], check_names=False)
    pd.testing.assert_series_equal(found["singular_entropy"], expected["singular_entropy"])


@pytest.mark.parametrize("view", ["head_spectrum", "w_error", "representation_geometry"])
def test_a_condition_on_names_decides_whose_spectra_are_read(ingested: Ingested, view: str) -> None:
    """Spectra are taken apart after the condition, not before."""
    chosen = "model = 'flat-14m' and step = 0"
    with ingested.database.read() as reader:
        total = reader.execute(f"select count(*) from checkpoints where {chosen}".encode()).fetchone()
        query = f"explain (analyze, timing off, format json) select * from {view} where {chosen}"
        row = reader.execute(query.encode()).fetchone()
    assert row is not None
    assert total is not None
    unnested = [node for node in nodes(row[0][0]["Plan"]) if node["Node Type"] == "Function Scan"]
    assert [node["Actual Loops"] for node in unnested] == [total[0]]
