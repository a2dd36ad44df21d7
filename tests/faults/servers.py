"""Killing a server, in part or whole."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import psycopg

from warehouse.database import Database
from warehouse.embedded import EmbeddedServer


def pid_of(server: EmbeddedServer) -> int:
    """The server's main process."""
    pid = server.status().pid
    assert pid is not None
    return pid


def kill_backend(database: Database) -> None:
    """Kill a session's process, after which the server ends all the others and recovers."""
    with suppress(psycopg.OperationalError), database.connect() as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)


def kill_postmaster(server: EmbeddedServer) -> None:
    """Kill the server's main process, as when the machine runs out of memory; its other processes follow."""
    os.kill(pid_of(server), signal.SIGKILL)
