"""Fixtures of servers: embedded ones to start, stop and kill, and one with passwords as DATABASE_URL names them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.scratch_server import ScratchServer, scratch_server
from tests.warehouse.servers import Talkative
from warehouse.database import READER


@pytest.fixture(scope="module")
def lab() -> Iterator[ScratchServer]:
    """A server with passwords."""
    with scratch_server() as server:
        yield server


@pytest.fixture
def fresh_lab(lab: ScratchServer, monkeypatch: pytest.MonkeyPatch) -> ScratchServer:
    """The server with an empty database and no reader; DATABASE_URL names it."""
    with psycopg.connect(lab.url_of(dbname="postgres"), autocommit=True) as connection:
        connection.execute("drop database lab with (force)")
        connection.execute("create database lab")
    with psycopg.connect(lab.admin_url, autocommit=True) as connection:
        connection.execute(f"drop role if exists {READER}".encode())
    monkeypatch.setenv("DATABASE_URL", lab.url)
    return lab


@pytest.fixture(scope="module")
def shared_server(reachable_directory: Path) -> Iterator[Talkative]:
    """One server for the tests of this file that leave it running."""
    yield from _server(reachable_directory / "shared")


@pytest.fixture
def server(shared_server: Talkative) -> Talkative:
    """The file's server, running."""
    shared_server.start()
    shared_server.said.clear()
    return shared_server


@pytest.fixture
def new_home(reachable_directory: Path) -> Path:
    """A home in which there is nothing yet."""
    return reachable_directory / uuid.uuid4().hex[:8]


@pytest.fixture
def new_server(new_home: Path) -> Iterator[Talkative]:
    """A server that was never started."""
    yield from _server(new_home)
    shutil.rmtree(new_home, ignore_errors=True)


def _server(folder: Path) -> Iterator[Talkative]:
    server = Talkative(folder)
    yield server
    server.stop()
