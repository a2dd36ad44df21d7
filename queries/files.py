"""The SQL files of this package: where they lie, what each one defines, and in which order they are created.

A file defines one object of its own name. It names the views and functions it reads in a header line
``-- requires: name, name``; files are created in that order, functions before views where the order is free.
This module may not know a database.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from warehouse.errors import WarehouseError

ROOT = Path(__file__).parent
_KINDS = {"functions": "function", "views": "view"}
_REQUIRES = re.compile(r"^--\s*requires:(.*)$", re.MULTILINE)


class SqlFileError(WarehouseError):
    """The SQL files of the package contradict each other."""


@dataclass(frozen=True)
class SqlFile:
    """A file that creates one view or function of schema ``analysis``."""

    name: str
    kind: str
    text: str

    @property
    def requires(self) -> tuple[str, ...]:
        """Names of the views and functions that must exist before this one."""
        names = ",".join(_REQUIRES.findall(self.text)).split(",")
        return tuple(name.strip() for name in names if name.strip())


def definitions(root: Path = ROOT) -> list[SqlFile]:
    """All functions and views, each after what it requires.

    Raises SqlFileError when a file requires what does not exist, or two require each other.
    """
    files = {file.name: file for file in _read(root)}
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for file in files.values():
        if unknown := [name for name in file.requires if name not in files]:
            raise SqlFileError(f"{file.name}.sql requires {', '.join(unknown)}, which no file defines.")
        sorter.add(file.name, *file.requires)
    return [files[name] for name in _levels(sorter, files)]


def digest(root: Path = ROOT) -> str:
    """SHA-256 over names and contents of all functions and views."""
    total = hashlib.sha256()
    for folder in sorted(_KINDS):
        for path in sorted((root / folder).glob("*.sql")):
            total.update(f"{folder}/{path.name}\0".encode())
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def header(text: str) -> str:
    """The comment that opens an SQL file, as one line of prose."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        lines.append(line.removeprefix("--").strip())
    return " ".join(lines)


def _read(root: Path) -> Iterator[SqlFile]:
    for folder, kind in _KINDS.items():
        for path in sorted((root / folder).glob("*.sql")):
            yield SqlFile(path.stem, kind, path.read_text(encoding="utf-8"))


def _levels(sorter: TopologicalSorter[str], files: dict[str, SqlFile]) -> Iterable[str]:
    try:
        sorter.prepare()
    except CycleError as error:
        raise SqlFileError(f"These SQL files require each other: {', '.join(error.args[1])}.") from error
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=lambda name: (files[name].kind, name))
        yield from ready
        sorter.done(*ready)
