"""A warehouse of two models with four phases each, on one text."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.queries.rows import Connection, Text, add_text, add_training
from warehouse.database import Database


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    with database.connect(autocommit=True) as opened:
        yield opened


@pytest.fixture
def text(connection: Connection) -> Text:
    return add_text(connection, "pydoc")


@pytest.fixture
def loaded(connection: Connection, text: Text, named_database: Database) -> Database:
    add_training(connection, text, ["small", "medium"], ["function", "content", "other"])
    return named_database
