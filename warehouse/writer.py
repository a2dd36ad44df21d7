"""Transactions that load facts: tried again after a lost connection, refused before the disk is full."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from warehouse.database import Database, DatabaseUnreachable, free_bytes
from warehouse.errors import RunFailed
from warehouse.facts import driver
from warehouse.interrupts import held_interrupts

log = logging.getLogger(__name__)

#: Seconds to wait before each new try after the server was lost.
RETRIES = (1, 2, 5, 10, 20)
#: SQLSTATE classes worth another try: connection exceptions, operator intervention such as a shutdown, rollbacks that
#: end a deadlock.
_LOST = ("08", "57P", "40")

T = TypeVar("T")


class NoRoom(RunFailed):
    """The disk of the database has too little room."""


@dataclass(frozen=True)
class Writer:
    """The owner's transactions on a database. reserve: bytes that must stay free on the embedded server's disk."""

    database: Database
    engine: Engine
    reserve: int

    def commit(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction, again if the server was lost meanwhile or chose it to end a deadlock.

        Ctrl-C cancels the statement that runs, if any, and takes effect when the transaction has ended.
        Raises NoRoom where the disk is full, or would be; nothing is written then.
        """
        for wait in RETRIES:
            try:
                return self._commit_once(work)
            except (DBAPIError, psycopg.Error, DatabaseUnreachable) as error:
                if not _is_lost(error):
                    raise
                log.warning("The database server was lost; trying again in %s s.", wait)
                time.sleep(wait)
        return self._commit_once(work)

    def _commit_once(self, work: Callable[[Connection], T]) -> T:
        self.require_room(0)
        try:
            with held_interrupts() as held, self.engine.begin() as connection:
                held.on_interrupt = driver(connection).cancel
                return work(connection)
        except (DBAPIError, psycopg.Error) as error:
            if isinstance(_cause(error), psycopg.errors.DiskFull):
                raise NoRoom(
                    "The disk of the database server is full, so this step was not written: "
                    "free room there, then run the same command again."
                ) from error
            raise

    def require_room(self, wanted: int) -> None:
        """Raise NoRoom if writing so many bytes would leave less than the reserve on the embedded server's disk."""
        free = free_bytes(self.database)
        if free is not None and free < wanted + self.reserve:
            raise NoRoom(
                f"The disk of the embedded server has {free / 1e9:.1f} GB free, but {wanted / 1e9:.1f} GB are to be "
                f"written and {self.reserve / 1e9:.1f} GB must stay free: free some room, or lower --reserve."
            )


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _is_lost(error: Exception) -> bool:
    cause = _cause(error)
    if isinstance(cause, DatabaseUnreachable):
        return True
    return isinstance(cause, psycopg.OperationalError) and (cause.sqlstate is None or cause.sqlstate.startswith(_LOST))
