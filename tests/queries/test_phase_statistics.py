"""Statistics of phases against pandas over the same measurements, and the corners where they are undefined."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

from tests.queries.rows import (
    Connection,
    Text,
    add_curve,
    add_evaluation,
    add_model,
    add_reference,
    add_run,
    add_text,
    insert,
)
from warehouse.database import Database

STEPS = [0, 8, 16, 64, 256, 1000, 2000, 16000, 143000]
KL = [0.40, 0.41, 0.40, 0.25, 0.15, 0.35, 0.45, 0.36, 0.30]
PHASES = {
    "uniform": (0, 16),
    "sharp_convergence": (16, 256),
    "sharp_divergence": (256, 2000),
    "slow_reconvergence": (2000, 143000),
}


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


@pytest.fixture
def readings(connection: Connection, text: Text) -> pd.DataFrame:
    """A model with four phases: seeds 0 and 1 in full, seed 2 at half of the steps, and a flagged seed 3."""
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, STEPS, KL)
    references = {name: add_reference(connection, text, name) for name in ("bigram", "unigram")}
    random = np.random.default_rng(1)
    rows = []
    for seed in range(4):
        run = add_run(connection, model, seed, outlier=seed == 3)
        for step in STEPS[:: 2 if seed == 2 else 1]:
            surprisal, entropy, *kl = (100 if seed == 3 else 1) * random.uniform(1, 6, size=4)
            evaluation = add_evaluation(connection, text, run, step, surprisal=surprisal, entropy=entropy)
            # Seed 1 has one reference only, so that a mean over references would weigh it less.
            names = ["unigram"] if seed == 1 else ["bigram", "unigram"]
            for name, mean_kl in zip(names, kl, strict=False):
                insert(
                    connection,
                    "reference_evaluation",
                    evaluation_id=evaluation,
                    reference_id=references[name],
                    n_tokens=10,
                    mean_kl=mean_kl,
                )
            rows.append((seed, step, surprisal, math.log(1000) - entropy, kl[len(names) - 1]))
    return pd.DataFrame(rows, columns=["seed", "step", "cross_entropy", "kl_uniform", "kl_unigram"])


def statistics(connection: Connection, definition: str) -> pd.DataFrame:
    cursor = connection.execute(
        "select * from analysis.phase_statistics where definition = %s order by model, position", [definition]
    )
    assert cursor.description
    frame = pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])
    return frame.set_index("phase")


@pytest.mark.parametrize("definition", ["estimated", "fehlauer-2025"])
def test_statistics_of_phases_equal_pandas(
    connection: Connection, text: Text, readings: pd.DataFrame, definition: str
) -> None:
    found = statistics(connection, definition)
    convergence = pd.Series(KL, index=STEPS) * -1
    by_step = readings[readings["seed"] != 3].groupby("step")[["cross_entropy", "kl_uniform", "kl_unigram"]].mean()
    assert dict(zip(found.index, zip(found["first_step"], found["last_step"], strict=True), strict=True)) == PHASES
    for phase, (first, last) in PHASES.items():
        row = found.loc[phase]
        closed = convergence.loc[first:last]
        own = closed if phase == "uniform" else closed.iloc[1:]
        assert row["n_checkpoints"] == len(own)
        assert row["convergence_change"] == pytest.approx(closed.iloc[-1] - closed.iloc[0], rel=1e-12)
        slope = np.polynomial.Polynomial.fit(np.log2(closed.index + 1.0), closed, 1).convert().coef[1]
        assert row["slope_per_log2_step"] == pytest.approx(slope, rel=1e-9)
        assert row["mean_convergence"] == pytest.approx(own.mean(), rel=1e-12)
        for name in by_step:
            assert row[f"mean_{name}"] == pytest.approx(by_step.loc[own.index, name].mean(), rel=1e-12)


def test_checkpoints_without_a_complete_comparison_count_in_no_mean(
    connection: Connection, text: Text, readings: pd.DataFrame
) -> None:
    before = statistics(connection, "estimated")
    run_id = int((connection.execute(b"select min(run_id) from warehouse.run").fetchone() or (0,))[0])
    add_evaluation(connection, text, run_id, 100, surprisal=90.0, entropy=5.0)
    pd.testing.assert_frame_equal(statistics(connection, "estimated"), before)


def test_the_learning_rates_at_both_ends_of_a_phase_are_those_of_its_steps(
    connection: Connection, text: Text, readings: pd.DataFrame
) -> None:
    assert statistics(connection, "estimated")[["first_learning_rate", "last_learning_rate"]].isna().all(axis=None)
    # One seed was planned before anybody knew the schedule.
    connection.execute(
        """
        update warehouse.checkpoint set learning_rate = 0.01 / (step + 1)
        where run_id <> (select min(run_id) from warehouse.run)
        """
    )
    for definition in ("estimated", "fehlauer-2025"):
        found = statistics(connection, definition)
        for phase, (first, last) in PHASES.items():
            assert found.loc[phase, "first_learning_rate"] == pytest.approx(0.01 / (first + 1), rel=1e-12)
            assert found.loc[phase, "last_learning_rate"] == pytest.approx(0.01 / (last + 1), rel=1e-12)


def test_reconvergence_is_told_for_the_last_phase_only(connection: Connection, text: Text) -> None:
    add_curve(connection, text, add_model(connection, text, "one"), STEPS, KL)
    for definition in ("estimated", "fehlauer-2025"):
        found = statistics(connection, definition)
        assert found["reconverged_fraction"].iloc[:-1].isna().all()
        assert found["divergence_reduction"].iloc[:-1].isna().all()
        # From KL 0.15 at the peak to 0.45 at the trough, and back to 0.30.
        assert found.loc["slow_reconvergence", "reconverged_fraction"] == pytest.approx(0.5)
        assert found.loc["slow_reconvergence", "divergence_reduction"] == pytest.approx(1 / 3)


def test_published_statistics_are_null_where_undefined(connection: Connection, text: Text) -> None:
    add_curve(connection, text, add_model(connection, text, "fell"), STEPS, [0.5] * 4 + [0.4] * 2 + [0.3] * 3)
    add_curve(connection, text, add_model(connection, text, "same"), STEPS, [0.5] * 4 + [0.4] * 2 + [0.0] * 3)
    add_curve(connection, text, add_model(connection, text, "short"), STEPS[:6], KL[:6])
    found = statistics(connection, "fehlauer-2025").reset_index().set_index(["model", "phase"])
    assert pd.isna(found.loc[("fell", "slow_reconvergence"), "reconverged_fraction"])
    assert found.loc[("fell", "slow_reconvergence"), "divergence_reduction"] == 0
    assert pd.isna(found.loc[("same", "slow_reconvergence"), "divergence_reduction"])
    assert ("short", "slow_reconvergence") not in found.index
    assert found.loc["short"][["reconverged_fraction", "divergence_reduction"]].isna().all(axis=None)


def test_models_that_never_come_back_are_told_by_their_last_phase(connection: Connection, text: Text) -> None:
    steps = [0, 1, 2, 4, 8, 16, 32]
    add_curve(connection, text, add_model(connection, text, "one"), steps, [1.0, 1.0, 0.5, 0.9, 0.95, 0.96, 0.97])
    found = statistics(connection, "estimated")
    assert found.index[-1] == "sharp_divergence"
    assert found["reconverged_fraction"].iloc[-1] == pytest.approx((-0.97 + 0.9) / (-0.5 + 0.9))
    assert found["divergence_reduction"].iloc[-1] == pytest.approx(1 - 0.97 / 0.9)


def test_a_boundary_between_measured_steps_loses_no_checkpoint(connection: Connection, text: Text) -> None:
    steps = [0, 10, 20, 200, 300, 1500, 5000]
    kl = [0.4, 0.4, 0.3, 0.2, 0.3, 0.4, 0.3]
    add_curve(connection, text, add_model(connection, text, "one"), steps, kl)
    found = statistics(connection, "fehlauer-2025")
    assert found["n_checkpoints"].tolist() == [2, 2, 2, 1]
    assert found["mean_convergence"].tolist() == pytest.approx([-0.4, -0.25, -0.35, -0.3])
    assert pd.isna(found.loc["slow_reconvergence", "slope_per_log2_step"])


def test_statistics_need_no_reference(connection: Connection, text: Text) -> None:
    model = add_model(connection, text, "one")
    add_curve(connection, text, model, STEPS, KL)
    run = add_run(connection, model, 0)
    for step in STEPS:
        add_evaluation(connection, text, run, step, surprisal=5.0, entropy=4.0)
    found = statistics(connection, "estimated")
    assert len(found) == 4
    assert found["mean_kl_unigram"].isna().all()
    assert found["mean_cross_entropy"].tolist() == [5.0] * 4
