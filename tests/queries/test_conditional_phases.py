"""Phases by value of a layer: each value's curve against a program of its own, and its statistics against numpy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import pytest

from tests.queries.rows import (
    Connection,
    Text,
    add_comparison,
    add_curve,
    add_layer,
    add_model,
    add_text,
    insert_many,
    summary,
)
from tests.queries.test_phases import SHAPES, STEPS, Curve, estimate, phases_of, simulate
from warehouse.database import Database

NAMES = ["corpus", "protocol", "run_set", "family", "model"]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def store(
    connection: Connection, text: Text, model: str, curves: dict[tuple[int, int], Sequence[float]], n_tokens: int = 1
) -> None:
    """Mean KL of a model at STEPS, in nats, by (layer, number of the value)."""
    model_id = add_model(connection, text, model)
    for place, step in enumerate(STEPS):
        comparison = add_comparison(connection, text, model_id, step)
        insert_many(
            connection,
            "convergence_summary",
            [
                summary(comparison, layer, value, n=n_tokens, sum_kl=n_tokens * kl[place])
                for (layer, value), kl in curves.items()
            ],
        )


def ask(connection: Connection, query: str) -> pd.DataFrame:
    cursor = connection.execute(query.encode())
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description or ()], dtype=object)


def closed(c: Curve, first: int, last: int) -> pd.Series:
    """A curve of convergence from one step to another, by step."""
    return pd.Series(c, index=STEPS).loc[first:last]


def test_the_phases_of_a_value_are_those_of_its_own_curve(connection: Connection, text: Text) -> None:
    random = np.random.default_rng(3)
    layer = add_layer(connection, text.corpus_id, "pos", dict.fromkeys(SHAPES, 7))
    curves = {
        (model, shape): simulate(corners, 0.01, random)
        for model in ("one", "two")
        for shape, (corners, _) in SHAPES.items()
    }
    for model in ("one", "two"):
        store(
            connection,
            text,
            model,
            {(layer, value): curves[model, shape].tolist() for value, shape in enumerate(SHAPES)},
            n_tokens=7,
        )
    frame = ask(connection, "select * from analysis.conditional_phases where definition = 'estimated'")
    assert set(frame["layer"]) == {"pos"}
    assert set(frame["n_tokens"]) == {7}
    found = {key: rows.set_index("phase") for key, rows in frame.groupby(["model", "value"])}
    assert "flat" not in set(frame["value"])
    for key, kl in curves.items():
        c = -kl
        expected = phases_of(STEPS, c)
        if not expected:
            assert key not in found
            continue
        rows, turns = found[key].sort_values("position"), estimate(STEPS, c)
        assert {phase: (row["first_step"], row["last_step"]) for phase, row in rows.iterrows()} == expected
        for number, (phase, row) in enumerate(rows.iterrows()):
            span = closed(c, *expected[str(phase)])
            own = span if number == 0 else span.iloc[1:]
            slope = np.polynomial.Polynomial.fit(np.log2(np.array(span.index) + 1.0), span, 1).convert().coef[1]
            assert row["n_checkpoints"] == len(own)
            assert row["convergence_change"] == pytest.approx(span.iloc[-1] - span.iloc[0], rel=1e-9)
            assert row["slope_per_log2_step"] == pytest.approx(slope, rel=1e-8)
            assert row["mean_convergence"] == pytest.approx(own.mean(), rel=1e-9)
            assert (row["converges"], row["diverges"], row["reconverges"]) == (
                turns.converges,
                turns.diverges,
                turns.reconverges,
            )
        assert rows["reconverged_fraction"].iloc[:-1].isna().all()
        last = rows.iloc[-1]
        if turns.trough is not None and turns.peak is not None:
            regained = (c[-1] - c[turns.trough]) / (c[turns.peak] - c[turns.trough])
            assert last["reconverged_fraction"] == pytest.approx(regained, rel=1e-9)
            assert last["divergence_reduction"] == pytest.approx(1 - c[-1] / c[turns.trough], rel=1e-9)
        else:
            assert last[["reconverged_fraction", "divergence_reduction"]].isna().all()


def test_a_value_of_all_tokens_has_the_phases_of_all_tokens(connection: Connection, text: Text) -> None:
    layer = add_layer(connection, text.corpus_id, "everything", {"all": 7})
    kl = simulate(SHAPES["four"][0], 0.02, np.random.default_rng(5)).tolist()
    store(connection, text, "one", {(text.total_layer, 0): kl, (layer, 0): kl})
    order = "order by definition, position"
    part = ask(connection, f"select * from analysis.conditional_phases {order}")
    for view in ("phase_boundaries", "phase_statistics"):
        whole = ask(connection, f"select * from analysis.{view} {order}")
        assert set(whole["definition"]) == {"estimated", "fehlauer-2025", "slides"}
        shared = [column for column in whole if column in part]
        assert len(shared) > 12
        pd.testing.assert_frame_equal(part[shared], whole[shared])


def test_a_layer_of_a_model_and_one_of_every_model_do_not_mix(connection: Connection, text: Text) -> None:
    general = add_layer(connection, text.corpus_id, "final_surprisal", {"0-1": 7})
    own = add_layer(connection, text.corpus_id, "other", {"0-1": 7})
    flat, four = ([0.4] * len(STEPS), simulate(SHAPES["four"][0], 0.0, np.random.default_rng(5)).tolist())
    store(connection, text, "one", {(general, 0): flat, (own, 0): four})
    model_id = connection.execute(b"select model_id from warehouse.model").fetchone()
    connection.execute(
        "update warehouse.annotation_layer set name = 'final_surprisal', model_id = %s where layer_id = %s",
        [*(model_id or ()), own],
    )
    frame = ask(connection, "select * from analysis.conditional_phases where definition = 'estimated'")
    assert set(frame["n_steps"]) == {len(STEPS)}
    assert len(frame) == 4


def test_only_complete_comparisons_of_seeds_have_phases_by_value(connection: Connection, text: Text) -> None:
    layer = add_layer(connection, text.corpus_id, "pos", {"NN": 7})
    kl = simulate(SHAPES["four"][0], 0.0, np.random.default_rng(5)).tolist()
    store(connection, text, "one", {(layer, 0): kl})
    before = ask(connection, "select * from analysis.conditional_phases")
    model_id = int((connection.execute(b"select model_id from warehouse.model").fetchone() or (0,))[0])
    incomplete = add_comparison(connection, text, model_id, 3, n_pairs=5)
    other_kind = add_comparison(connection, text, model_id, 5, kind="step", step_q=6)
    sums = [summary(comparison, layer, 0, sum_kl=9.0) for comparison in (incomplete, other_kind)]
    insert_many(connection, "convergence_summary", sums)
    add_curve(connection, text, model_id, [3000], [9.0])
    assert len(before) == 12
    pd.testing.assert_frame_equal(ask(connection, "select * from analysis.conditional_phases"), before)
