"""Runs the migrations: on the connection it is given, else on the warehouse that the environment names.

One runner at a time, and none that waits long for a lock; the version is kept in a table of our own schema.
"""

from __future__ import annotations

from contextlib import nullcontext

import sqlalchemy
from alembic import context
from alembic.util import CommandError

from warehouse.migration import LOCK, LOCK_TIMEOUT, SCHEMA, STATEMENT_TIMEOUT, VERSION_TABLE, ensure_schemas
from warehouse.opening import open_database
from warehouse.schema import metadata


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Compare nothing but schema `warehouse`: views in `analysis` and tables of users are not ours to migrate."""
    return kind != "schema" or name == SCHEMA


def run(connection: sqlalchemy.Connection) -> None:
    """Migrate inside the connection's transaction, or in one of our own where it has none."""
    with nullcontext() if connection.in_transaction() else connection.begin():
        connection.execute(sqlalchemy.text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(sqlalchemy.text(f"set local lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(sqlalchemy.text(f"set local statement_timeout = '{STATEMENT_TIMEOUT}'"))
        ensure_schemas(connection.connection.driver_connection)  # type: ignore[arg-type]
        context.configure(
            connection=connection,
            target_metadata=metadata,
            include_schemas=True,
            include_name=is_ours,
            version_table=VERSION_TABLE,
            version_table_schema=SCHEMA,
            compare_server_default=True,
        )
        context.run_migrations()


def main() -> None:
    """Alembic executes this file for every command."""
    if context.is_offline_mode():
        raise CommandError("The migrations need a database: unset --sql.")
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    with open_database(check_version=False).engine(search_path="public").connect() as connection:
        run(connection)


main()
