"""Too little disk stops an ingestion with a message before the server is at risk."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TEST_SETTINGS
from tests.contents import findings
from tests.faults.conftest import Workplace, workplace_on
from tests.faults.servers import pid_of
from tests.faults.studies import N_CHECKPOINTS
from tests.ingested import rows
from warehouse.cluster import READER
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade

MEGABYTE = 1_000_000


def test_a_reserve_that_the_disk_does_not_have_stops_before_anything_is_written(
    mortal: Workplace, study_file: Path
) -> None:
    refused = mortal.run("ingest", str(study_file), "--device", "cpu", "--reserve", "1e9")
    assert refused.wait() == 1
    assert "GB must stay free" in refused.errors
    assert rows(mortal.database, "select 1 from warehouse.corpus") == []


@pytest.fixture
def small_disk(reachable_directory: Path) -> Iterator[Path]:
    """A file system of 300 MB."""
    folder = reachable_directory / f"disk-{uuid.uuid4().hex[:6]}"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=300m,mode=755", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("a small file system can only be made by root, where mounting is allowed")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def cramped(small_disk: Path, tmp_path: Path) -> Iterator[tuple[EmbeddedServer, Workplace]]:
    """A server on a small disk."""
    if os.environ.get("DATABASE_URL"):
        pytest.skip("the disk of the server that DATABASE_URL names is not ours to fill")
    server = EmbeddedServer(small_disk / "home", settings={**TEST_SETTINGS, "max_wal_size": "64MB"})
    server.start()
    database = Database(server.url(), server.url(READER), embedded=True, server=server)
    upgrade(database)
    yield from ((server, workplace) for workplace in workplace_on(database, tmp_path, home=server.home))
    server.stop()


def fill(folder: Path, leave: int) -> Path:
    """Fill a disk with a file but for so many bytes."""
    ballast = folder / "ballast"
    with ballast.open("ab") as file:
        while (room := shutil.disk_usage(folder).free - leave) > 0:
            file.write(bytes(min(room, MEGABYTE)))
            file.flush()
    return ballast


def test_a_disk_that_fills_up_stops_the_run_with_a_sentence_and_nothing_is_lost(
    cramped: tuple[EmbeddedServer, Workplace],
    small_disk: Path,
    study_file: Path,
    expect_undisturbed: Callable[[Database], None],
) -> None:
    server, workplace = cramped
    before = pid_of(server)
    careful = workplace.ingest(study_file, "--reserve", "0.05", rest=0.05)
    careful.wait_until(lambda: workplace.n_evaluations() >= N_CHECKPOINTS // 3)
    ballast = fill(small_disk, leave=40 * MEGABYTE)
    assert careful.wait() == 1
    assert "must stay free: free some room, or lower --reserve." in careful.errors.splitlines()[-1]
    assert pid_of(server) == before
    assert findings(workplace.database) == {}

    # Whoever reserves nothing meets the end of the disk itself.
    reckless = workplace.ingest(study_file, "--reserve", "0", rest=0.05)
    reckless.wait_until(lambda: workplace.n_evaluations() >= N_CHECKPOINTS // 2)
    fill(small_disk, leave=0)
    assert reckless.wait() == 1
    assert reckless.errors.splitlines()[-1].startswith("Error: ")
    assert "No space left on device" in reckless.errors or "disk" in reckless.errors
    assert "Traceback" not in reckless.errors

    ballast.unlink()
    workplace.ingest(study_file).succeed()
    assert findings(workplace.database) == {}
    expect_undisturbed(workplace.database)
