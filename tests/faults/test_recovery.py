"""Crash recovery is waited out with a message, by whoever uses the server and whoever comes while it lasts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg import pq
from psycopg.conninfo import make_conninfo

from tests.faults.conftest import Workplace, environment_of
from tests.faults.servers import kill_postmaster
from tests.faults.studies import N_CHECKPOINTS
from warehouse.cluster import READER
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer


def test_recovery_is_waited_out_by_an_ingester_and_by_a_newcomer(
    mortal: Workplace,
    mortal_server: EmbeddedServer,
    study_file: Path,
    expect_undisturbed: Callable[[Database], None],
) -> None:
    ingester = mortal.ingest(study_file, rest=0.05)
    ingester.wait_until(lambda: mortal.n_evaluations() >= N_CHECKPOINTS // 3)
    with slow_recovery(mortal_server):
        kill_postmaster(mortal_server)
        ingester.wait_until(lambda: takes_no_connections(mortal_server))
        # One that knows the server only by its URL.
        here = Database(mortal_server.url(), mortal_server.url(READER), embedded=False)
        mortal.environment.update(environment_of(here))
        newcomer = mortal.run("sql", "select count(*) from checkpoints", "--format", "csv")
        newcomer.wait_until(lambda: "can take minutes: waiting for it." in newcomer.errors)
        ingester.wait_until(lambda: "after a crash it first recovers, which can take minutes." in ingester.errors)

    assert newcomer.succeed().split() == ["count", str(N_CHECKPOINTS)]
    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    expect_undisturbed(mortal.database)


def takes_no_connections(server: EmbeddedServer) -> bool:
    """Whether a server is there, and says that it is not ready."""
    address = server.address()
    return bool(address) and pq.PGconn.ping(make_conninfo("", **address).encode()) == pq.Ping.REJECT


@contextmanager
def slow_recovery(server: EmbeddedServer) -> Iterator[None]:
    """Recovery, once it has begun, takes until the end of the block."""
    configuration = server.data_directory.parent / "postgresql.conf"
    before = configuration.read_text()
    brake = server.data_directory.parent / "brake"
    brake.touch()
    # A server that looks for its log in an archive takes no connections until the archive has answered.
    archive = f"while test -e {brake}; do sleep 0.05; done; false"
    configuration.write_text(f"{before}hot_standby = off\nrestore_command = '{archive}'\n")
    signal_file = server.data_directory / "recovery.signal"
    signal_file.touch()
    os.chown(signal_file, server.data_directory.stat().st_uid, -1)
    try:
        yield
    finally:
        brake.unlink()
        configuration.write_text(before)
