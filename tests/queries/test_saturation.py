"""Saturation: against pandas on the curves, on published results, and by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import Outcome
from tests.contents import frame
from tests.queries.measured import Measured
from tests.queries.rows import add_model, add_run, add_text, insert
from tests.queries.test_plans import nodes
from warehouse.database import Database

Command = Callable[..., Outcome]
CURVE = ["family", "model", "seed", "metric", "source", "corpus", "protocol", "run_set"]
WITH = "select * from saturation_with('task/score', {})"


def add_results(
    database: Database,
    values: list[tuple[int, float]],
    *,
    higher_is_better: bool | None = False,
    errors: float | None = None,
    status: str | None = None,
) -> None:
    """Imported results task/score of one run, as (step, value)."""
    with database.connect() as owner:
        run = add_run(owner, add_model(owner, add_text(owner), "small"), 0)
        for step, value in values:
            checkpoint = insert(
                owner, "checkpoint", run_id=run, step=step, source="imported", revision=f"step{step}", status=status
            )
            insert(
                owner,
                "checkpoint_metric",
                checkpoint_id=checkpoint,
                name="task/score",
                source="made up",
                value=value,
                standard_error=None if errors is None else errors * value,
                higher_is_better=higher_is_better,
            )


def test_the_published_perplexities_of_pythia_70m_saturate_at_step_53000(
    named_database: Database, command: Command, shared_data: Path
) -> None:
    folder = str(shared_data / "pythia" / "evals" / "pythia-70m")
    done = command("import", "metrics", folder, "--family", "pythia", "--path-pattern", "{model}_step{step}.json")
    assert done.status == 0, done.errors
    found = frame(named_database, "select * from saturation where metric = 'lambada_openai/perplexity'")
    [row] = found.to_dict("records")
    assert (row["model"], row["seed"], row["best_step"], row["final_step"]) == ("70m", 0, 53000, 143000)
    assert (round(row["best_value"], 2), round(row["final_value"], 2)) == (94.32, 142.43)
    assert round(row["final_to_best"], 2) == 1.51
    assert (row["steps_since_best"], row["n_steps"]) == (90000, 27)
    assert row["se_best"] > 1

    # Every other metric of these files, by pandas.
    results = frame(named_database, "select name, step, value, higher_is_better from checkpoint_metrics")
    known = results[results["higher_is_better"].notna()]
    everything = frame(named_database, "select * from saturation").set_index("metric")
    assert set(everything.index) == set(known["name"])
    assert set(everything["higher_is_better"]) == {True, False}
    for name, curve in known.groupby("name"):
        assert everything.loc[name, "best_step"] == best_step(curve.set_index("step")["value"], *known_direction(curve))


def named(key: Iterable[object]) -> tuple[object, ...]:
    """A curve's names, with one kind of NULL."""
    return tuple(None if pd.isna(name) else name for name in key)


def known_direction(curve: pd.DataFrame) -> list[bool]:
    return [bool(direction) for direction in curve["higher_is_better"].unique()]


def best_step(curve: pd.Series, higher_is_better: bool) -> int:
    """The first step of the best value."""
    ordered = curve.sort_index()
    return int(ordered.idxmax() if higher_is_better else ordered.idxmin())


def test_the_best_step_of_every_curve_is_that_of_pandas(measured: Measured) -> None:
    curves = frame(measured.database, "select * from training_curves where higher_is_better is not null")
    found = frame(measured.database, "select * from saturation")
    assert len(found) > 20
    expected = {
        named(key): curve.sort_values("step").reset_index(drop=True)
        for key, curve in curves.groupby(CURVE, dropna=False)
    }
    assert len(expected) == len(found)
    for row in found.to_dict("records"):
        curve = expected[named(row[name] for name in CURVE)]
        best = curve["value"].idxmax() if row["higher_is_better"] else curve["value"].idxmin()
        assert (row["best_step"], row["best_value"]) == (curve["step"][best], curve["value"][best])
        last = curve.iloc[-1]
        assert (row["final_step"], row["final_value"], row["n_steps"]) == (last["step"], last["value"], len(curve))
        assert row["final_to_best"] == pytest.approx(last["value"] / curve["value"][best], rel=1e-12)
        assert row["steps_since_best"] == last["step"] - curve["step"][best]
        for error, at in (("se_best", best), ("se_final", len(curve) - 1)):
            assert row[error] == curve["standard_error"][at] or pd.isna(curve["standard_error"][at])


