"""The embedded PostgreSQL server: start, stop, status and address.

Knows processes, locks and sockets; nothing of the warehouse's tables. The server outlives the command that started it.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import pq, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import TupleRow

from warehouse.account import Account, owner_of, server_account
from warehouse.binaries import Binaries, find_binaries, reachable_binaries
from warehouse.cluster import OWNER, Cluster, create_data, write_access_rules
from warehouse.conninfo import parse_url, to_url
from warehouse.errors import RunFailed
from warehouse.filelock import Notice, open_lock, try_lock
from warehouse.home import ensure_home, make_directory
from warehouse.postmaster import Postmaster, orphans, read_postmaster
from warehouse.sockets import PORT, UnsafeSocket, make_socket_directory, remove_sockets, require_closed

logger = logging.getLogger(__name__)

DATABASE = "warehouse"
PATIENCE = 10.0  # seconds for the remains of a killed server to go away
SILENCE = 60.0  # seconds that a server which is up may leave a connection unanswered
STOP_LIMIT = 300.0  # seconds


class ServerFailed(RunFailed):
    """The embedded server did not do what it was asked."""


class ServerNotRunning(RunFailed):
    """The embedded server is not running."""


@dataclass(frozen=True)
class ServerStatus:
    """State of the embedded server: "running", "starting", "stopped" or "not created"; the rest where it applies."""

    state: str
    data: Path
    log: Path
    pid: int | None = None
    socket_directory: Path | None = None
    version: str | None = None
    bytes_used: int | None = None


class EmbeddedServer:
    """The server whose state lies under a home directory."""

    def __init__(
        self, home: Path, *, say: Callable[[str], None] = logger.info, settings: Mapping[str, str] | None = None
    ) -> None:
        """home: the warehouse's folder; say: takes a sentence for the user when something takes long.

        settings: PostgreSQL settings to write when the server is created, beside those chosen for this machine.
        """
        self.home = home
        self._cluster = Cluster(home / "postgres")
        self._say = say
        self._settings = dict(settings or {})

    @property
    def data_directory(self) -> Path:
        """Where the server keeps its files."""
        return self._cluster.data

    def start(self) -> None:
        """Make sure that the server runs and has its database; creates both on first use.

        Waits for a server that is starting up. Raises OutOfReach, NoServerAccount, NoBinaries, HomeNotUsable,
        InitFailed or ServerFailed.
        """
        account = server_account(self._cluster.data)
        if self._has_database():
            return
        self._make_directories(account)
        with self._start_lock():
            if not self._await_running():
                self._launch(account)
            self._create_database()

    def revive(self) -> None:
        """Start the server again if it crashed; wait, with a message, while it recovers. One that was stopped stays so.

        Raises what `start` raises.
        """
        account = server_account(self._cluster.data)
        if self._has_database() or not read_postmaster(self._cluster.data):
            return
        with self._start_lock():
            # A server that stops removes its process file; one that is killed cannot.
            if not self._await_running() and read_postmaster(self._cluster.data):
                self._say("PostgreSQL has crashed; starting it again.")
                self._launch(account)

    def stop(self) -> bool:
        """Stop the server, ending its sessions; says whether it was running.

        Raises ServerFailed where it does not stop within five minutes.
        """
        if owner_of(self._cluster.data) is None:
            return False
        server_account(self._cluster.data)
        with self._start_lock():
            postmaster = self._living_postmaster()
            if not postmaster:
                return False
            self._await_recovery(postmaster)
            self._end(postmaster)
            return True

    def status(self) -> ServerStatus:
        """What state the server is in. Starts nothing."""
        cluster = self._cluster
        if owner_of(cluster.data) is None:
            return ServerStatus("not created", cluster.data, cluster.log)
        server_account(cluster.data)
        postmaster = self._living_postmaster()
        if not postmaster:
            return ServerStatus("stopped", cluster.data, cluster.log)
        if self._ping(postmaster) != pq.Ping.OK:
            return ServerStatus("starting", cluster.data, cluster.log, postmaster.pid, postmaster.socket_directory)
        with self._maintenance_connection() as connection:
            row = connection.execute(
                "select current_setting('server_version'), sum(pg_database_size(oid))::bigint from pg_database"
            ).fetchone()
        version, size = row or (None, None)
        return ServerStatus(
            "running", cluster.data, cluster.log, postmaster.pid, postmaster.socket_directory, version, size
        )

    def url(self, role: str = OWNER, dbname: str = DATABASE) -> str:
        """The libpq URL of a database of the running server, for the owner or another role.

        Raises ServerNotRunning, and UnsafeSocket where others may enter the socket's directory.
        """
        account = server_account(self._cluster.data)
        postmaster = read_postmaster(self._cluster.data)
        if not postmaster or not postmaster.socket_directory:
            raise ServerNotRunning("The embedded server is not running; start it with `warehouse db start`.")
        require_closed(postmaster.socket_directory, account)
        parameters = {"user": role, "dbname": dbname, "host": str(postmaster.socket_directory), "port": str(PORT)}
        return to_url(parameters)

    def address(self) -> dict[str, str]:
        """Host and port of the running server, which may have moved when it was started again; none if it is not."""
        try:
            parameters = parse_url(self.url())
        except (ServerNotRunning, UnsafeSocket):
            return {}
        return {name: parameters[name] for name in ("host", "port")}

    # Is it alive?

    def _has_database(self) -> bool:
        """The test of life: a real connection to the database."""
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except (ServerNotRunning, UnsafeSocket, psycopg.OperationalError):
            return False
        return True

    def _living_postmaster(self) -> Postmaster | None:
        postmaster = read_postmaster(self._cluster.data)
        return postmaster if postmaster and postmaster.alive else None

    def _ping(self, postmaster: Postmaster) -> pq.Ping:
        if not postmaster.socket_directory:
            return pq.Ping.NO_RESPONSE
        address: dict[str, str | int] = {
            "host": str(postmaster.socket_directory),
            "port": PORT,
            "user": OWNER,
            "dbname": "postgres",
        }
        return pq.Ping(pq.PGconn.ping(make_conninfo("", **address, connect_timeout=5).encode()))

    def _await_running(self) -> bool:
        """True once the server takes connections; False when there is none. Waits while it starts up or shuts down."""
        notice = Notice(
            self._say, "PostgreSQL is starting up; after a crash it first recovers, which can take minutes."
        )
        last_answer = time.monotonic()
        while postmaster := self._living_postmaster():
            answer = self._ping(postmaster)
            if answer == pq.Ping.OK:
                return True
            if answer == pq.Ping.REJECT:
                last_answer = time.monotonic()
            silence = time.monotonic() - last_answer
            # A socket that was cleared away, like other temporary files, does not come back.
            if postmaster.ready and not postmaster.has_socket and silence > PATIENCE:
                self._say(f"The socket of PostgreSQL (process {postmaster.pid}) is gone; restarting it.")
                self._end(postmaster)
            elif postmaster.ready and silence > SILENCE:
                raise ServerFailed(
                    f"PostgreSQL (process {postmaster.pid}) has not answered for {SILENCE:.0f} seconds; "
                    f"see {self._cluster.log}, or stop it with `warehouse db stop`."
                )
            notice.wait(0.05)
        return False

    # Starting

    def _make_directories(self, account: Account) -> None:
        ensure_home(self.home)
        make_directory(self._cluster.base, 0o755 if account.foreign else 0o700)
        account.require_reach(self._cluster.base)

    @contextmanager
    def _start_lock(self) -> Iterator[None]:
        """One process at a time creates, starts or stops the server."""
        notice = Notice(self._say, "Waiting for another process that is starting or stopping PostgreSQL.")
        with open_lock(self._cluster.start_lock) as file:
            while not try_lock(file):
                notice.wait(0.05)
            yield

    def _launch(self, account: Account) -> None:
        cluster = self._cluster
        binaries = reachable_binaries(find_binaries(cluster.major), account, self.home / "binaries")
        if cluster.major is None:
            create_data(cluster, binaries, account, self._settings)
        write_access_rules(cluster)
        _put_aside_if_big(cluster.log)
        deadline = time.monotonic() + PATIENCE
        before = cluster.log.stat().st_size if cluster.log.exists() else 0
        while not self._try_launch(account, binaries):
            said = _last_words(cluster.log, before)
            # The remains of a killed server still hold its shared memory for a moment.
            if time.monotonic() > deadline or "shared memory" not in said:
                raise ServerFailed(f"PostgreSQL did not start: {said} The log is {cluster.log}.")
            time.sleep(0.5)

    def _try_launch(self, account: Account, binaries: Binaries) -> bool:
        """Start the server once; False when it ended again."""
        with open_lock(self._cluster.life_lock) as life:
            self._take_over(life)
            self._remove_remains()
            options = {
                "config_file": self._cluster.configuration,
                "hba_file": self._cluster.host_rules,
                "ident_file": self._cluster.user_map,
                "unix_socket_directories": f'"{make_socket_directory(self._cluster.base, account)}"',
                "port": PORT,
            }
            settings = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
            with self._cluster.log.open("ab") as log:
                account.run(
                    [binaries.program("pg_ctl"), "start", "-W", "-s", "-D", self._cluster.data, "-o", settings],
                    output=log,
                    # The server inherits the lock and holds it while any of its processes lives.
                    pass_fds=[life.fileno()],
                )
        return self._await_launched()

    def _await_launched(self) -> bool:
        """True once the server that was just started takes connections, False when it ended."""
        with open_lock(self._cluster.life_lock) as life:
            while not read_postmaster(self._cluster.data):
                if try_lock(life):
                    return False
                time.sleep(0.01)
        return self._await_running()

    def _take_over(self, life: IO[str]) -> None:
        """Get the lock that a living server holds, on whatever machine or in whatever container it runs."""
        deadline = time.monotonic() + PATIENCE
        while not try_lock(life):
            for pid in orphans(self._cluster.data):
                # What their main process would have told them, had it not been killed.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{self._cluster.data} is in use by a server that cannot be seen from here, on another machine or "
                    "in another container; stop it there with `warehouse db stop`, or set WAREHOUSE_HOME elsewhere."
                )
            time.sleep(0.05)

    def _remove_remains(self) -> None:
        """Remove the process file and the sockets of a server that is gone."""
        postmaster = read_postmaster(self._cluster.data)
        (self._cluster.data / "postmaster.pid").unlink(missing_ok=True)
        if postmaster and postmaster.socket_directory:
            remove_sockets(postmaster.socket_directory)

    def _create_database(self) -> None:
        with self._maintenance_connection() as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))

    def _maintenance_connection(self) -> psycopg.Connection[TupleRow]:
        return psycopg.connect(self.url(dbname="postgres"), autocommit=True, connect_timeout=10)

    # Stopping

    def _await_recovery(self, postmaster: Postmaster) -> None:
        """Wait while the server starts up: asked to stop while it recovers from a crash, PostgreSQL 18 may hang."""
        deadline = time.monotonic() + STOP_LIMIT
        notice = Notice(self._say, "PostgreSQL is starting up; it is stopped when it is done.")
        while postmaster.alive and self._ping(postmaster) == pq.Ping.REJECT and time.monotonic() < deadline:
            notice.wait(0.05)

    def _end(self, postmaster: Postmaster) -> None:
        """Ask the server to end its sessions and stop, and wait until it did."""
        os.kill(postmaster.pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_LIMIT
        notice = Notice(self._say, "Waiting for PostgreSQL to write its last checkpoint.")
        while postmaster.alive:
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"PostgreSQL (process {postmaster.pid}) did not stop within five minutes; "
                    f"end it with `kill -QUIT {postmaster.pid}`."
                )
            notice.wait(0.02)
        if postmaster.socket_directory:
            remove_sockets(postmaster.socket_directory)


def _put_aside_if_big(log: Path) -> None:
    if log.exists() and log.stat().st_size > 10_000_000:
        log.replace(log.with_suffix(".old.log"))


def _last_words(log: Path, since: int) -> str:
    """What the server wrote to its log after byte `since`, without the lines' prefixes."""
    with log.open("rb") as file:
        file.seek(since)
        lines = file.read().decode(errors="replace").splitlines()
    said = [re.sub(r"^[-\d]+ [:.\d]+ \w+ \[\d+\] \S*@\S* +", "", line) for line in lines[-6:]]
    return " ".join(said) or "it wrote nothing."
