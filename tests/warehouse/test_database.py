"""Opening the database, its two logins, and what is said when that does not work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from psycopg import errors

from tests.scratch_server import PASSWORD, ScratchServer, scratch_server
from warehouse import migration
from warehouse.conninfo import InvalidDatabaseUrl, derived_password
from warehouse.database import (
    READER,
    Database,
    DatabaseUnreachable,
    free_bytes,
)
from warehouse.embedded import EmbeddedServer
from warehouse.migration import SchemaOutOfDate, SchemaTooNew, UpgradeFailed, upgrade
from warehouse.opening import UnsuitableServer, open_database


def _value(connection: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement.encode())


# The two logins


def test_the_owner_works_in_the_schema_of_the_tables_and_the_reader_finds_the_views(database: Database) -> None:
    with database.connect() as owner:
        assert _value(owner, "select array_to_string(current_schemas(false), ',')") == "warehouse,analysis,public"
    with database.read() as reader:
        assert _value(reader, "select array_to_string(current_schemas(false), ',')") == "public,analysis"
        assert _value(reader, "select session_user") == READER


def test_the_owners_connection_commits_at_the_end_and_rolls_back_on_an_exception(database: Database) -> None:
    _execute(database, "create table public.kept (x int)")
    with pytest.raises(errors.DivisionByZero):
        _execute(database, "create table public.lost (x int); select 1 / 0")
    with database.connect() as connection:
        assert _value(connection, "select to_regclass('public.kept') is not null")
        assert _value(connection, "select to_regclass('public.lost') is null")


def test_no_query_of_ours_is_compiled(database: Database) -> None:
    with database.connect() as owner, database.read() as reader:
        assert _value(owner, "show jit") == _value(reader, "show jit") == "off"


def test_connections_are_closed_at_the_end(database: Database) -> None:
    with database.connect() as owner, database.read() as reader:
        pass
    assert owner.closed
    assert reader.closed


def test_the_engine_is_the_owners_and_keeps_no_connection(database: Database) -> None:
    engine = database.engine()
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("create table public.made (x int)"))
    with database.connect() as connection:
        assert _value(connection, "select to_regclass('public.made') is not null")
        others = "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        assert _value(connection, f"{others} and backend_type = 'client backend'") == 0


def test_the_free_disk_is_known_of_the_embedded_server_only(
    embedded_server: EmbeddedServer, fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert free_bytes(open_database(check_version=False)) is None
    monkeypatch.delenv("DATABASE_URL")
    free = free_bytes(open_database(check_version=False))
    assert free
    assert free > 1_000_000


# The embedded server


def test_the_embedded_database_migrates_by_itself_once(
    embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(embedded_server.url(), autocommit=True) as connection:
        connection.execute("drop schema if exists warehouse, analysis cascade")
    database = open_database()
    assert database.embedded
    with database.read() as reader:
        assert _value(reader, "select version_num from warehouse.alembic_version") == migration.head()

    def refuse(*_arguments: object) -> None:
        raise AssertionError("upgraded twice")

    monkeypatch.setattr(migration, "upgrade", refuse)
    assert open_database() == database


def test_views_of_another_version_are_replaced_on_the_embedded_server(embedded_server: EmbeddedServer) -> None:
    database = open_database()
    _execute(database, "update warehouse.views_state set digest = 'other'")
    open_database()
    with database.connect() as connection:
        assert _value(connection, "select count(*) from warehouse.views_state where digest = 'other'") == 0


def test_any_session_of_the_embedded_database_finds_the_views(embedded_server: EmbeddedServer) -> None:
    open_database()
    with psycopg.connect(embedded_server.url(READER)) as session:
        assert _value(session, "select current_setting('search_path')") == "public, analysis"
        assert _value(session, "select current_setting('transaction_read_only')") == "on"


def test_a_newer_embedded_database_is_left_alone(embedded_server: EmbeddedServer) -> None:
    database = open_database()
    _execute(database, "update warehouse.alembic_version set version_num = 'future'")
    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        open_database()
    with pytest.raises(SchemaTooNew):
        upgrade(database)
    _execute(database, f"update warehouse.alembic_version set version_num = '{migration.head()}'")


# A server that DATABASE_URL names


def test_a_named_database_is_created_only_by_an_upgrade(fresh_lab: ScratchServer) -> None:
    with pytest.raises(SchemaOutOfDate, match="no warehouse yet; run `warehouse db upgrade`"):
        open_database()
    with psycopg.connect(fresh_lab.url) as connection:
        assert _value(connection, "select to_regnamespace('warehouse') is null")
    upgrade(open_database(check_version=False))
    assert not open_database().embedded


def test_upgrading_again_changes_nothing(database: Database) -> None:
    state = "select (select array_agg(views_state) from warehouse.views_state), count(*), max(oid) from pg_class"
    with database.connect() as connection:
        before = connection.execute(state.encode()).fetchone()
    upgrade(database)
    with database.connect() as connection:
        assert connection.execute(state.encode()).fetchone() == before


def test_upgrades_at_once_make_one_schema(empty_database: Database) -> None:
    program = (
        "import sys; from warehouse.database import Database; from warehouse.migration import upgrade\n"
        "upgrade(Database(sys.argv[1], sys.argv[2], embedded=False))"
    )
    command = [sys.executable, "-c", program, empty_database.owner_url, empty_database.reader_url]
    runs = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [run.communicate(timeout=120)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], said
    with empty_database.connect() as connection:
        assert migration.schema_state(connection) is migration.State.CURRENT


def test_a_failed_upgrade_leaves_nothing_behind(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("queries.sync.sync", fail)
    with pytest.raises(ZeroDivisionError):
        upgrade(empty_database)
    with empty_database.connect() as connection:
        assert _value(connection, "select to_regnamespace('warehouse') is null")


def test_a_schema_in_use_is_not_waited_for_long(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migration, "LOCK_TIMEOUT", "100ms")
    with database.connect() as holder:
        holder.execute("lock table warehouse.alembic_version in access exclusive mode")
        with pytest.raises(UpgradeFailed, match="in use"):
            upgrade(database)


def test_views_of_another_version_are_an_error_naming_the_command(named_database: Database) -> None:
    _execute(named_database, "update warehouse.views_state set digest = 'other'")
    with pytest.raises(SchemaOutOfDate, match="out of date; run `warehouse db upgrade`"):
        open_database()
    upgrade(open_database(check_version=False))
    open_database()


def test_a_newer_named_database_is_an_error(named_database: Database) -> None:
    _execute(named_database, "update warehouse.alembic_version set version_num = 'future'")
    with pytest.raises(SchemaTooNew, match="upgrade the package"):
        open_database()


def test_the_search_path_of_a_named_database_is_set_on_request_only(fresh_lab: ScratchServer) -> None:
    database = open_database(check_version=False)
    upgrade(database)
    with psycopg.connect(fresh_lab.url) as session:
        assert "analysis" not in str(_value(session, "select current_setting('search_path')"))
    upgrade(database, set_search_path=True)
    with psycopg.connect(fresh_lab.url) as session:
        assert _value(session, "select current_setting('search_path')") == "public, analysis"


# What is said when it does not work


def _assert_no_secret(text: str) -> None:
    for secret in (PASSWORD, "horse", "staple", derived_password(PASSWORD, READER)):
        assert secret not in text


def test_a_wrong_password_is_one_sentence_without_it(fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_lab.url_of(password="wrong-horse"))
    with pytest.raises(DatabaseUnreachable, match="password authentication failed") as refused:
        open_database()
    _assert_no_secret(str(refused.value))
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_server_that_is_not_there_is_one_sentence_naming_its_place(
    fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_lab.url_of(port="1"))
    with pytest.raises(DatabaseUnreachable, match=r"database lab at 127\.0\.0\.1:1 as user researcher") as refused:
        open_database()
    _assert_no_secret(str(refused.value))
    assert "\n" not in str(refused.value)


def test_a_database_that_does_not_exist_is_named(fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_lab.url_of(dbname="nowhere"))
    with pytest.raises(DatabaseUnreachable, match=r'"nowhere" does not exist') as refused:
        open_database()
    _assert_no_secret(str(refused.value))


def test_a_reader_that_cannot_log_in_is_told_to_upgrade(fresh_lab: ScratchServer) -> None:
    database = open_database(check_version=False)
    with pytest.raises(DatabaseUnreachable, match="warehouse db upgrade") as refused, database.read():
        pass
    _assert_no_secret(str(refused.value))


def test_an_old_server_is_refused(fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warehouse.opening.OLDEST_SERVER", 99)
    with pytest.raises(UnsuitableServer, match="needs 99 or newer"):
        open_database()


def test_a_database_of_another_encoding_is_refused(fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(fresh_lab.url, autocommit=True) as connection:
        connection.execute("drop database if exists ascii")
        connection.execute("create database ascii encoding 'SQL_ASCII' template template0")
    monkeypatch.setenv("DATABASE_URL", fresh_lab.url_of(dbname="ascii"))
    with pytest.raises(UnsuitableServer, match="SQL_ASCII"):
        open_database()


@pytest.mark.parametrize(
    "url",
    [
        "horse",
        "mysql://me:horse@localhost/lab",
        "postgresql://me:correct@horse@localhost/lab",
        "postgresql://me:correct@localhost:horse/lab",
        "postgresql://me:%ZZhorse@localhost/lab",
        "postgresql://localhost/lab?horse=staple",
        "host=localhost password='horse",
    ],
)
def test_what_is_no_url_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(InvalidDatabaseUrl, match=r"DATABASE_URL .*postgresql://user") as refused:
        open_database()
    _assert_no_secret(str(refused.value))


def test_a_database_shows_no_password(fresh_lab: ScratchServer) -> None:
    database = open_database(check_version=False)
    _assert_no_secret(f"{database} {database!r}")
    assert "lab" in str(database)


def test_the_scratch_server_leaves_nothing_behind() -> None:
    with scratch_server() as server, psycopg.connect(server.admin_url) as connection:
        data = Path(str(_value(connection, "show data_directory")))
        assert data.exists()
    assert not data.parent.exists()
