"""What `postmaster.pid` says, and whether the process it names is really the server of that data directory."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from warehouse.sockets import NAME


@dataclass(frozen=True)
class Postmaster:
    """The server process that a data directory's `postmaster.pid` names."""

    data: Path
    pid: int
    socket_directory: Path | None
    ready: bool

    @property
    def has_socket(self) -> bool:
        """Whether the file of the socket is still there."""
        return self.socket_directory is not None and (self.socket_directory / NAME).exists()

    @property
    def alive(self) -> bool:
        """False when the process is gone, a zombie, or anything but a `postgres` with this data directory."""
        process = Path("/proc", str(self.pid))
        if Path("/proc/self/stat").exists():
            return self._is_command(_command_line(process))
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
    """Read `postmaster.pid`: process, data directory, start time, port, socket directory, two more, state; one a line.

    None where there is none, or where it is not written yet.
    """
    try:
        lines = (data / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
        pid = int(lines[0])
    except (FileNotFoundError, NotADirectoryError, ValueError, IndexError):
        return None
    place = lines[4].strip() if len(lines) > 4 else ""
    return Postmaster(
        data, pid, Path(place) if place else None, ready=[line.strip() for line in lines[7:]] == ["ready"]
    )


def orphans(data: Path) -> list[int]:
    """Sessions of a server of `data` whose main process is gone, which notice that only when their query ends.

    Found through /proc; elsewhere none are found.
    """
    sessions = [process for process in Path("/proc").glob("[0-9]*") if _is_session(process, data)]
    return [int(process.name) for process in sessions if not _works_in(_parent(process), data)]


def _is_session(process: Path, data: Path) -> bool:
    return _works_in(process, data) and "".join(_command_line(process)).startswith("postgres:")


def _works_in(process: Path, data: Path) -> bool:
    """Every process of a server has the data directory as its working directory."""
    try:
        return (process / "cwd").samefile(data)
    except OSError:
        return False


def _parent(process: Path) -> Path:
    try:
        return process.with_name((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return process.with_name("0")


def _command_line(process: Path) -> list[str]:
    """The words a process was started with: none when it is gone or a zombie."""
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
