"""The version of a database's schema, and bringing it up to date: tables, reader, views, in one transaction.

The tables' history is in the package `migrations`; the views are in `queries`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, sql

from warehouse.database import READER_PATH, Database
from warehouse.errors import RunFailed, WarehouseError

if TYPE_CHECKING:
    import sqlalchemy
    from alembic.config import Config

SCHEMA = "warehouse"
VERSION_TABLE = "alembic_version"

#: One bigint, so that it cannot meet the two-integer locks of corpora.
LOCK = 0x6D69677261746573

# A migration that waits for a lock makes everybody behind it wait too.
LOCK_TIMEOUT = "10s"
STATEMENT_TIMEOUT = "30min"


class State(Enum):
    """How a database's schema relates to this version of the package."""

    CURRENT = "current"
    MISSING = "missing"
    OUTDATED = "outdated"
    NEWER = "newer"


class SchemaOutOfDate(WarehouseError):
    """The database has no warehouse schema, or one of an older version."""


class SchemaTooNew(WarehouseError):
    """The database was made by a newer version of the package."""


class UpgradeFailed(RunFailed):
    """The schema could not be brought up to date; nothing has changed."""


@cache
def known_revisions() -> dict[str, str | None]:
    """Every revision of package `migrations` with the one it revises.

    Read from the files' text: loading Alembic takes longer than most commands.
    """
    texts = [
        file.read_text()
        for file in resources.files("migrations").joinpath("versions").iterdir()
        if file.name.endswith(".py")
    ]
    pairs = [(_assigned(text, "revision"), _assigned(text, "down_revision")) for text in texts]
    return {revision: before for revision, before in pairs if revision}


def head() -> str:
    """The revision that this version of the package works with."""
    revisions = known_revisions()
    (newest,) = revisions.keys() - set(revisions.values())
    return newest


def stored_revision(connection: psycopg.Connection[Any]) -> str | None:
    """The revision of a database's tables; None where there are none."""
    table = f"{SCHEMA}.{VERSION_TABLE}"
    row = connection.execute("select to_regclass(%s) is not null", [table]).fetchone()
    if not row or not row[0]:
        return None
    stored = connection.execute(f"select version_num from {table}".encode()).fetchone()
    return stored[0] if stored else None


def schema_state(connection: psycopg.Connection[Any]) -> State:
    """Compare a database's tables and views with those of this package."""
    from queries.sync import is_current

    revision = stored_revision(connection)
    if revision is None:
        return State.MISSING
    if revision not in known_revisions():
        return State.NEWER
    return State.CURRENT if revision == head() and is_current(connection) else State.OUTDATED


def require_current(state: State, database: Database) -> None:
    """Raise SchemaOutOfDate or SchemaTooNew, saying what to do, unless the schema is this package's."""
    if state is State.NEWER:
        raise SchemaTooNew(
            f"The {database} was made by a newer version of token-warehouse than this one; upgrade the package."
        )
    if state is State.OUTDATED:
        raise SchemaOutOfDate(f"The schema of the {database} is out of date; run `warehouse db upgrade`.")
    if state is State.MISSING:
        raise SchemaOutOfDate(f"The {database} has no warehouse yet; run `warehouse db upgrade` to create it.")


def upgrade(database: Database, *, set_search_path: bool | None = None) -> None:
    """Bring tables, reader and views up to date, all or nothing; does no harm when they are.

    set_search_path: let every session of the database find the views by their bare names; by default only on the
    embedded server. Raises SchemaTooNew, MissingPrivilege, UpgradeFailed, or ViewSyncError for a view in the way.
    """
    from alembic import command

    from queries.sync import sync
    from warehouse.roles import ensure_reader

    with _transaction(database) as connection:
        owner: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
        owner.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        owner.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'".encode())
        if stored_revision(owner) not in {None, *known_revisions()}:
            require_current(State.NEWER, database)
        ensure_schemas(owner)
        command.upgrade(alembic_config(connection), "head")
        ensure_reader(owner, database)
        sync(owner)
        if database.embedded if set_search_path is None else set_search_path:
            name = sql.Identifier(owner.info.dbname)
            owner.execute(sql.SQL(f"alter database {{}} set search_path = {READER_PATH}").format(name))


def ensure_schemas(connection: psycopg.Connection[Any]) -> None:
    """Create the schemas that are missing. `if not exists` would ask for the right to create even when they exist."""
    for schema in (SCHEMA, "analysis"):
        if not connection.execute("select 1 from pg_namespace where nspname = %s", [schema]).fetchone():
            connection.execute(sql.SQL("create schema {}").format(sql.Identifier(schema)))


def alembic_config(connection: sqlalchemy.Connection | None = None) -> Config:
    """Alembic's configuration: the scripts of the installed package `migrations`, on a connection if one is given."""
    from alembic.config import Config

    # Alembic's default is the stdout of the moment in which it was imported.
    config = Config(stdout=sys.stdout)
    # Alembic's options are ConfigParser's, in which a percent sign is special.
    config.set_main_option("script_location", str(resources.files("migrations")).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    if connection is not None:
        config.attributes["connection"] = connection
    return config


@contextmanager
def _transaction(database: Database) -> Iterator[sqlalchemy.Connection]:
    """A transaction in which nothing but names of schema public is found unqualified: so Alembic compares schemas."""
    import sqlalchemy

    try:
        with database.engine(search_path="public").begin() as connection:
            yield connection
    except sqlalchemy.exc.DBAPIError as error:
        raise _explained(error.orig, database) from error
    except (errors.InsufficientPrivilege, errors.LockNotAvailable, errors.QueryCanceled) as error:
        raise _explained(error, database) from error


def _explained(error: BaseException | None, database: Database) -> WarehouseError:
    from warehouse.roles import MissingPrivilege

    said = error.diag.message_primary if isinstance(error, psycopg.Error) else str(error)
    if isinstance(error, errors.InsufficientPrivilege):
        return MissingPrivilege(
            f"The owner may not set up the {database} ({said}); have an administrator make that user the owner of the "
            "database (`alter database ... owner to ...`)."
        )
    if isinstance(error, errors.LockNotAvailable | errors.QueryCanceled):
        return UpgradeFailed(
            f"The schema of the {database} is in use ({said}); wait for running ingests and queries, then run "
            "`warehouse db upgrade` again."
        )
    return UpgradeFailed(f"The schema of the {database} could not be brought up to date: {said}.")


def _assigned(text: str, name: str) -> str | None:
    """The string literal that a migration assigns to `name`."""
    found = re.search(rf"^{name}(?::[^=]+)? = [\"'](\w+)[\"']", text, flags=re.MULTILINE)
    return found[1] if found else None
