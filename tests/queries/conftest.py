"""A measured warehouse that tests read and do not change."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from tests.conftest import database_at
from tests.queries.curves import Curves, add_varied_curves
from tests.queries.measured import Measured, measure
from warehouse.database import Database


@contextmanager
def shared_database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh database for all tests of this folder, which may only read what a fixture put there."""
    name = f"shared_{uuid.uuid4().hex[:12]}"
    identifier = sql.Identifier(name)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("create database {} template {}").format(identifier, sql.Identifier(template)))
        yield database_at(server_url, name)
        connection.execute(sql.SQL("drop database {} with (force)").format(identifier))


@pytest.fixture(scope="package")
def measured(server_url: str, template: str) -> Iterator[Measured]:
    """Two models, four seeds, three steps, some tokens without KL; shared by the tests of this folder."""
    with shared_database(server_url, template) as database:
        yield measure(database, n_tokens=1100, seeds=(0, 1, 2, 3), unmeasured=["kl"])


@pytest.fixture(scope="package")
def curves(server_url: str, template: str) -> Iterator[Curves]:
    """Learning curves of every kind, sixteen steps long; shared by the tests of this folder."""
    with shared_database(server_url, template) as database:
        yield add_varied_curves(database)


@pytest.fixture
def named_measured(measured: Measured, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """The measured warehouse, named by the environment as a user would, so that commands open it."""
    monkeypatch.setenv("DATABASE_URL", measured.database.owner_url)
    monkeypatch.setenv("DATABASE_READ_URL", measured.database.reader_url)
    return measured
