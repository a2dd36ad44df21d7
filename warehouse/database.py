"""A database: connections of its owner and of its reader. How it is found and brought up to date is not known here."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import TupleRow

from warehouse.conninfo import derived_password, describe, parse_url, without_password
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import sqlalchemy

Connection = psycopg.Connection[TupleRow]

READER = "warehouse_read"
OWNER_PATH = "warehouse, analysis, public"
# Without "$user": the owner is called like the schema of the tables, and what users create belongs into public.
READER_PATH = "public, analysis"


class DatabaseUnreachable(WarehouseError):
    """No connection to the database could be made."""


class UnsafeReader(WarehouseError):
    """The login meant for reading could write."""


@dataclass(frozen=True)
class Database:
    """One database, as its owner and as its reader. `embedded`: on the server that this package runs."""

    # Not shown: a URL may hold a password.
    owner_url: str = field(repr=False)
    reader_url: str = field(repr=False)
    embedded: bool

    def __str__(self) -> str:
        return describe(parse_url(self.owner_url))

    @contextmanager
    def connect(self, *, autocommit: bool = False) -> Iterator[Connection]:
        """A connection of the owner: committed at the end, rolled back on an exception, closed in any case.

        Raises DatabaseUnreachable.
        """
        with connect_to(parse_url(self.owner_url), search_path=OWNER_PATH, autocommit=autocommit) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection of the role that cannot write, in a read-only transaction.

        Raises DatabaseUnreachable, and UnsafeReader where the login has the owner's or a superuser's rights.
        """
        parameters = parse_url(self.reader_url, "DATABASE_READ_URL")
        with connect_to(
            parameters, search_path=READER_PATH, settings={"default_transaction_read_only": "on"}
        ) as reader:
            self._refuse_powerful(reader)
            reader.read_only = True
            yield reader
            reader.rollback()

    def engine(self, *, search_path: str = OWNER_PATH) -> sqlalchemy.Engine:
        """A SQLAlchemy engine of the owner without a pool: every connection is a new one."""
        import sqlalchemy

        parameters = parse_url(self.owner_url)
        return sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect_to(parameters, search_path=search_path),
            poolclass=sqlalchemy.NullPool,
        )

    def _refuse_powerful(self, reader: Connection) -> None:
        owner = parse_url(self.owner_url).get("user")
        if reader.info.parameter_status("is_superuser") == "on" or reader.info.user == owner:
            raise UnsafeReader(
                f"The login for reading, {reader.info.user}, is the owner or a superuser and could write; "
                "name an ordinary login in DATABASE_READ_URL."
            )


def connect_to(
    parameters: Mapping[str, str],
    *,
    search_path: str,
    settings: Mapping[str, str] | None = None,
    autocommit: bool = False,
) -> Connection:
    """Connect with libpq parameters and session settings. Raises DatabaseUnreachable, never with the password."""
    session = {"search_path": search_path, **(settings or {})}
    options = [f"-c {name}={value.replace(' ', '')}" for name, value in session.items()]
    defaults = {"connect_timeout": "10", "application_name": "warehouse"}
    merged = defaults | dict(parameters)
    # Ours come last, so that they hold whatever the URL sets.
    merged |= {"options": " ".join([parameters.get("options", ""), *options]).strip(), "client_encoding": "utf8"}
    try:
        return psycopg.connect("", autocommit=autocommit, **merged)  # type: ignore[arg-type]
    except psycopg.Error as error:
        raise DatabaseUnreachable(_reason(error, parameters)) from None


def reader_parameters(owner: Mapping[str, str]) -> dict[str, str]:
    """How the reader logs in, from the owner's parameters; with a password only where the owner has one."""
    reader = {**owner, "user": READER}
    password = owner.get("password") or os.environ.get("PGPASSWORD")
    if password:
        reader["password"] = derived_password(password, READER)
    return reader


def free_bytes(database: Database) -> int | None:
    """Free bytes of the file system that holds the embedded server's data; None for any other server."""
    if not database.embedded:
        return None
    with database.connect() as connection:
        row = connection.execute("select current_setting('data_directory')").fetchone()
    return shutil.disk_usage(row[0]).free if row else None


def _reason(error: psycopg.Error, parameters: Mapping[str, str]) -> str:
    """Why no connection was made, and what to do: one sentence without the password."""
    said = without_password(str(error), parameters).removeprefix("connection failed: ").rstrip(".")
    advice = "check DATABASE_URL, and that the server is running"
    if not os.environ.get("DATABASE_URL"):
        advice = "start the server with `warehouse db start`"
    elif parameters.get("user") == READER:
        advice = "run `warehouse db upgrade`, or name a login that may read in DATABASE_READ_URL"
    return f"Cannot connect to {describe(parameters)}: {said}; {advice}."
