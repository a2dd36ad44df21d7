"""Where a benchmark ran: machine, system, versions, day."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Packages whose versions say what was compared.
_PACKAGES = ("torch", "transformers", "minicons", "numpy", "psycopg")


def describe_run() -> str:
    """Day, processor, memory, accelerator, system and versions, in one line without a line of its own for each."""
    return "; ".join([datetime.now(UTC).date().isoformat(), *_machine(), *_versions()])


def _machine() -> list[str]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{len(os.sched_getaffinity(0))} cores" if hasattr(os, "sched_getaffinity") else f"{os.cpu_count()} cores"
    return [f"{_processor()}, {cores}, {memory:.0f} GiB", *_accelerator(), _system()]


def _system() -> str:
    """System, architecture and C library; not the kernel's release, to which its builders append names."""
    return " ".join(filter(None, [platform.system(), platform.machine(), *platform.libc_ver()]))


def _processor() -> str:
    """The processor's name, with family and model where a virtual machine hides the name."""
    facts: dict[str, str] = {}
    if Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            facts.setdefault(key.strip(), value.strip())
    if "model name" not in facts:
        return platform.processor() or platform.machine()
    return f"{facts['model name']} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"


def _accelerator() -> list[str]:
    import torch

    return [torch.cuda.get_device_name()] if torch.cuda.is_available() else []


def _versions() -> list[str]:
    return [f"Python {platform.python_version()}", _server(), *filter(None, map(_package, _PACKAGES))]


def _package(name: str) -> str | None:
    try:
        return f"{name} {version(name)}"
    except PackageNotFoundError:
        return None


def _server() -> str:
    """Version of the PostgreSQL that DATABASE_URL names, or of the embedded one."""
    url = os.environ.get("DATABASE_URL")
    if url:
        import psycopg

        with psycopg.connect(url) as connection:
            return f"PostgreSQL {connection.info.parameter_status('server_version')}"
    from warehouse.binaries import find_binaries

    said = subprocess.run(
        [find_binaries().program("postgres"), "--version"], capture_output=True, text=True, check=True
    )
    return f"PostgreSQL {said.stdout.split()[-1]}"
