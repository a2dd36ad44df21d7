"""A connection that is lost, to a server that goes on, costs nothing but another connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Workplace, workplace_on
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.studies import N_CHECKPOINTS, traces
from tests.scratch_server import ScratchServer, scratch_server
from warehouse.conninfo import parse_url, to_url
from warehouse.database import Database, reader_parameters
from warehouse.migration import upgrade


@pytest.fixture(scope="module")
def distant_server() -> Iterator[ScratchServer]:
    """A server that is reached over TCP, with a password."""
    with scratch_server() as server:
        yield server


@pytest.fixture
def cable(distant_server: ScratchServer) -> Iterator[Proxy]:
    """The way to it."""
    parameters = parse_url(distant_server.url)
    with proxy_to((parameters["host"], int(parameters["port"]))) as proxy:
        yield proxy


@pytest.fixture
def distant(distant_server: ScratchServer, cable: Proxy, tmp_path: Path) -> Iterator[Workplace]:
    """A database on the distant server; commands reach it through the cable, the test does not."""
    owner = parse_url(distant_server.url)
    database = Database(to_url(owner), to_url(reader_parameters(owner)), embedded=False)
    upgrade(database)
    for workplace in workplace_on(database, tmp_path):
        workplace.environment["DATABASE_URL"] = distant_server.url_of(port=str(cable.port))
        yield workplace


def test_connections_that_are_cut_again_and_again_cost_nothing(
    distant: Workplace, cable: Proxy, study_file: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    ingester = distant.ingest(study_file, rest=0.05)
    for share in (2, 6, 10, 14):
        # Idle connections and busy ones, as they come.
        ingester.wait_until(lambda share=share: distant.n_evaluations() >= share and cable.cut())  # type: ignore[misc]
        finished = traces(distant.database)

    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    assert finished <= traces(distant.database)
    expect_undisturbed(distant.database)


def test_sessions_that_are_ended_by_hand_cost_nothing(
    workplace: Workplace, study_file: Path, expect_undisturbed: Callable[[Database], None]
) -> None:
    ingester = workplace.ingest(study_file, rest=0.05)
    for share in (4, 12):
        ingester.wait_until(
            lambda share=share: workplace.n_evaluations() >= share and end_sessions(workplace.database)  # type: ignore[misc]
        )

    assert f"Read {N_CHECKPOINTS} of {N_CHECKPOINTS} checkpoints" in ingester.succeed()
    expect_undisturbed(workplace.database)


def end_sessions(database: Database) -> int:
    """End every other session of the database; returns how many there were."""
    others = "from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    with database.connect(autocommit=True) as connection:
        return len(connection.execute(f"select pg_terminate_backend(pid) {others}".encode()).fetchall())
