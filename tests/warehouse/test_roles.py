"""The reader: what it may see, that it can change nothing, and how it comes to be."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from tests.scratch_server import PASSWORD, ScratchServer
from warehouse.conninfo import derived_password, parse_url
from warehouse.database import READER, Database, UnsafeReader
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade
from warehouse.opening import open_database
from warehouse.roles import MissingPrivilege


def _value(connection: psycopg.Connection[tuple[object, ...]], query: str) -> object:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def _execute(database: Database, statement: str) -> None:
    with database.connect() as connection:
        connection.execute(statement.encode())


@pytest.mark.parametrize(
    "statement",
    [
        "delete from warehouse.alembic_version",
        "create table public.x (x int)",
        "create temporary table x (x int)",
        "select 1 into public.x",
    ],
)
def test_a_reading_transaction_refuses_to_write(database: Database, statement: str) -> None:
    with database.read() as reader, pytest.raises(errors.ReadOnlySqlTransaction):
        reader.execute(statement.encode())


def test_a_reading_connection_stays_read_only_whatever_is_set(database: Database) -> None:
    with database.read() as reader:
        reader.execute("set session characteristics as transaction read write")
        reader.execute("set default_transaction_read_only = off")
        reader.commit()
        with pytest.raises(errors.ReadOnlySqlTransaction):
            reader.execute("create temporary table x (x int)")


@pytest.mark.parametrize(
    "statement",
    [
        "insert into warehouse.alembic_version values ('x')",
        "update warehouse.alembic_version set version_num = 'x'",
        "delete from warehouse.alembic_version",
        "truncate warehouse.alembic_version",
        "drop table warehouse.alembic_version",
        "alter table warehouse.alembic_version add x int",
        "create index on warehouse.alembic_version (version_num)",
        "create table public.x (x int)",
        "create table warehouse.x (x int)",
        "create view analysis.x as select 1",
        "create function public.x() returns int language sql as 'select 1'",
        "create schema x",
        "create role x",
        "create database x",
        "alter role warehouse_read superuser",
        "set role {owner}",
        "set session authorization {owner}",
        "copy (select 1) to program 'true'",
        "copy (select 1) to '/tmp/x'",
        "select pg_read_file('/etc/passwd')",
        "select lo_import('/etc/passwd')",
        "alter system set fsync = off",
    ],
)
def test_the_reader_lacks_the_rights_to_write_even_in_a_transaction_of_its_own(
    database: Database, statement: str
) -> None:
    owner = parse_url(database.owner_url)["user"]
    with psycopg.connect(database.reader_url, autocommit=True) as reader:
        reader.execute("set default_transaction_read_only = off")
        assert _value(reader, "select current_setting('transaction_read_only')") == "off"
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute(statement.format(owner=owner).encode())


@pytest.mark.parametrize("statement", ["create temporary table x (x int)", "select lo_create(0)"])
def test_on_the_embedded_server_the_reader_cannot_fill_the_disk_either(
    embedded_server: EmbeddedServer, statement: str
) -> None:
    database = open_database()
    with psycopg.connect(database.reader_url, autocommit=True) as reader:
        reader.execute("set default_transaction_read_only = off")
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute(statement.encode())


def test_the_reader_reads_every_table_and_view_also_those_made_later(database: Database) -> None:
    _execute(database, "create table warehouse.later (x int)")
    _execute(database, "create view analysis.later as select 1 as x")
    listing = "select quote_ident(schemaname) || '.' || quote_ident({0}name) from pg_{0}s where schemaname = any(%s)"
    with database.read() as reader:
        names = [
            name
            for kind in ("table", "view")
            for (name,) in reader.execute(listing.format(kind).encode(), [["warehouse", "analysis"]]).fetchall()
        ]
        assert {"warehouse.later", "analysis.later", "warehouse.alembic_version"} <= set(names)
        for name in names:
            reader.execute(f"select * from {name} limit 0".encode())


def test_the_readers_password_follows_from_the_owners_and_is_not_it(fresh_lab: ScratchServer) -> None:
    upgrade(open_database(check_version=False))
    database = open_database()
    with database.read() as reader:
        assert reader.info.user == READER
        assert reader.info.password == derived_password(PASSWORD, READER)
        assert PASSWORD not in reader.info.password
    for wrong in (PASSWORD, "", derived_password("another", READER)):
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(fresh_lab.url_of(user=READER, password=wrong))


def test_the_owner_may_be_no_superuser(fresh_lab: ScratchServer) -> None:
    database = open_database(check_version=False)
    upgrade(database)
    with database.connect() as connection:
        assert connection.info.parameter_status("is_superuser") == "off"


def test_an_owner_who_may_not_create_roles_gets_the_sql_for_an_administrator(
    fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(fresh_lab.admin_url, autocommit=True) as admin:
        admin.execute("alter role researcher nocreaterole")
        try:
            with pytest.raises(MissingPrivilege, match="create role warehouse_read login") as refused:
                upgrade(open_database(check_version=False))
            assert PASSWORD not in str(refused.value)
            assert _value(admin, f"select count(*) from pg_roles where rolname = '{READER}'") == 0
            # What the message says:
            statements = str(refused.value).split("`")[1]
            admin.execute(statements.encode())
            admin.execute(f"alter role {READER} password 'chosen'".encode())
            monkeypatch.setenv("DATABASE_READ_URL", fresh_lab.url_of(user=READER, password="chosen"))
            upgrade(open_database(check_version=False))
            with open_database().read() as reader:
                assert _value(reader, "select count(*) from warehouse.views_state") == 1
        finally:
            admin.execute("alter role researcher createrole")


def test_an_owner_who_may_not_create_schemas_gets_the_sql_for_an_administrator(
    fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", fresh_lab.url_of(dbname="postgres"))
    with pytest.raises(MissingPrivilege, match="permission denied for database postgres"):
        upgrade(open_database(check_version=False))


def test_another_login_for_reading_is_granted_the_same(
    fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(fresh_lab.admin_url, autocommit=True) as admin:
        admin.execute("drop role if exists dashboard")
        admin.execute("create role dashboard login password 'tiles'")
    monkeypatch.setenv("DATABASE_READ_URL", fresh_lab.url_of(user="dashboard", password="tiles"))
    upgrade(open_database(check_version=False))
    with open_database().read() as reader:
        assert _value(reader, "select session_user") == "dashboard"
        assert _value(reader, "select count(*) from warehouse.views_state") == 1


@pytest.mark.parametrize("user", ["researcher", "admin"])
def test_reading_as_the_owner_or_a_superuser_is_refused(
    fresh_lab: ScratchServer, monkeypatch: pytest.MonkeyPatch, user: str
) -> None:
    monkeypatch.setenv("DATABASE_READ_URL", fresh_lab.url_of(user=user))
    database = open_database(check_version=False)
    with pytest.raises(UnsafeReader, match=user), database.read():
        pass
