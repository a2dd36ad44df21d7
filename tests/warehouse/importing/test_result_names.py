"""Whose results a file has, where its names are nearly those of the warehouse; and results that go out again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Outcome
from tests.contents import frame
from tests.warehouse.importing.test_import_metrics import first_layout
from warehouse.database import Database
from warehouse.importing.naming import Known

Command = Callable[..., Outcome]
ROWS = (
    "select family, model, seed, step, name, source, value from analysis.checkpoint_metrics order by 1, 2, 3, 4, 5, 6"
)


def table(folder: Path, model: str) -> str:
    path = folder / f"{model.replace('/', '_')}.csv"
    path.write_text(f"model,step,acc\n{model},8,0.5\n")
    return str(path)


def known(command: Command, folder: Path) -> None:
    """A warehouse that knows model 70m of family pythia."""
    done = command("import", "metrics", table(folder, "70m"), "--family", "pythia")
    assert (done.status, done.errors) == (0, "New in the warehouse: model pythia/70m.\n")


@pytest.mark.parametrize("name", ["pythia-70m", "EleutherAI__pythia-70m", "EleutherAI/pythia-70m", "70M", "70-m"])
@pytest.mark.parametrize("family", ["pythia", "Pythia"])
def test_a_near_miss_of_a_known_model_makes_no_second_one(
    named_database: Database, command: Command, tmp_path: Path, name: str, family: str
) -> None:
    known(command, tmp_path)
    before = frame(named_database, ROWS)
    refused = command("import", "metrics", table(tmp_path, name), "--family", family)
    there = "70m" if family == "pythia" else "pythia/70m"
    assert refused.status == 2
    assert f"is about model {name}, which family {family} lacks, and there is {there}: pass --model" in refused.errors
    assert frame(named_database, ROWS).equals(before)
    made = command("import", "metrics", table(tmp_path, name), "--family", family, "--new-model")
    assert (made.status, made.errors) == (0, f"New in the warehouse: model {family}/{name}.\n")


def test_other_models_are_no_near_misses(named_database: Database, command: Command, tmp_path: Path) -> None:
    known(command, tmp_path)
    for name in ("160m", "70m-deduped", "170m", "pythia-160m"):
        family = "pythia" if name != "pythia-160m" else "other"
        done = command("import", "metrics", table(tmp_path, name), "--family", family)
        assert (done.status, done.errors) == (0, f"New in the warehouse: model {family}/{name}.\n")
    assert Known(frozenset({("pythia", "1.4b")})).alike("pythia", "4b") == []
    assert Known(frozenset({("pythia", "1.4b")})).alike("pythia", "pythia-1.4b") == ["1.4b"]


def test_a_repository_that_was_ingested_says_whose_results_they_are(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    known(command, tmp_path)
    with named_database.connect() as connection:
        connection.execute("update warehouse.run set seed = 3")
        connection.execute("update warehouse.checkpoint set source = 'EleutherAI/pythia-v1.1-70m'")
    path = tmp_path / "70m_step512.json"
    path.write_text(json.dumps(first_layout(512, 100.0)))
    assert command("import", "metrics", str(path)).status == 0
    rows = frame(named_database, f"select distinct family, model, seed, step from ({ROWS}) as rows where step = 512")
    assert rows.values.tolist() == [["pythia", "70m", 3, 512]]


def test_results_go_out_again_by_source_metric_and_model(
    named_database: Database, command: Command, tmp_path: Path
) -> None:
    path = tmp_path / "results.csv"
    path.write_text("model,step,acc,loss\nsmall,8,0.5,2\nsmall,9,0.6,1\nlarge,8,0.7,1\n")
    for source in ("one", "two"):
        done = command("import", "metrics", str(path), "--family", "toy", "--source", source)
        assert done.status == 0, done.errors
    assert len(frame(named_database, ROWS)) == 12
    assert command("import", "drop", "--source", "one", "--metric", "loss").output == "Dropped 3 results.\n"
    assert command("import", "drop", "--metric", "acc", "--model", "toy/small").output == "Dropped 4 results.\n"
    left = frame(named_database, ROWS)
    assert left[["model", "step", "name", "source"]].values.tolist() == [
        *(["large", 8, "acc", "one"], ["large", 8, "acc", "two"], ["large", 8, "loss", "two"]),
        *(["small", 8, "loss", "two"], ["small", 9, "loss", "two"]),
    ]
    assert command("import", "drop", "--source", "two").output == "Dropped 4 results.\n"
    assert command("import", "drop", "--source", "one").output == "Dropped 1 result.\n"
    # What only results knew is gone, and they may come in again.
    assert len(frame(named_database, "select * from warehouse.model")) == 0
    assert command("import", "metrics", str(path), "--family", "toy").status == 0


def test_what_cannot_be_dropped_is_told(named_database: Database, command: Command, tmp_path: Path) -> None:
    known(command, tmp_path)
    for arguments, said in (
        (["--source", "70m"], "No result has the source 70m (nearest: 70m.csv)."),
        (["--metric", "ac"], "No result has the name ac (nearest: acc)."),
        (["--metric", "acc", "--model", "pythia/71m"], "There is no model pythia/71m; nearest is pythia/70m."),
        (["lab", "--metric", "acc"], "Give a PROTOCOL, or --source or --metric of benchmark results"),
        (["--model", "pythia/70m"], "Give a PROTOCOL, or --source or --metric of benchmark results"),
        ([], "Give a PROTOCOL, or --source or --metric of benchmark results"),
    ):
        refused = command("import", "drop", *arguments)
        assert refused.status == 2
        assert said in refused.errors
    assert len(frame(named_database, ROWS)) == 1
