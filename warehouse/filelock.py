"""Locks on files, released by the system when their holder ends, and a notice for whoever waits long."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from warehouse.home import HomeNotUsable


class Notice:
    """A sentence that is said once, when waiting has taken longer than a second."""

    def __init__(self, say: Callable[[str], None], text: str) -> None:
        self._say = say
        self._text = text
        self._due = time.monotonic() + 1.0
        self._said = False

    def wait(self, seconds: float) -> None:
        """Sleep, and say the sentence if it is due."""
        if not self._said and time.monotonic() > self._due:
            self._say(self._text)
            self._said = True
        time.sleep(seconds)


def open_lock(path: Path) -> IO[str]:
    """Open a lock file, creating it. Raises HomeNotUsable where it may not be written."""
    try:
        return path.open("a")
    except OSError as error:
        raise HomeNotUsable(
            f"Cannot write {path} ({error.strerror}); set WAREHOUSE_HOME to a directory that you may write."
        ) from error


def try_lock(file: IO[str]) -> bool:
    """Take an exclusive lock on an open file, or say that another process has it.

    Raises HomeNotUsable on a file system without locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise HomeNotUsable(
            f"The file system of {file.name} has no file locks ({error.strerror}); "
            "set WAREHOUSE_HOME to a local disk, or DATABASE_URL to a server that is already running."
        ) from error
    return True
