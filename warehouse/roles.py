"""The role `warehouse_read` and what it may do: log in and read, nothing else.

A login of its own, because a session of the owner can undo `set role` and `set transaction read only`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, LiteralString

import psycopg
from psycopg import errors, sql

from warehouse.conninfo import parse_url
from warehouse.database import READER, READER_PATH, Database, DatabaseUnreachable, connect_to
from warehouse.errors import WarehouseError

Connection = psycopg.Connection[Any]

SCHEMAS = ("warehouse", "analysis")


class MissingPrivilege(WarehouseError):
    """The owner of the database lacks a right that setting up the warehouse needs."""


def ensure_reader(connection: Connection, database: Database) -> None:
    """Make sure that the reader exists, logs in, and may read both schemas and write nothing.

    connection: of the owner. Where DATABASE_READ_URL names another login, that one gets the same grants.
    Raises MissingPrivilege with the SQL that an administrator has to run.
    """
    reader = parse_url(database.reader_url, "DATABASE_READ_URL")
    try:
        with connection.transaction():
            _ensure_role(connection)
            if reader.get("user") == READER and reader.get("password"):
                _ensure_password(connection, reader)
    except errors.InsufficientPrivilege as error:
        raise MissingPrivilege(_administrators_sql(connection, error)) from None
    for role in sorted({READER, reader.get("user", READER)}):
        _grant_reading(connection, role)
    if database.embedded:
        _close_to_public(connection)


def _ensure_role(connection: Connection) -> None:
    """Touch the role only where it must change: roles are shared by all databases of a server."""
    if not _rows(connection, "select 1 from pg_roles where rolname = %s", READER):
        try:
            with connection.transaction():
                _execute(connection, "create role {} login", READER)
        except (errors.DuplicateObject, errors.UniqueViolation):
            pass  # by another process, in another database of the server
    if not _rows(connection, "select 1 from pg_roles where rolname = %s and rolcanlogin", READER):
        _execute(connection, "alter role {} login", READER)
    powers = "rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls"
    if _rows(connection, f"select 1 from pg_roles where rolname = %s and ({powers})", READER):
        _execute(connection, "alter role {} nosuperuser nocreatedb nocreaterole noreplication nobypassrls", READER)
    read_only = "'default_transaction_read_only=on' = any(rolconfig)"
    if not _rows(connection, f"select 1 from pg_roles where rolname = %s and {read_only}", READER):
        _execute(connection, "alter role {} set default_transaction_read_only = on", READER)


def _ensure_password(connection: Connection, reader: Mapping[str, str]) -> None:
    """Set the reader's password unless it is already the right one. Sent hashed: statements may be logged."""
    try:
        connect_to(reader, search_path=READER_PATH).close()
        return
    except DatabaseUnreachable:
        pass
    hashed = connection.pgconn.encrypt_password(reader["password"].encode(), READER.encode(), b"scram-sha-256")
    connection.execute(
        sql.SQL("alter role {} password {}").format(sql.Identifier(READER), sql.Literal(hashed.decode()))
    )


def _grant_reading(connection: Connection, role: str) -> None:
    _execute(connection, "grant connect on database {} to {}", connection.info.dbname, role)
    for schema in SCHEMAS:
        _execute(connection, "grant usage on schema {} to {}", schema, role)
        _execute(connection, "grant select on all tables in schema {} to {}", schema, role)
        _execute(connection, "alter default privileges in schema {} grant select on tables to {}", schema, role)


def _close_to_public(connection: Connection) -> None:
    """Take away what every login may do by default: temporary tables and large objects fill the disk too."""
    _execute(connection, "revoke temporary on database {} from public", connection.info.dbname)
    for function in ("lo_creat(integer)", "lo_create(oid)", "lo_from_bytea(oid, bytea)"):
        connection.execute(sql.SQL(f"revoke execute on function pg_catalog.{function} from public"))


def _administrators_sql(connection: Connection, error: psycopg.Error) -> str:
    return (
        f"The user {connection.info.user} may not set up the role {READER} ({error.diag.message_primary}). Have an "
        f"administrator run `create role {READER} login; alter role {READER} set default_transaction_read_only = on; "
        f"grant {READER} to {connection.info.user};` and set its password, then put that login in DATABASE_READ_URL."
    )


def _execute(connection: Connection, statement: LiteralString, *names: str) -> None:
    connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _rows(connection: Connection, query: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()
