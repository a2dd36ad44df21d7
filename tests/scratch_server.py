"""A PostgreSQL server for a while, with passwords over TCP as servers in the world have them.

As a program it runs a command with DATABASE_URL set, on the build that PG_BIN names:
`PG_BIN=/usr/lib/postgresql/15/bin python -m tests.scratch_server pytest`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from warehouse.account import server_account
from warehouse.binaries import find_binaries, reachable_binaries
from warehouse.conninfo import parse_url, to_url

# Characters that have a meaning in URLs and in SQL.
PASSWORD = "cor/rect'horse@%41:b%staple"


@dataclass(frozen=True)
class ScratchServer:
    """A superuser's URL; and that of `researcher`, who may create databases and roles and owns the database `lab`."""

    admin_url: str
    url: str

    def url_of(self, **changes: str) -> str:
        """The researcher's URL with other libpq parameters."""
        return to_url(parse_url(self.url) | changes)


@contextmanager
def scratch_server() -> Iterator[ScratchServer]:
    """Start a server in a temporary directory, and stop it at the end."""
    base = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    base.chmod(0o755 if os.geteuid() == 0 else 0o700)
    account = server_account(base / "data")
    binaries = reachable_binaries(find_binaries(), account, base / "binaries")
    (base / "password").write_text(PASSWORD)
    (base / "data").mkdir(mode=0o700)
    account.own(base / "data")

    def run(program: str, *arguments: str) -> None:
        with (base / "log").open("ab") as log:
            result = account.run([binaries.program(program), "-D", base / "data", *arguments], output=log)
        if result.returncode:
            raise RuntimeError(f"{program}: {(base / 'log').read_text()}")

    port = _free_port()
    run(
        "initdb",
        "-U",
        "admin",
        "-A",
        "scram-sha-256",
        f"--pwfile={base / 'password'}",
        "--locale=C",
        "-E",
        "UTF8",
        "-N",
    )
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off -c shared_buffers=128MB -c max_connections=50"
    run("pg_ctl", "start", "-w", "-o", f"{options} -c unix_socket_directories=''")
    try:
        yield _populated(port)
    finally:
        run("pg_ctl", "stop", "-m", "immediate")
        shutil.rmtree(base)


def _populated(port: int) -> ScratchServer:
    place = {"host": "127.0.0.1", "port": str(port), "password": PASSWORD}
    admin_url = to_url(place | {"user": "admin", "dbname": "postgres"})
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("create role researcher login createdb createrole password {}").format(sql.Literal(PASSWORD))
        )
        # A database is dropped while its reader's sessions are still leaving.
        connection.execute("grant pg_signal_backend to researcher")
        connection.execute("create database lab owner researcher")
    return ScratchServer(admin_url, to_url(place | {"user": "researcher", "dbname": "lab"}))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def main(command: list[str]) -> int:
    """Run a command against a scratch server; its exit status."""
    with scratch_server() as server:
        # PG_BIN was about this server; the embedded one that the command may start keeps to the wheel.
        environment = {name: value for name, value in os.environ.items() if name != "PG_BIN"}
        return subprocess.run(command, check=False, env=environment | {"DATABASE_URL": server.url}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
