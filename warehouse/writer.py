"""Transactions that load facts: tried again after a lost connection, refused before the disk is full."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from warehouse.database import Database, free_bytes
from warehouse.errors import RunFailed
from warehouse.facts import driver
from warehouse.interrupts import held_interrupts
from warehouse.retries import cause, persist

#: Seconds that a statement may take to notice that it is cancelled.
CANCEL_LIMIT = 5.0

T = TypeVar("T")


class NoRoom(RunFailed):
    """The disk of the database has too little room."""


@dataclass(frozen=True)
class Writer:
    """The owner's transactions on a database.

    reserve: bytes that must stay free on the embedded server's disk. on_commit: called when a transaction has ended
    well, before a Ctrl-C that came meanwhile takes effect.
    """

    database: Database
    engine: Engine
    reserve: int
    on_commit: Callable[[], None] = lambda: None

    def commit(self, work: Callable[[Connection], T]) -> T:
        """Run work in one transaction, again if the server was lost meanwhile or chose it to end a deadlock.

        Ctrl-C cancels the statement that runs, if any, and takes effect when the transaction has ended. Work must bear
        to be repeated: a server may be lost after it committed and before it said so.
        Raises NoRoom where the disk is full, or would be; nothing is written then.
        """
        return persist(self.database, partial(self._commit_once, work))

    def _commit_once(self, work: Callable[[Connection], T]) -> T:
        try:
            with held_interrupts() as held:
                # Held here too: a connection that is broken off while it is made would be left open.
                self._look_for_room(0)
                with self.engine.begin() as connection:
                    held.on_interrupt = partial(driver(connection).cancel_safe, timeout=CANCEL_LIMIT)
                    result = work(connection)
                self.on_commit()
            return result
        except (DBAPIError, psycopg.Error) as error:
            if isinstance(cause(error), psycopg.errors.DiskFull):
                raise NoRoom(
                    "The disk of the database server is full, so this step was not written: "
                    "free room there, then run the same command again."
                ) from error
            raise

    def require_room(self, wanted: int) -> None:
        """Raise NoRoom if writing so many bytes would leave less than the reserve on the embedded server's disk."""
        persist(self.database, partial(self._look_for_room, wanted))

    def _look_for_room(self, wanted: int) -> None:
        free = free_bytes(self.database)
        if free is not None and free < wanted + self.reserve:
            raise NoRoom(
                f"The disk of the embedded server has {free / 1e9:.1f} GB free, but {wanted / 1e9:.1f} GB are to be "
                f"written and {self.reserve / 1e9:.1f} GB must stay free: free some room, or lower --reserve."
            )
