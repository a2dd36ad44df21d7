"""`warehouse db`: the server and its database. What the commands do is in `warehouse.embedded` and its neighbours."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from warehouse.database import Database
    from warehouse.embedded import EmbeddedServer


class NotOurServer(WarehouseError):
    """DATABASE_URL names a server, and only the embedded one can be started and stopped here."""


class NoPsql(WarehouseError):
    """The program psql was not found."""


@click.group()
def db() -> None:
    """Start, stop, upgrade or reach the database."""


@db.command()
def start() -> None:
    """Start the embedded server and bring its schema up to date; on first use create both."""
    _embedded_server()
    from warehouse.opening import open_database

    click.echo(f"Running: {open_database()}.")


@db.command()
def stop() -> None:
    """Stop the embedded server, ending its sessions."""
    click.echo("Stopped." if _embedded_server().stop() else "The server was not running.")


@db.command()
def status() -> None:
    """Show the state of the server and of the schema; starts nothing."""
    lines = _named_status() if os.environ.get("DATABASE_URL") else _embedded_status()
    width = max(map(len, lines))
    for name, value in lines.items():
        click.echo(f"{name:<{width}}  {value}")


@db.command()
@click.option("--reader", is_flag=True, help="Of the login that cannot write: for notebooks and BI tools.")
@click.option("--show-password", is_flag=True, help="With --reader: include the reader's password.")
def url(reader: bool, show_password: bool) -> None:
    """Print the database's URL, without a password."""
    from warehouse.conninfo import parse_url, to_url
    from warehouse.opening import open_database

    database = open_database()
    parameters = parse_url(database.reader_url if reader else database.owner_url)
    if not (reader and show_password):
        parameters.pop("password", None)
    click.echo(to_url(parameters))


@db.command(context_settings={"ignore_unknown_options": True})
@click.option("--reader", is_flag=True, help="As the login that cannot write.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(reader: bool, arguments: tuple[str, ...]) -> None:
    """Open psql on the database; further ARGUMENTS go to psql."""
    from warehouse.conninfo import parse_url, to_url
    from warehouse.database import READER_PATH
    from warehouse.opening import open_database

    database = open_database()
    parameters = parse_url(database.reader_url if reader else database.owner_url)
    program = _psql(database)
    # In the environment, since other users can see the arguments of a process.
    password = parameters.pop("password", None)
    options = f"{parameters.pop('options', '')} -c search_path={READER_PATH.replace(' ', '')}".strip()
    environment = {**os.environ, "PGOPTIONS": options, **({"PGPASSWORD": password} if password else {})}
    os.execve(program, ["psql", to_url(parameters), *arguments], environment)


@db.command()
@click.option("--set-search-path", is_flag=True, help="Let every session of the database find the views by name.")
def upgrade(set_search_path: bool) -> None:
    """Bring tables, views and the reading role up to date, all or nothing."""
    from warehouse.migration import head
    from warehouse.migration import upgrade as bring_up_to_date
    from warehouse.opening import open_database

    database = open_database(check_version=False)
    bring_up_to_date(database, set_search_path=set_search_path or None)
    click.echo(f"The schema of the {database} is at revision {head()}.")


def _embedded_server() -> EmbeddedServer:
    if os.environ.get("DATABASE_URL"):
        raise NotOurServer(
            "DATABASE_URL is set, and its server is not started or stopped from here; unset it for the embedded one."
        )
    from warehouse.embedded import EmbeddedServer
    from warehouse.home import home

    return EmbeddedServer(home())


def _embedded_status() -> dict[str, str]:
    from warehouse.database import READER, Database

    server = _embedded_server()
    found = server.status()
    lines = {"server": found.state, "data": str(found.data), "log": str(found.log)}
    if found.state == "running":
        lines |= {
            "version": f"PostgreSQL {found.version}",
            "process": str(found.pid),
            "socket": str(found.socket_directory),
            "size": f"{(found.bytes_used or 0) / 1e6:.0f} MB",
            "schema": _schema_status(Database(server.url(), server.url(READER), embedded=True)),
        }
    return lines


def _named_status() -> dict[str, str]:
    from warehouse.opening import open_database

    database = open_database(check_version=False)
    with database.connect() as connection:
        version = connection.info.parameter_status("server_version")
    return {"server": f"running: {database}", "version": f"PostgreSQL {version}", "schema": _schema_status(database)}


def _schema_status(database: Database) -> str:
    from warehouse.migration import schema_state, stored_revision

    with database.connect() as connection:
        return f"{schema_state(connection).value} (revision {stored_revision(connection) or 'none'})"


def _psql(database: Database) -> Path:
    """The psql to use: for our own server that of its build, else the system's, which alone may know TLS."""
    from warehouse.binaries import NoBinaries, find_binaries

    installed = shutil.which("psql")
    try:
        own = find_binaries().program("psql")
    except NoBinaries:
        own = None
    choices = [own, installed] if database.embedded else [installed, own]
    for program in choices:
        if program:
            return Path(program)
    raise NoPsql("There is no psql here; install your system's PostgreSQL client, or use `warehouse sql`.")
