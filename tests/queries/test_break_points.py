"""Break points of curves, against a program that interpolates with numpy and cases worked by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg
import pytest

from tests.conftest import Outcome
from tests.contents import frame
from tests.queries.measured import Measured
from tests.queries.rows import Connection, Text, add_curve, add_model, add_run, add_text, insert
from tests.queries.test_phases import STEPS, simulations
from tests.queries.test_views import ask
from warehouse.database import Database

Command = Callable[..., Outcome]

CURVE = ["family", "model", "seed", "metric", "source", "corpus", "protocol", "run_set"]


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect() as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection)


def accelerations(steps: Sequence[int], f: Sequence[float], delta: float, axis: str, way: int) -> pd.Series:
    """Second difference of a curve at each measured step with room on both sides, by step."""
    x = np.log2(np.array(steps) + 1.0) if axis == "log_step" else np.array(steps, float)
    found = {}
    for step, at, value in zip(steps, x, f, strict=True):
        if at - delta < x[0] - 1e-9 or at + delta > x[-1] + 1e-9:
            continue
        before, after = np.interp([at - delta, at + delta], x, f)
        found[step] = way * ((after - value) - (value - before))
    return pd.Series(found, dtype=float)


def store_metric(
    connection: Connection, text: Text, steps: Sequence[int], values: Sequence[float], better: bool | None
) -> None:
    """An imported result called `task/score` of one run."""
    run = add_run(connection, add_model(connection, text, "one"), 0)
    for step, value in zip(steps, values, strict=True):
        checkpoint = insert(connection, "checkpoint", run_id=run, step=step, source="made up", revision=str(step))
        insert(
            connection,
            "checkpoint_metric",
            checkpoint_id=checkpoint,
            name="task/score",
            source="elsewhere",
            value=value,
            standard_error=value / 10,
            higher_is_better=better,
        )


def break_point(connection: Connection, arguments: str = "") -> tuple[object, ...] | None:
    columns = "break_step, change_before, change_after, acceleration"
    return connection.execute(f"select {columns} from analysis.break_points_with({arguments})".encode()).fetchone()


def test_the_break_is_where_a_metric_improves_more_than_it_did_before(connection: Connection, text: Text) -> None:
    # At x = 0, 1, 2, 3, 4: nothing, then a jump of 5 from 2 to 3, then 1.
    store_metric(connection, text, [0, 1, 3, 7, 15], [1.0, 1.0, 2.0, 7.0, 8.0], True)
    assert break_point(connection) == pytest.approx((3, 1.0, 5.0, 4.0))
    # Two doublings either way have room at step 3 alone: 8 - 2 after, 2 - 1 before.
    assert break_point(connection, "delta => 2") == pytest.approx((3, 1.0, 6.0, 5.0))
    # Half a doubling, halfway up the straight lines between.
    assert break_point(connection, "delta => 0.5") == pytest.approx((3, 0.5, 2.5, 2.0))


def test_a_metric_that_improves_by_falling_breaks_at_the_start_of_its_drop(connection: Connection, text: Text) -> None:
    store_metric(connection, text, [0, 1, 3, 7, 15, 31], [9.0, 9.0, 9.0, 4.0, 4.0, 4.0], False)
    assert break_point(connection) == pytest.approx((3, 0.0, 5.0, 5.0))
    # As it stands, the raw curve breaks where the drop ends.
    assert break_point(connection, "upwards => true") == pytest.approx((7, -5.0, 0.0, 5.0))


def test_a_metric_that_neither_way_improves_is_read_as_it_stands(connection: Connection, text: Text) -> None:
    store_metric(connection, text, [0, 1, 3, 7, 15], [9.0, 9.0, 4.0, 4.0, 4.0], None)
    assert break_point(connection) == pytest.approx((3, -5.0, 0.0, 5.0))
    assert break_point(connection, "upwards => false") == pytest.approx((1, 0.0, 5.0, 5.0))


@pytest.mark.parametrize(("second", "direction"), [(False, False), (True, None)])
def test_a_curve_whose_direction_is_known_in_places_is_one_curve(
    connection: Connection, text: Text, second: bool, direction: bool | None
) -> None:
    steps, values = [0, 1, 3, 7, 15, 31], [9.0, 9.0, 9.0, 4.0, 4.0, 4.0]
    store_metric(connection, text, steps, values, None)
    connection.execute("update warehouse.checkpoint_metric set higher_is_better = false where value = 9")
    connection.execute("update warehouse.checkpoint_metric set higher_is_better = %s where value = 4", [second])
    connection.execute(
        "update warehouse.checkpoint_metric set higher_is_better = null where checkpoint_id = "
        "(select checkpoint_id from warehouse.checkpoint where step = 1)"
    )
    rows = connection.execute(
        b"select break_step, higher_is_better, n_steps from analysis.break_points_with()"
    ).fetchall()
    # Falling, the drop starts at 3; of a curve that says both, as it stands, it ends at 7.
    assert rows == [(3 if direction is False else 7, direction, 6)]


def test_steps_may_be_the_axis_and_unevenly_spaced(connection: Connection, text: Text) -> None:
    # Slopes per step: 0.01, 0.03, 0.02; the bend at 100 is 0.02 a step, between the lines as they are.
    store_metric(connection, text, [0, 100, 300, 1000], [0.0, 1.0, 7.0, 21.0], True)
    assert break_point(connection, "axis => 'step'") == pytest.approx((100, 0.01, 0.03, 0.02))
    # 100 to either side of 300 is 4 and 9 by interpolation.
    assert break_point(connection, "axis => 'step', delta => 150") == pytest.approx((300, 4.5, 3.0, -1.5))


def test_the_first_of_equal_breaks_is_taken(connection: Connection, text: Text) -> None:
    store_metric(connection, text, [0, 1, 3, 7, 15], [0.0, 0.0, 1.0, 1.0, 2.0], True)
    assert break_point(connection) == pytest.approx((1, 0.0, 1.0, 1.0))


@pytest.mark.parametrize("first", [2, 6, 19])
def test_a_whole_doubling_on_either_side_is_room_enough_whatever_rounding_says(
    connection: Connection, text: Text, first: int
) -> None:
    # In floating point log2(2 (s + 1)) - 1 is below log2(s + 1) for 2 and 6, and above the other end for 19.
    store_metric(connection, text, [first, 2 * first + 1, 4 * first + 3], [0.0, 1.0, 3.0], True)
    assert break_point(connection) == pytest.approx((2 * first + 1, 1.0, 2.0, 1.0))


def test_a_curve_without_room_on_both_sides_has_no_break(connection: Connection, text: Text) -> None:
    store_metric(connection, text, [0, 1], [1.0, 2.0], True)
    query = "select break_step, acceleration, value, standard_error, n_steps from analysis.break_points"
    assert connection.execute(query.encode()).fetchone() == (None, None, None, None, 2)


def test_a_break_has_the_value_there_with_its_error(connection: Connection, text: Text) -> None:
    store_metric(connection, text, [0, 1, 3, 7, 15], [1.0, 1.0, 2.0, 7.0, 8.0], True)
    query = "select family, model, seed, metric, source, corpus, value, standard_error from analysis.break_points"
    assert connection.execute(query.encode()).fetchone() == (
        *("simulated", "one", 0, "task/score", "elsewhere", None),
        *(2.0, 0.2),
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("axis => 'log'", "Axis is step or log_step, not log."),
        ("delta => 0", "Delta is the distance to either side, above 0, and not 0."),
        ("delta => -1", "Delta is the distance to either side, above 0, and not -1."),
        ("delta => null", "Delta is the distance to either side, above 0, and not NULL."),
    ],
)
def test_an_axis_or_distance_that_is_none_is_refused(
    connection: Connection, text: Text, arguments: str, message: str
) -> None:
    store_metric(connection, text, [0, 1, 3], [1.0, 1.0, 2.0], True)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
        break_point(connection, arguments)


@pytest.mark.parametrize(("axis", "delta"), [("log_step", 1.0), ("log_step", 2.5), ("step", 1.0), ("step", 500.0)])
def test_breaks_of_simulated_curves_equal_an_independent_program(
    connection: Connection, text: Text, axis: str, delta: float
) -> None:
    curves = simulations()[::3]
    for curve in curves:
        add_curve(connection, text, add_model(connection, text, curve.model), STEPS, curve.kl.tolist())
    cursor = connection.execute(
        "select model, break_step, acceleration, n_steps from analysis.break_points_with(%s, %s)", [delta, axis]
    )
    found = {model: rest for model, *rest in cursor.fetchall()}
    assert len(found) == len(curves) > 50
    for curve in curves:
        expected = accelerations(STEPS, (-curve.kl).tolist(), delta, axis, 1)
        step, acceleration, n_steps = found[curve.model]
        assert acceleration == pytest.approx(expected.max(), rel=1e-9, abs=1e-12)
        # Where two steps are within rounding of each other either will do.
        assert expected[step] == pytest.approx(expected.max(), rel=1e-9, abs=1e-12)
        assert n_steps == len(STEPS)


def test_every_curve_of_a_warehouse_has_its_break(measured: Measured) -> None:
    curves = ask(measured, "select * from training_curves order by step")
    found = ask(measured, "select * from break_points_with(1, 'log_step')").set_index(CURVE)
    assert found.index.is_unique
    groups = curves.groupby(CURVE, dropna=False)
    assert len(found) == len(groups) == 2 * 4 * 9 + 2 * 3
    breaks = 0
    for key, curve in groups:
        row = found[found.index.map(lambda other, key=key: list(map(str, other)) == list(map(str, key)))].iloc[0]
        way = -1 if curve["higher_is_better"].iloc[0] is False else 1
        expected = accelerations(curve["step"].tolist(), curve["value"].tolist(), 1, "log_step", way)
        breaks += len(expected)
        assert row["acceleration"] == pytest.approx(expected.max() if len(expected) else np.nan, nan_ok=True, rel=1e-9)
    assert breaks == 2 * 4 * 9 + 2


@pytest.mark.parametrize(
    ("metric", "key", "way"), [("lambada_openai/perplexity", "ppl", -1), ("lambada_openai/acc", "acc", 1)]
)
@pytest.mark.parametrize(("axis", "delta"), [("log_step", 1.0), ("step", 5000.0)])
def test_published_results_break_where_an_independent_program_says(
    named_database: Database,
    command: Command,
    shared_data: Path,
    metric: str,
    key: str,
    way: int,
    axis: str,
    delta: float,
) -> None:
    folder = shared_data / "pythia" / "evals" / "pythia-70m"
    arguments = ("--family", "pythia", "--path-pattern", "{model}_step{step}.json")
    assert command("import", "metrics", str(folder), *arguments).status == 0
    results = {
        int(path.stem.split("step")[1]): json.loads(path.read_text())["results"]["lambada_openai"][key]
        for path in folder.rglob("*.json")
    }
    steps = sorted(results)
    expected = accelerations(steps, [results[step] for step in steps], delta, axis, way)
    query = "select * from break_points_with(%s, %s) where metric = %s"
    [row] = frame(named_database, query, delta, axis, metric).to_dict("records")
    assert (row["model"], row["seed"], row["n_steps"], row["higher_is_better"]) == ("70m", 0, len(steps), way == 1)
    assert (row["break_step"], row["acceleration"]) == (expected.idxmax(), pytest.approx(expected.max(), rel=1e-9))


def test_conditions_on_names_reach_the_tables_of_every_curve(measured: Measured) -> None:
    with measured.database.read() as reader:
        query = "explain select * from break_points_with(delta => 2) where model = 'small' and metric ~ 'a'"
        plan = "\n".join(line for (line,) in reader.execute(query.encode()).fetchall())
    assert "break_points_with" not in plan
    # Scores, references, anisotropy, minimal pairs and their mean, convergence, imported results.
    assert plan.count("name = 'small'") == 7
