"""An embedded server for tests, and questions to it."""

from __future__ import annotations

from pathlib import Path

import psycopg

from tests.conftest import TEST_SETTINGS
from warehouse.embedded import EmbeddedServer


class Talkative(EmbeddedServer):
    """A server that keeps what it says."""

    def __init__(self, folder: Path) -> None:
        self.said: list[str] = []
        super().__init__(folder, say=self.said.append, settings=TEST_SETTINGS)


def answer(server: EmbeddedServer, query: str = "select 1") -> object:
    with psycopg.connect(server.url()) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def pid_of(server: EmbeddedServer) -> int:
    pid = server.status().pid
    assert pid is not None
    return pid