def test_of_equal_values_the_earliest_is_the_best(database: Database) -> None:
    add_results(database, [(1, 5.0), (2, 3.0), (4, 4.0), (8, 3.0), (16, 4.5)], errors=0.1)
    [row] = frame(database, "select * from saturation").to_dict("records")
    assert (row["best_step"], row["best_value"], row["steps_since_best"]) == (2, 3, 14)
    assert row["final_to_best"] == pytest.approx(1.5)
    assert (row["se_best"], row["se_final"]) == (pytest.approx(0.3), pytest.approx(0.45))
    [upwards] = frame(database, WITH.format(True)).to_dict("records")
    assert (upwards["best_step"], upwards["best_value"], upwards["final_to_best"]) == (1, 5, pytest.approx(0.9))


def test_a_curve_that_ends_at_its_best_is_not_saturated(database: Database) -> None:
    add_results(database, [(1, 0.2), (2, 0.4), (4, 0.6)], higher_is_better=True)
    [row] = frame(database, "select * from saturation").to_dict("records")
    assert (row["best_step"], row["final_to_best"], row["steps_since_best"]) == (4, 1, 0)
    assert pd.isna(row["se_best"])


def test_a_best_value_of_nothing_has_no_ratio(database: Database) -> None:
    add_results(database, [(1, 0.0), (2, 0.4)])
    assert frame(database, "select final_to_best from saturation")["final_to_best"].isna().tolist() == [True]


def test_a_direction_is_never_guessed(database: Database) -> None:
    add_results(database, [(1, 5.0), (2, 3.0), (4, 4.0)], higher_is_better=None)
    assert frame(database, "select * from saturation").empty
    assert frame(database, WITH.format("null")).empty
    assert frame(database, WITH.format(False))["best_step"].tolist() == [2]
    assert frame(database, WITH.format(True))["best_step"].tolist() == [1]


def test_a_curve_that_contradicts_itself_has_no_direction(database: Database) -> None:
    add_results(database, [(1, 5.0), (2, 3.0), (4, 4.0)])
    with database.connect() as owner:
        owner.execute("update warehouse.checkpoint_metric set higher_is_better = true where value = 4")
    assert frame(database, "select * from saturation").empty
    with database.connect() as owner:
        owner.execute("update warehouse.checkpoint_metric set higher_is_better = null where value = 4")
    assert frame(database, "select best_step from saturation")["best_step"].tolist() == [2]


def test_a_bad_checkpoint_is_not_the_best(database: Database) -> None:
    add_results(database, [(1, 5.0), (2, 3.0), (4, 4.0)])
    with database.connect() as owner:
        owner.execute("update warehouse.checkpoint set status = 'quarantined' where step = 2")
    found = frame(database, "select best_step, n_steps from saturation")
    assert found.to_numpy().tolist() == [[4, 2]]


def test_conditions_reach_the_curves(measured: Measured) -> None:
    query = "select * from saturation where metric = 'surprisal' and corpus = 'prose' and model = 'small' and seed = 1"
    with measured.database.read() as reader:
        row = reader.execute(f"explain (analyze, timing off, format json) {query}".encode()).fetchone()
    assert row is not None
    found = list(nodes(row[0][0]["Plan"]))
    assert "saturation_with" not in {node.get("Function Name") for node in found}
    read = {node["Relation Name"] for node in found if "Relation Name" in node and node["Actual Loops"]}
    assert "score_summary" in read
    assert not read & {"convergence_summary", "score_chunk", "convergence_chunk"}
