"""The embedded PostgreSQL server: start, stop, status and address.

Knows processes, locks and sockets; nothing of the warehouse's tables. The server outlives the command that started it.
"""

from __future__ import annotations

import logging
import os
import shlex
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psycopg
from psycopg import pq, sql
from psycopg.rows import TupleRow

from warehouse.account import Account, server_account
from warehouse.binaries import Binaries, find_binaries, reachable_binaries
from warehouse.cluster import OWNER, Cluster, create_data, write_access_rules
from warehouse.conninfo import to_url
from warehouse.errors import RunFailed
from warehouse.filelock import Notice, open_lock, try_lock
from warehouse.home import ensure_home, make_directory
from warehouse.postmaster import PORT, SOCKET_NAME, Postmaster, orphans, read_postmaster

logger = logging.getLogger(__name__)

DATABASE = "warehouse"
LONGEST_SOCKET = 100  # bytes; the systems allow 103 to 107
PATIENCE = 10.0  # seconds for the remains of a killed server to go away
SILENCE = 60.0  # seconds that a living server may take before it answers at all
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

    def __init__(self, home: Path, *, say: Callable[[str], None] = logger.info) -> None:
        """home: the warehouse's folder; say: takes a sentence for the user when something takes long."""
        self._home = home
        self._cluster = Cluster(home / "postgres")
        self._say = say

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

    def stop(self) -> bool:
        """Stop the server, ending its sessions; says whether it was running.

        Raises ServerFailed where it does not stop within five minutes.
        """
        if not self._cluster.data.exists():
            return False
        server_account(self._cluster.data)
        with self._start_lock():
            postmaster = self._living_postmaster()
            if not postmaster:
                return False
            self._end(postmaster)
            return True

    def status(self) -> ServerStatus:
        """What state the server is in. Starts nothing."""
        cluster = self._cluster
        if not cluster.data.exists():
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

        Raises ServerNotRunning, and ServerFailed where the socket's directory is not the server's alone.
        """
        server_account(self._cluster.data)
        postmaster = read_postmaster(self._cluster.data)
        if not postmaster or not postmaster.socket_directory:
            raise ServerNotRunning("The embedded server is not running; start it with `warehouse db start`.")
        self._check_owner(postmaster.socket_directory)
        parameters = {"user": role, "dbname": dbname, "host": str(postmaster.socket_directory), "port": str(PORT)}
        return to_url(parameters)

    # Is it alive?

    def _has_database(self) -> bool:
        """The test of life: a real connection to the database."""
        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except (ServerNotRunning, ServerFailed, psycopg.OperationalError):
            return False
        return True

    def _living_postmaster(self) -> Postmaster | None:
        postmaster = read_postmaster(self._cluster.data)
        return postmaster if postmaster and postmaster.alive else None

    def _ping(self, postmaster: Postmaster) -> pq.Ping:
        if not postmaster.socket_directory:
            return pq.Ping.NO_RESPONSE
        address = f"host='{_quoted(postmaster.socket_directory)}' port={PORT} connect_timeout=5 dbname=postgres"
        return pq.Ping(pq.PGconn.ping(address.encode(errors="surrogateescape")))

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
            # Without its socket, cleared away with other temporary files, a server cannot be reached again.
            if time.monotonic() - last_answer > (SILENCE if postmaster.has_socket else PATIENCE):
                self._say(f"PostgreSQL (process {postmaster.pid}) does not answer on its socket; restarting it.")
                self._end(postmaster)
            notice.wait(0.05)
        return False

    # Starting

    def _make_directories(self, account: Account) -> None:
        ensure_home(self._home)
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
        binaries = reachable_binaries(find_binaries(cluster.major), account, self._home / "binaries")
        if cluster.major is None:
            create_data(cluster, binaries, account)
        write_access_rules(cluster)
        deadline = time.monotonic() + PATIENCE
        while not self._try_launch(account, binaries):
            # The remains of a killed server still hold its shared memory for a moment.
            if time.monotonic() > deadline or "shared memory" not in _last_words(cluster.log):
                raise ServerFailed(f"PostgreSQL did not start: {_last_words(cluster.log)} The log is {cluster.log}.")
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
                "unix_socket_directories": self._make_socket_directory(account),
                "port": PORT,
            }
            settings = " ".join(f"-c {shlex.quote(f'{name}={value}')}" for name, value in options.items())
            with _open_log(self._cluster.log) as log:
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
            self._remove_sockets(postmaster.socket_directory)

    def _make_socket_directory(self, account: Account) -> Path:
        """A directory for the socket, 0700, the server's: beside the data, or in /tmp where that path is too long."""
        beside = self._cluster.base / "run"
        if len(os.fsencode(beside / SOCKET_NAME)) > LONGEST_SOCKET:
            directory = Path(tempfile.mkdtemp(prefix="token-warehouse-", dir="/tmp"))
            account.own(directory)
            return directory
        if make_directory(beside, 0o700):
            account.own(beside)
        self._check_owner(beside)
        self._remove_sockets(beside)
        return beside

    def _remove_sockets(self, directory: Path) -> None:
        with suppress(OSError):
            for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
                (directory / name).unlink(missing_ok=True)
            if directory.parent == Path("/tmp"):
                directory.rmdir()

    def _check_owner(self, directory: Path) -> None:
        """Raise ServerFailed unless a socket's directory belongs to the server's account, closed to all others."""
        try:
            found = directory.lstat()
        except FileNotFoundError:
            raise ServerFailed(
                f"The server's socket directory {directory} is gone; run `warehouse db start`."
            ) from None
        owner = server_account(self._cluster.data).uid
        if found.st_uid != owner or found.st_mode & 0o170077 != 0o040000:
            raise ServerFailed(
                f"The socket directory {directory} is not a directory of the server's account alone (owner {owner}, "
                "mode 0700); remove it and run the command again."
            )

    def _create_database(self) -> None:
        with self._maintenance_connection() as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(DATABASE)))

    def _maintenance_connection(self) -> psycopg.Connection[TupleRow]:
        return psycopg.connect(self.url(dbname="postgres"), autocommit=True, connect_timeout=10)

    # Stopping

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
            self._remove_sockets(postmaster.socket_directory)


def _open_log(path: Path) -> IO[bytes]:
    """Open the log for appending; one that has grown over 10 MB is put aside first."""
    if path.exists() and path.stat().st_size > 10_000_000:
        path.replace(path.with_suffix(".old.log"))
    return path.open("ab")


def _last_words(log: Path) -> str:
    """The last lines of the log in which the server says why it ended."""
    lines = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    telling = [line for line in lines if any(word in line for word in ("FATAL", "PANIC", "error", "HINT"))]
    return " ".join((telling or lines or ["the log is empty."])[-2:])


def _quoted(path: Path) -> str:
    return str(path).replace("\\", r"\\").replace("'", r"\'")
