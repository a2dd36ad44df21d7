"""A database that lives as long as a benchmark does."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from warehouse.conninfo import parse_url, to_url
from warehouse.database import Database, reader_parameters
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A temporary folder with a short path, which the embedded server's account can enter."""
    folder = Path(tempfile.mkdtemp(prefix="twb-"))
    folder.chmod(0o755 if os.geteuid() == 0 else 0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def scratch_server() -> Iterator[str]:
    """URL of an embedded server of its own, or of the one that DATABASE_URL names."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield given
        return
    with _embedded() as url:
        yield url


@contextmanager
def server_of(programs: Path) -> Iterator[str]:
    """URL of a server of its own, run by the programs of a build of PostgreSQL."""
    before = os.environ.get("PG_BIN")
    os.environ["PG_BIN"] = str(programs)
    try:
        with _embedded() as url:
            yield url
    finally:
        del os.environ["PG_BIN"]
        if before is not None:
            os.environ["PG_BIN"] = before


@contextmanager
def _embedded() -> Iterator[str]:
    with scratch_folder() as folder:
        server = EmbeddedServer(folder / "home", say=lambda _: None)
        server.start()
        try:
            yield server.url(dbname="postgres")
        finally:
            server.stop()


@contextmanager
def database_on(server: str) -> Iterator[Database]:
    """A migrated database with no rows on the server of a URL."""
    name = f"benchmark_{uuid.uuid4().hex[:12]}"
    owner = parse_url(server) | {"dbname": name}
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name} encoding 'UTF8' template template0".encode())
        try:
            database = Database(to_url(owner), to_url(reader_parameters(owner)), embedded=False)
            upgrade(database)
            yield database
        finally:
            connection.execute(f"drop database {name} with (force)".encode())


@contextmanager
def scratch_database() -> Iterator[Database]:
    """A migrated database with no rows, and a server for as long as it lives."""
    with scratch_server() as server, database_on(server) as database:
        yield database
