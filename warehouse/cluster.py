"""Making the embedded server's data directory: initdb, its settings, and who may log in.

Knows nothing of starting or stopping; the files it writes lie outside the data directory, which belongs to the
server's account alone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from warehouse.account import Account, invoking_user
from warehouse.binaries import Binaries
from warehouse.errors import RunFailed
from warehouse.home import make_directory

OWNER = "warehouse"
READER = "warehouse_read"

MEGABYTE = 1 << 20
GIGABYTE = 1 << 30


class InitFailed(RunFailed):
    """The embedded database could not be created."""


@dataclass(frozen=True)
class Cluster:
    """Where the files of the embedded server lie, under the directory `base`."""

    base: Path

    @property
    def data(self) -> Path:
        """The data directory, owned by the server's account, 0700."""
        return self.base / "data"

    @property
    def log(self) -> Path:
        """What the server and initdb wrote."""
        return self.base / "server.log"

    @property
    def configuration(self) -> Path:
        """postgresql.conf: written once, free to be edited."""
        return self.base / "postgresql.conf"

    @property
    def host_rules(self) -> Path:
        """pg_hba.conf: written at every start."""
        return self.base / "pg_hba.conf"

    @property
    def user_map(self) -> Path:
        """pg_ident.conf: written at every start."""
        return self.base / "pg_ident.conf"

    @property
    def start_lock(self) -> Path:
        """Held by whoever creates, starts or stops the server."""
        return self.base / "start.lock"

    @property
    def life_lock(self) -> Path:
        """Held by the processes of the running server."""
        return self.base / "server.lock"

    @property
    def major(self) -> int | None:
        """The PostgreSQL version that made the data directory; None before that."""
        try:
            return int((self.data / "PG_VERSION").read_text().split(".")[0])
        except FileNotFoundError:
            return None


def create_data(cluster: Cluster, binaries: Binaries, account: Account, settings: Mapping[str, str]) -> None:
    """Run initdb and write the settings. The data directory appears complete or not at all.

    settings: in place of, or beside, those chosen for this machine.
    Raises InitFailed with what initdb said.
    """
    unfinished = cluster.base / "data.unfinished"
    shutil.rmtree(unfinished, ignore_errors=True)
    make_directory(unfinished, 0o700)
    account.own(unfinished)
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] if binaries.major >= 17 else ["--locale=C.UTF-8"]
    result = account.run(
        [
            binaries.program("initdb"),
            *("-D", unfinished, "-U", OWNER, "--encoding=UTF8"),
            *locale,
            *("--auth-local=peer", "--auth-host=scram-sha-256"),
            *(["--no-sync"] if settings.get("fsync") == "off" else []),
        ]
    )
    if result.returncode:
        reason = " ".join(result.stdout.strip().splitlines()[-3:])
        raise InitFailed(f"The embedded database could not be created in {cluster.base}: {reason}")
    _write(cluster.configuration, _configuration_text(cluster, settings))
    unfinished.rename(cluster.data)


def write_access_rules(cluster: Cluster) -> None:
    """Admit the invoking user, and nobody else, as the owner and as the reader."""
    user = invoking_user().replace('"', '""')
    _write(cluster.host_rules, "# Written at every start.\nlocal all all peer map=warehouse\n")
    rules = [f'warehouse "{user}" {role}\n' for role in (OWNER, READER)]
    _write(cluster.user_map, "".join(["# Written at every start.\n", *rules]))


def server_settings(memory: int, free: int, shared: int) -> dict[str, str]:
    """Settings of a new server from the machine's memory, free disk and free shared memory, all in bytes."""
    # A quarter of the memory, as PostgreSQL's manual advises; beyond 4 GB the file cache serves as well.
    buffers = min(max(memory // 4, 32 * MEGABYTE), 4 * GIGABYTE)
    # Loads want rare checkpoints, but the log must not be what fills a small disk.
    log = min(max(free // 10, 128 * MEGABYTE), 4 * GIGABYTE)
    work = min(max(memory // 256, 4 * MEGABYTE), 64 * MEGABYTE)
    return {
        "listen_addresses": "''",
        "unix_socket_permissions": "0700",
        "shared_buffers": f"{buffers // MEGABYTE}MB",
        "work_mem": f"{work // MEGABYTE}MB",
        "maintenance_work_mem": f"{4 * work // MEGABYTE}MB",
        "max_wal_size": f"{log // MEGABYTE}MB",
        # A client that was killed must not leave its query running.
        "client_connection_check_interval": "5s",
        # Containers often have 64 MB of /dev/shm, too little for parallel queries.
        "dynamic_shared_memory_type": "posix" if shared >= 512 * MEGABYTE else "mmap",
        "log_line_prefix": "'%m [%p] %u@%d '",
    }


def available_memory() -> int:
    """Bytes of memory that this process may use: the machine's, or its container's limit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            memory = min(memory, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file, or no limit ("max")
            continue
    return memory


def _configuration_text(cluster: Cluster, given: Mapping[str, str]) -> str:
    free = shutil.disk_usage(cluster.base).free
    # Where there is no /dev/shm, PostgreSQL's POSIX shared memory has no limit to look up.
    shared = shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else GIGABYTE
    settings = server_settings(available_memory(), free, shared) | dict(given)
    lines = [f"{name} = {value}\n" for name, value in settings.items()]
    return "".join(["# Written once; edit freely, then restart the server.\n", *lines])


def _write(path: Path, text: str) -> None:
    """Replace a file in one step; the server's account must be able to read it."""
    unfinished = path.with_name(f"{path.name}.unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o644)
    unfinished.replace(path)
