"""The folder in which the warehouse keeps its state: the embedded server, the demo, figures.

Knows the environment and the file system; nothing of PostgreSQL.
"""

from __future__ import annotations

import os
from pathlib import Path

from warehouse.errors import WarehouseError


class HomeNotUsable(WarehouseError):
    """WAREHOUSE_HOME cannot hold the state of the warehouse."""


def home() -> Path:
    """Absolute path of the warehouse's folder: WAREHOUSE_HOME, else the platform's user data directory.

    Nothing is created; see :func:`ensure_home`.
    """
    given = os.environ.get("WAREHOUSE_HOME")
    if given:
        return Path(given).expanduser().absolute()
    if os.geteuid() == 0:
        # A user data directory of root lies under /root, which the server's unprivileged account cannot enter.
        return Path("/var/lib/token-warehouse")
    import platformdirs

    return platformdirs.user_data_path("token-warehouse", appauthor=False)


def ensure_home(folder: Path) -> None:
    """Create `folder` and its missing parents; directories that exist keep their mode.

    Raises HomeNotUsable naming the directory that stands in the way.
    """
    mode = 0o755 if os.geteuid() == 0 else 0o700
    for directory in [*reversed(folder.parents), folder]:
        make_directory(directory, mode)


def make_directory(directory: Path, mode: int) -> bool:
    """Create one directory with exactly `mode`, whatever the umask; says whether it was created.

    Raises HomeNotUsable where it cannot be created or is no directory.
    """
    try:
        if directory.is_dir():
            return False
        directory.mkdir()
        directory.chmod(mode)
    except FileExistsError:
        if directory.is_dir():  # another process was faster
            return False
        raise HomeNotUsable(f"{directory} is not a directory; set WAREHOUSE_HOME to a directory.") from None
    except OSError as error:
        raise HomeNotUsable(
            f"Cannot create {directory} ({error.strerror}); set WAREHOUSE_HOME to a directory that you may write."
        ) from error
    return True
