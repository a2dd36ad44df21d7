"""Fits: stored whole under a name, replaced by the next of that name, listed, dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy

from tests.conftest import Outcome
from tests.contents import frame
from tests.queries.measured import measure
from warehouse.database import Database
from warehouse.fits import Fit, InputGone, digest_of, store_fit

Command = Callable[..., Outcome]

SCALING = Fit("scaling", "chinchilla", {"b": 410.7, "at_least": 410e6}, "d" * 64, ("numpy",))
REGRESSION = Fit("regression", "tags", {"layer": "pos"}, "e" * 64, family="toy", corpus="prose", protocol="default")


def law(alpha: float) -> dict[str, object]:
    """Results of a fit of a scaling law."""
    return {"n_models": 2, "n": 8, "a": 119.09, "alpha": alpha, "b": 410.7, "beta": 0.28, "e": 1.69}


def coefficient(step: int, value: str) -> dict[str, object]:
    """Results of a regression: one coefficient."""
    counts = {"n": 10, "n_clusters": 5, "n_with_value": 4, "n_clusters_with_value": 2}
    return {"step": step, "predictor": "pos", "value": value, **counts, "coefficient": 0.1}


def stored(database: Database, table: str) -> list[dict[str, Any]]:
    """Rows of a table of results."""
    return frame(database, f"select * from warehouse.{table} order by fit_id").to_dict("records")


def test_a_fit_is_stored_with_all_that_is_needed_to_make_it_again(database: Database) -> None:
    assert not store_fit(database, SCALING, [law(0.246)])
    [row] = frame(database, "select * from analysis.fits").to_dict("records")
    assert row["settings"] == {"b": 410.7, "at_least": 410e6}
    assert row["versions"] == {"token-warehouse": version("token-warehouse"), "numpy": np.__version__}
    assert (row["kind"], row["name"], row["input_digest"]) == ("scaling", "chinchilla", "d" * 64)
    assert [row[noun] for noun in ("family", "corpus", "protocol")] == [None, None, None]
    [result] = stored(database, "scaling_fit")
    assert (result["fit_id"], result["alpha"]) == (row["fit_id"], 0.246)


def test_fitting_again_under_the_same_name_replaces_the_results(database: Database) -> None:
    measure(database, n_tokens=300, n_documents=8, models=())
    assert not store_fit(database, REGRESSION, [coefficient(1, "NN"), coefficient(2, "NN")])
    assert not store_fit(database, SCALING, [law(0.3)])
    before = frame(database, "select made_at from analysis.fits where kind = 'regression'")["made_at"][0]
    again = replace(REGRESSION, settings={"layer": "other"}, input_digest="f" * 64)
    assert store_fit(database, again, [coefficient(1, "DT")])
    assert [row["value"] for row in stored(database, "regression_coefficient")] == ["DT"]
    row = frame(database, "select * from analysis.fits where kind = 'regression'").iloc[0]
    assert (row["settings"], row["input_digest"]) == ({"layer": "other"}, "f" * 64)
    assert row["made_at"] > before
    assert len(stored(database, "scaling_fit")) == 1


def test_a_fit_that_cannot_be_written_leaves_the_one_before(database: Database) -> None:
    store_fit(database, SCALING, [law(0.246)])
    with pytest.raises(sqlalchemy.exc.IntegrityError):
        store_fit(database, replace(SCALING, input_digest="x" * 64), [law(0.3), law(0.3)])
    [fit] = stored(database, "fit")
    assert fit["input_digest"] == "d" * 64
    assert [row["alpha"] for row in stored(database, "scaling_fit")] == [0.246]


def test_two_who_fit_the_same_at_once_leave_one_fit(database: Database) -> None:
    outcomes: list[bool] = []

    def work(alpha: float) -> None:
        outcomes.extend(store_fit(database, SCALING, [law(alpha)]) for _ in range(5))

    threads = [threading.Thread(target=work, args=(alpha,)) for alpha in (0.1, 0.2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] + [True] * 9
    assert len(stored(database, "fit")) == len(stored(database, "scaling_fit")) == 1


def test_a_corpus_or_protocol_that_is_gone_is_an_error_that_names_it(database: Database) -> None:
    measure(database, n_tokens=300, n_documents=8, models=())
    for noun in ("corpus", "protocol"):
        with pytest.raises(InputGone, match=f"The {noun} gone was taken out"):
            store_fit(database, replace(REGRESSION, **{noun: "gone"}), [])
    assert stored(database, "fit") == []


def test_a_digest_tells_values_and_their_order_apart() -> None:
    columns = [np.array([1.0, 2.0]), ["a", "b"], pd.Series([1, 2])]
    digests = {
        digest_of(*columns),
        digest_of([1.0, 2.0 + 1e-15], *columns[1:]),
        digest_of([2.0, 1.0], *columns[1:]),
        digest_of(columns[0], ["a", None], columns[2]),
        digest_of(columns[0], ["ab", ""], columns[2]),
        digest_of(*columns[:2]),
    }
    assert len(digests) == 6
    assert digest_of(*columns) == digest_of(pd.Series([1.0, 2.0]), np.array(["a", "b"], object), [1, 2])


# --- the command --------------------------------------------------------------------------------------------------


def test_fits_are_listed_and_dropped_with_their_results(named_database: Database, command: Command) -> None:
    measure(named_database, n_tokens=300, n_documents=8, models=())
    store_fit(named_database, SCALING, [law(0.246)])
    store_fit(named_database, REGRESSION, [coefficient(1, "NN")])
    listed = command("fit", "list", "--format", "csv")
    assert listed.status == 0
    rows = [line.split(",")[:5] for line in listed.output.splitlines()[1:]]
    assert rows == [["regression", "tags", "toy", "prose", "default"], ["scaling", "chinchilla", "", "", ""]]
    dropped = command("fit", "drop", "tags")
    assert dropped.output == "Dropped: regression tags, family toy, corpus prose, protocol default.\n"
    assert stored(named_database, "regression_coefficient") == []
    assert [fit["kind"] for fit in stored(named_database, "fit")] == ["scaling"]


def test_a_name_that_several_fits_have_is_told_apart_by_options(named_database: Database, command: Command) -> None:
    measure(named_database, n_tokens=300, n_documents=8, models=())
    store_fit(named_database, replace(SCALING, name="tags"), [law(0.246)])
    store_fit(named_database, REGRESSION, [])
    refused = command("fit", "drop", "tags")
    assert refused.status == 2
    assert "2 fits are called tags (scaling tags; regression tags, family toy" in refused.errors
    assert command("fit", "drop", "tags", "--family", "toy").status == 0
    missing = command("fit", "drop", "tags", "--kind", "regression")
    assert missing.status == 2
    assert "There is no fit tags regression; those of this name are: scaling tags." in missing.errors
    assert command("fit", "drop", "tags", "--kind", "scaling").status == 0
    gone = command("fit", "drop", "tags")
    assert "There is no fit tags; `warehouse fit list` shows all." in gone.errors
