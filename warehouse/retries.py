"""Trying again what failed because the server was lost, or because another session was in the way."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError

from warehouse.database import Database, DatabaseUnreachable

log = logging.getLogger(__name__)

#: Seconds to wait before each new try.
RETRIES = (0.2, 1, 2, 5, 10, 20)
#: SQLSTATE classes of a lost server: connection exceptions, operator intervention such as a shutdown.
_LOST = ("08", "57P")
#: SQLSTATE class of a transaction that was rolled back to end a deadlock.
_IN_THE_WAY = "40"

T = TypeVar("T")


def persist(database: Database, attempt: Callable[[], T]) -> T:
    """Call attempt; call it again, after ever longer waits, while the server is lost or another session was in the way.

    An embedded server that crashed is started again. Raises what attempt raises the last time, and at once any error
    that another try cannot mend.
    """
    for wait in RETRIES:
        try:
            return attempt()
        except (DBAPIError, psycopg.Error, DatabaseUnreachable) as error:
            if is_deadlock(error):
                log.info("Another session was writing the same rows; trying again.")
                # Not all who met wait equally long, or they would meet again.
                time.sleep(random.uniform(0, wait))
            elif is_lost(error):
                log.warning("The connection to the database was lost; trying again in %s s.", wait)
                time.sleep(wait)
                database.revive()
            else:
                raise
    return attempt()


def cause(error: BaseException) -> BaseException:
    """The driver's error within one of SQLAlchemy's."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def is_deadlock(error: BaseException) -> bool:
    """Whether a transaction was rolled back because of others that ran at the same time."""
    driver_error = cause(error)
    return isinstance(driver_error, psycopg.Error) and (driver_error.sqlstate or "").startswith(_IN_THE_WAY)


def is_lost(error: BaseException) -> bool:
    """Whether the server, or the way to it, was lost."""
    driver_error = cause(error)
    if isinstance(driver_error, DatabaseUnreachable):
        return True
    return isinstance(driver_error, psycopg.OperationalError) and (
        driver_error.sqlstate is None or driver_error.sqlstate.startswith(_LOST)
    )
