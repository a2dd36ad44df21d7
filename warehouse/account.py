"""The operating-system account that runs the embedded server, and running programs as it.

PostgreSQL refuses to run as root; root's server runs as an unprivileged account that every system has.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from warehouse.errors import WarehouseError

#: Accounts without privileges that a system may have, by preference.
UNPRIVILEGED = ("nobody", "daemon")

# LC_ALL keeps the server's messages in one language; nothing of the user's PG* variables may reach the server.
CLEAN_ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


class NoServerAccount(WarehouseError):
    """No operating-system account can run the embedded server."""


class OutOfReach(WarehouseError):
    """An account cannot enter a directory: the one that runs the server, or the user's own."""


@dataclass(frozen=True)
class Account:
    """Who runs the server. `foreign`: it is not the invoking user, so programs change to it first."""

    name: str
    uid: int
    gid: int
    foreign: bool

    def run(
        self, command: Sequence[str | Path], *, output: IO[bytes] | None = None, pass_fds: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in a clean environment and a session of its own.

        output: a file for stdout and stderr; without it both are in the result's `stdout`.
        Raises NoServerAccount where the system refuses to change to the account.
        """
        try:
            return subprocess.run(
                [str(part) for part in command],
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output or subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="surrogateescape",
                cwd="/",
                env=CLEAN_ENVIRONMENT,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
                user=self.uid if self.foreign else None,
                group=self.gid if self.foreign else None,
                extra_groups=[] if self.foreign else None,
            )
        except (PermissionError, subprocess.SubprocessError) as error:
            raise NoServerAccount(
                f"Cannot run {command[0]} as the account {self.name} ({error}); "
                "run the command as an ordinary user, or set DATABASE_URL to a server that is already running."
            ) from error

    def own(self, path: Path) -> None:
        """Give a file or directory to this account, where it is not the invoking user."""
        if self.foreign:
            os.chown(path, self.uid, self.gid)

    def first_unreachable(self, path: Path) -> Path | None:
        """The first directory on the way to `path`, itself included, that the account may not enter or run."""
        if not self.foreign:
            return None
        way = [*reversed(path.parents), path]
        script = 'for each; do test -x "$each" || { printf %s "$each"; break; }; done'
        blocked = self.run(["/bin/sh", "-c", script, "sh", *way]).stdout
        return Path(blocked) if blocked else None

    def require_reach(self, directory: Path) -> None:
        """Raise OutOfReach naming the first directory on the way to `directory` that the account may not enter."""
        blocked = self.first_unreachable(directory)
        if blocked:
            raise OutOfReach(
                f"The server runs as the account {self.name}, which cannot enter {blocked} on the way to {directory}; "
                "set WAREHOUSE_HOME to a directory outside it."
            )


def server_account(data: Path) -> Account:
    """The account to run the server of data directory `data`, which need not exist yet.

    Raises NoServerAccount where there is none, or where the directory belongs to somebody else, and OutOfReach where
    the invoking user may not look for it.
    """
    owner = owner_of(data)
    me = os.geteuid()
    if me == 0:
        return _unprivileged_account(data, owner)
    if owner not in (None, me):
        raise NoServerAccount(
            f"{data} belongs to {_name_of(owner)}, not to {_name_of(me)}; "
            "run the command as its owner, or set WAREHOUSE_HOME to a directory of your own."
        )
    return Account(invoking_user(), me, os.getegid(), foreign=False)


def owner_of(data: Path) -> int | None:
    """The user id that a directory belongs to, None where it is not there.

    Raises OutOfReach where the invoking user may not look for it.
    """
    try:
        return data.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise OutOfReach(
            f"Cannot look for {data} ({error.strerror}); set WAREHOUSE_HOME to a directory of your own."
        ) from error


def invoking_user() -> str:
    """The name of the account that runs this process.

    Raises NoServerAccount without a passwd entry: PostgreSQL identifies local users by name.
    """
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        raise NoServerAccount(
            f"The user id {uid} has no entry in /etc/passwd, and PostgreSQL refuses to run without one; "
            "add an entry, or set DATABASE_URL to a server that is already running."
        ) from None


def _unprivileged_account(data: Path, owner: int | None) -> Account:
    entries = [entry for entry in map(_entry, UNPRIVILEGED) if entry and entry.pw_uid != 0]
    if not entries:
        raise NoServerAccount(
            f"PostgreSQL does not run as root, and none of the accounts {', '.join(UNPRIVILEGED)} exists; "
            "run the command as an ordinary user, or set DATABASE_URL to a server that is already running."
        )
    for entry in entries:
        if owner in (None, entry.pw_uid):
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, foreign=True)
    raise NoServerAccount(
        f"{data} belongs to {_name_of(owner)}; run the command as that user, or set WAREHOUSE_HOME elsewhere."
    )


def _entry(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _name_of(uid: int | None) -> str:
    try:
        return pwd.getpwuid(uid or 0).pw_name
    except KeyError:
        return f"user id {uid}"
