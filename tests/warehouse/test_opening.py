"""Finding a database that is there already, for questions that must start, wait for and change nothing."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from warehouse import opening
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer
from warehouse.migration import State, schema_state, upgrade
from warehouse.opening import open_database, running_database


def test_a_named_database_is_found(named_database: Database) -> None:
    found = running_database()
    assert found is not None
    assert str(found) == str(named_database)


def test_a_database_without_the_schema_or_beyond_reach_is_none(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.owner_url)
    monkeypatch.setenv("DATABASE_READ_URL", empty_database.reader_url)
    assert running_database() is None
    upgrade(empty_database)
    assert running_database() is not None
    for url in ("postgresql://nobody@127.0.0.1:9/nothing", "no url"):
        monkeypatch.setenv("DATABASE_URL", url)
        assert running_database() is None


def test_a_server_that_is_lost_while_it_is_asked_for_its_version_is_asked_again(
    named_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [psycopg.errors.AdminShutdown("unexpected postmaster exit"), None]

    def ask(connection: psycopg.Connection[object]) -> State:
        if (lost := answers.pop(0)) is not None:
            raise lost
        return schema_state(connection)

    monkeypatch.setattr(opening, "schema_state", ask)
    monkeypatch.setattr("warehouse.retries.RETRIES", (0.0,))
    assert str(open_database()) == str(named_database)
    assert answers == []


def test_an_embedded_server_is_found_while_it_runs_and_never_started(embedded_server: EmbeddedServer) -> None:
    assert open_database().embedded
    found = running_database()
    assert found is not None
    assert found.embedded
    embedded_server.stop()
    assert running_database() is None
    assert embedded_server.status().state == "stopped"


def test_a_home_that_does_not_exist_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "home"))
    assert running_database() is None
    assert not (tmp_path / "home").exists()
