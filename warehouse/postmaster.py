"""What `postmaster.pid` says, and whether the process it names is really the server of that data directory."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Postmaster:
    """The server process that a data directory's `postmaster.pid` names."""

    data: Path
    pid: int
    port: int | None
    socket_directory: Path | None

    @property
    def alive(self) -> bool:
        """False when the process is gone, a zombie, or anything but a `postgres` with this data directory."""
        process = Path("/proc", str(self.pid))
        if Path("/proc/self/stat").exists():
            return _state(process) != "Z" and self._is_command(_command_line(process))
        return self._alive_by_ps()

    def _is_command(self, words: list[str]) -> bool:
        if not words or not Path(words[0]).name.startswith("postgres"):
            return False
        return any(_same_place(word.removeprefix("-D"), self.data) for word in words[1:])

    def _alive_by_ps(self) -> bool:
        """For systems without /proc."""
        command = ["ps", "-ww", "-o", "stat=", "-o", "command=", "-p", str(self.pid)]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        except FileNotFoundError:
            return _exists(self.pid)
        return bool(answer) and not answer.startswith("Z") and "postgres" in answer and str(self.data) in answer


def read_postmaster(data: Path) -> Postmaster | None:
    """Read `postmaster.pid`: process, data directory, start time, port, socket directory, one a line.

    None where there is none, or where it is not written yet.
    """
    try:
        lines = (data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    port = int(lines[3]) if len(lines) > 3 and lines[3].strip().isdigit() else None
    place = lines[4].strip() if len(lines) > 4 else ""
    return Postmaster(data, pid, port, Path(place) if place else None)


def _state(process: Path) -> str:
    """The state letter of a process; Z, as for a zombie, when it is gone."""
    try:
        # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
        return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return "Z"


def _command_line(process: Path) -> list[str]:
    try:
        return [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0") if word]
    except OSError:
        return []


def _same_place(word: str, data: Path) -> bool:
    return bool(word) and os.path.realpath(word) == os.path.realpath(data)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
