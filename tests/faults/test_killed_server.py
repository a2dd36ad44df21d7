"""A server whose processes are killed loses nothing, and neither does the ingester that was using it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.conftest import Workplace
from tests.faults.servers import kill_backend, kill_postmaster, pid_of
from tests.faults.studies import N_CHECKPOINTS, traces
from warehouse import sockets
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer

Expect = Callable[[Database], None]


def test_an_ingester_outlives_a_killed_backend(mortal: Workplace, study_file: Path, expect_undisturbed: Expect) -> None:
    ingester = mortal.ingest(study_file, rest=0.05)
    ingester.wait_until(lambda: mortal.n_evaluations() >= N_CHECKPOINTS // 3)
    finished = traces(mortal.database)
    kill_backend(mortal.database)

    # Not even what is in memory was lost.
    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    assert finished <= traces(mortal.database)
    expect_undisturbed(mortal.database)


def test_an_ingester_starts_a_killed_server_again(
    mortal: Workplace, mortal_server: EmbeddedServer, study_file: Path, expect_undisturbed: Expect
) -> None:
    ingester = mortal.ingest(study_file, rest=0.05)
    ingester.wait_until(lambda: mortal.n_evaluations() >= N_CHECKPOINTS // 3)
    finished, before = traces(mortal.database), pid_of(mortal_server)
    kill_postmaster(mortal_server)

    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    assert pid_of(mortal_server) != before
    assert "PostgreSQL has crashed; starting it again." in ingester.errors
    assert finished <= traces(mortal.database)
    expect_undisturbed(mortal.database)


def test_a_server_that_was_restarted_is_found_at_its_new_address(
    mortal: Workplace,
    mortal_server: EmbeddedServer,
    study_file: Path,
    expect_undisturbed: Expect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ingester = mortal.ingest(study_file, rest=0.05)
    ingester.wait_until(lambda: mortal.n_evaluations() >= N_CHECKPOINTS // 3)
    before = mortal_server.address()
    with monkeypatch.context() as patch:
        # A socket whose path would be too long lies in a directory of /tmp that is a new one every time.
        patch.setattr(sockets, "LONGEST", 10)
        mortal_server.stop()
        mortal_server.start()

    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    assert mortal_server.address() != before
    assert "The connection to the database was lost; trying again" in ingester.errors
    expect_undisturbed(mortal.database)
