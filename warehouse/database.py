"""A database: connections of its owner and of its reader. How it is found and brought up to date is not known here."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from warehouse.conninfo import derived_password, describe, parse_url, without_password
from warehouse.errors import WarehouseError
from warehouse.filelock import Notice

if TYPE_CHECKING:
    import sqlalchemy

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[TupleRow]

READER = "warehouse_read"
OWNER_PATH = "warehouse, analysis, public"
# Without "$user": the owner is called like the schema of the tables, and what users create belongs into public.
READER_PATH = "public, analysis"


class DatabaseUnreachable(WarehouseError):
    """No connection to the database could be made."""


class UnsafeReader(WarehouseError):
    """The login meant for reading could write."""


class Server(Protocol):
    """A server that this package runs: started again after a crash, perhaps at another address."""

    def address(self) -> Mapping[str, str]:
        """Its present host and port; nothing while it does not run."""
        ...

    def revive(self) -> None:
        """Start it again if it crashed."""
        ...


@dataclass(frozen=True)
class Database:
    """One database, as its owner and as its reader. `embedded`: on the server that this package runs, `server`."""

    # Not shown: a URL may hold a password.
    owner_url: str = field(repr=False)
    reader_url: str = field(repr=False)
    embedded: bool
    server: Server | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return describe(parse_url(self.owner_url))

    @contextmanager
    def connect(self, *, autocommit: bool = False, settings: Mapping[str, str] | None = None) -> Iterator[Connection]:
        """A connection of the owner: committed at the end, rolled back on an exception, closed in any case.

        settings: of PostgreSQL, for this session. Raises DatabaseUnreachable.
        """
        owner = self._current(self.owner_url)
        with connect_to(owner, search_path=OWNER_PATH, settings=settings, autocommit=autocommit) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection of the role that cannot write, in a read-only transaction.

        Raises DatabaseUnreachable, and UnsafeReader where the login has the owner's or a superuser's rights.
        """
        parameters = self._current(self.reader_url, "DATABASE_READ_URL")
        with connect_to(
            parameters, search_path=READER_PATH, settings={"default_transaction_read_only": "on"}
        ) as reader:
            self._refuse_powerful(reader)
            reader.read_only = True
            yield reader
            reader.rollback()

    def engine(self, *, search_path: str = OWNER_PATH) -> sqlalchemy.Engine:
        """A SQLAlchemy engine of the owner without a pool: every connection is a new one, and waits for no recovery."""
        import sqlalchemy

        return sqlalchemy.create_engine(
            "postgresql+psycopg://",
            creator=lambda: connect_to(self._current(self.owner_url), search_path=search_path, patient=False),
            poolclass=sqlalchemy.NullPool,
        )

    def revive(self) -> None:
        """Wait while the server recovers. An embedded one that crashed is started; one that was stopped stays so."""
        if self.server is not None:
            self.server.revive()
        await_recovery(self._current(self.owner_url))

    def _current(self, url: str, variable: str = "DATABASE_URL") -> dict[str, str]:
        """The parameters of a URL, with the present address of the embedded server."""
        return parse_url(url, variable) | dict(self.server.address() if self.server is not None else {})

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
    patient: bool = True,
) -> Connection:
    """Connect with libpq parameters and session settings.

    patient: wait, with a message, for a server that is starting up. Raises DatabaseUnreachable, never with the
    password.
    """
    # Compiling a query takes longer than most of ours do; servers of distributions have it on.
    session = {"search_path": search_path, "jit": "off", **(settings or {})}
    options = [f"-c {name}={value.replace(' ', '')}" for name, value in session.items()]
    defaults = {"connect_timeout": "10", "application_name": "warehouse"}
    merged = defaults | dict(parameters)
    # Ours come last, so that they hold whatever the URL sets.
    merged |= {"options": " ".join([parameters.get("options", ""), *options]).strip(), "client_encoding": "utf8"}
    while True:
        try:
            return psycopg.connect("", autocommit=autocommit, **merged)  # type: ignore[arg-type]
        except psycopg.Error as error:
            if not (patient and await_recovery(merged)):
                raise DatabaseUnreachable(_reason(error, parameters)) from None


def await_recovery(parameters: Mapping[str, str]) -> bool:
    """Wait, with a message, while a server takes no connections because it starts up or shuts down; says if it did."""
    address = make_conninfo("", **({"connect_timeout": "10"} | dict(parameters))).encode()
    notice = Notice(
        logger.info,
        f"The server of {describe(parameters)} is starting up or shutting down; after a crash it first recovers, which "
        "can take minutes: waiting for it.",
    )
    waited = False
    while pq.PGconn.ping(address) == pq.Ping.REJECT:
        waited = True
        notice.wait(0.2)
    return waited


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
