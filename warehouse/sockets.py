"""The directory of the embedded server's socket: short, closed to others, and checked before anybody connects."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from warehouse.account import Account
from warehouse.errors import RunFailed
from warehouse.home import make_directory

#: Only part of the socket's file name: the embedded server listens on no network address.
PORT = 5432
NAME = f".s.PGSQL.{PORT}"

LONGEST = 100  # bytes of a socket's path; the systems allow 103 to 107
TEMPORARY = Path("/tmp")


class UnsafeSocket(RunFailed):
    """The directory of the server's socket is missing, or others may enter it."""


def make_socket_directory(base: Path, account: Account) -> Path:
    """An empty directory for the socket, 0700, the account's: under `base`, or in /tmp where that path will not do.

    The name in /tmp is a new one every time, so that nobody can prepare a directory of that name.
    """
    beside = base / "run"
    # In the address of a client a comma separates hosts, and cannot be quoted.
    if len(os.fsencode(beside / NAME)) > LONGEST or "," in str(beside):
        directory = Path(tempfile.mkdtemp(prefix="token-warehouse-", dir=TEMPORARY))
        account.own(directory)
        return directory
    if make_directory(beside, 0o700):
        account.own(beside)
    require_closed(beside, account)
    remove_sockets(beside)
    return beside


def require_closed(directory: Path, account: Account) -> None:
    """Raise UnsafeSocket unless this is a real directory of the account that nobody else may enter."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        raise UnsafeSocket(
            f"The socket directory {directory} of the server is gone; run `warehouse db start`."
        ) from None
    if found.st_uid != account.uid or found.st_mode & 0o170077 != 0o040000:
        raise UnsafeSocket(
            f"{directory} should be a directory that only {account.name} may enter; remove it and run "
            "`warehouse db start`."
        )


def remove_sockets(directory: Path) -> None:
    """Remove the files of a server that is gone, and its directory where that was a temporary one."""
    with suppress(OSError):
        for name in (NAME, f"{NAME}.lock"):
            (directory / name).unlink(missing_ok=True)
        if directory.parent == TEMPORARY:
            directory.rmdir()
