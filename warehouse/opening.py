"""Opening the warehouse's database: finding it, and making sure that its schema is this package's.

Two ways lead here, the embedded server and DATABASE_URL; after :func:`open_database` nothing needs to know which.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg

from warehouse.conninfo import describe, parse_url, to_url
from warehouse.database import OWNER_PATH, READER, Database, connect_to, reader_parameters
from warehouse.errors import WarehouseError
from warehouse.migration import State, require_current, schema_state, upgrade
from warehouse.retries import persist

OLDEST_SERVER = 15


class UnsuitableServer(WarehouseError):
    """The database server cannot hold the warehouse."""


def open_database(*, check_version: bool = True) -> Database:
    """The database that DATABASE_URL names, else that of the embedded server, which is started and brought up to date.

    check_version: refuse a schema of another version. Without it nothing is checked or migrated.
    Raises DatabaseUnreachable, InvalidDatabaseUrl, UnsuitableServer, SchemaOutOfDate, SchemaTooNew, or what starting
    the embedded server raises.
    """
    url = os.environ.get("DATABASE_URL")
    database = _named_database(url) if url else _embedded_database()
    if not check_version:
        return database
    # A server that is lost just now is waited for, as it is by whatever comes later.
    state = persist(database, partial(_state, database))
    if database.embedded and state in (State.MISSING, State.OUTDATED):
        upgrade(database)
    else:
        require_current(state, database)
    return database


def _state(database: Database) -> State:
    with database.connect() as connection:
        return schema_state(connection)


def running_database() -> Database | None:
    """The database, if its server runs and has this package's schema; else None. Starts and changes nothing."""
    url = os.environ.get("DATABASE_URL")
    try:
        database = _named_database(url) if url else _running_embedded_database()
        if database is None:
            return None
        with database.read() as connection:
            return database if schema_state(connection) is State.CURRENT else None
    except (WarehouseError, psycopg.Error):
        return None


def _running_embedded_database() -> Database | None:
    from warehouse.embedded import EmbeddedServer
    from warehouse.home import home

    server = EmbeddedServer(home())
    if server.status().state != "running":
        return None
    return Database(server.url(), server.url(READER), embedded=True, server=server)


def _embedded_database() -> Database:
    from warehouse.embedded import EmbeddedServer
    from warehouse.home import home

    server = EmbeddedServer(home())
    server.start()
    return Database(server.url(), server.url(READER), embedded=True, server=server)


def _named_database(url: str) -> Database:
    owner = parse_url(url)
    with connect_to(owner, search_path=OWNER_PATH) as connection:
        _require_supported(connection.info.server_version, connection.info.parameter_status("server_encoding"), owner)
        # Named explicitly: by default libpq would look for a database called like the reader.
        owner |= {"user": connection.info.user, "dbname": connection.info.dbname}
    given = os.environ.get("DATABASE_READ_URL")
    reader = parse_url(given, "DATABASE_READ_URL") if given else reader_parameters(owner)
    return Database(to_url(owner), to_url(reader), embedded=False)


def _require_supported(version: int, encoding: str | None, parameters: Mapping[str, Any]) -> None:
    """version: as libpq gives it, 150004 for 15.4."""
    if version < OLDEST_SERVER * 10_000:
        raise UnsuitableServer(
            f"The server of {describe(parameters)} is PostgreSQL {version // 10_000}; "
            f"the warehouse needs {OLDEST_SERVER} or newer."
        )
    if encoding != "UTF8":
        raise UnsuitableServer(
            f"The encoding of {describe(parameters)} is {encoding}; create a database with `encoding 'UTF8'`."
        )
