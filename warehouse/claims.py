"""Claims on pieces of work: which of several ingestions does what.

A claim is an advisory lock of a connection that does nothing else. Nothing depends on it for correctness: units are
written once whoever measures them, so that a claim lost with its server costs repeated work at worst.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import psycopg

from warehouse.database import Connection, Database, DatabaseUnreachable
from warehouse.interrupts import held_interrupts
from warehouse.locks import claim_block
from warehouse.retries import persist

#: Seconds between two looks at a claim that another session has.
PATIENCE = 0.5
#: A session that is idle for hours must not be ended; one whose machine is gone must be, within a minute or two.
_SETTINGS = {
    "idle_session_timeout": "0",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


class Claim:
    """A claim on a piece of work that others know by the same name. True while it is believed to be held."""

    def __init__(self, database: Database, name: str) -> None:
        """name: the same in every process, for the same work in this database."""
        self._database, self._name = database, name
        self._connection: Connection | None = None
        self._stack = ExitStack()

    def __bool__(self) -> bool:
        return self._connection is not None

    def take(self, *, wait: bool = False) -> bool:
        """Take the claim, or say that another session has it; with wait, until that one gives it back.

        Who waits must hold no other claim, or two could wait for each other. Raises DatabaseUnreachable where the
        server stays lost.
        """
        while not persist(self._database, self._try):
            if not wait:
                return False
            time.sleep(PATIENCE)
        return True

    def renew(self) -> bool:
        """Make sure that the claim is held: take it again where the connection was lost.

        False where another session took it meanwhile, which is now doing the same work.
        """
        if self._connection is not None and not self._answers(self._connection):
            self.give_back()
        return self._connection is not None or self.take()

    def give_back(self) -> None:
        """Let others have it."""
        self._connection = None
        with suppress(psycopg.Error):
            self._stack.close()

    def _try(self) -> bool:
        if self._connection is not None:
            return True
        with ExitStack() as stack:
            connection = stack.enter_context(self._database.connect(autocommit=True, settings=_SETTINGS))
            with held_interrupts():
                taken = claim_block(connection, self._name, wait=False)
            if taken:
                self._connection, self._stack = connection, stack.pop_all()
        return taken

    @staticmethod
    def _answers(connection: Connection) -> bool:
        try:
            with held_interrupts():
                connection.execute("select 1")
        except (psycopg.Error, DatabaseUnreachable):
            return False
        return True


@contextmanager
def claim(database: Database, name: str, *, wait: bool = False) -> Iterator[Claim]:
    """A claim for the time of a block. False in a condition where another session has it and wait is not set."""
    claimed = Claim(database, name)
    try:
        claimed.take(wait=wait)
        yield claimed
    finally:
        claimed.give_back()
