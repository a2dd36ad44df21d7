"""A study to be broken off, servers to be killed, and what an undisturbed run of the study leaves."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import psycopg
import pytest

from ingest.study import Study
from tests.conftest import TEST_SETTINGS, database_at
from tests.contents import assert_same, contents, findings
from tests.faults.processes import Command
from tests.faults.studies import SEEDS, STEPS, as_file
from tests.ingested import documents, rows, save_models, study_of, write_documents
from warehouse.cluster import READER
from warehouse.database import Database
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """One small model on ten short documents."""
    folder = tmp_path_factory.mktemp("faults")
    text = write_documents(folder / "short.jsonl", documents(words=8))
    root = save_models(folder / "models", ["small"], SEEDS, STEPS)
    return study_of(root, text, family="small", kinds=("seed", "step", "final"))


@pytest.fixture
def study_file(study: Study, tmp_path: Path) -> Path:
    """The study as a user would write it."""
    return as_file(study, tmp_path / "short.toml")


@dataclass
class Workplace:
    """A database, and commands that work on it."""

    database: Database
    environment: dict[str, str | None]
    folder: Path
    commands: list[Command] = field(default_factory=list)

    def run(self, *arguments: str, rest: float = 0.0) -> Command:
        """Start `warehouse` with arguments."""
        folder = self.folder / f"command{len(self.commands)}"
        self.commands.append(Command(arguments, folder, self.environment, rest))
        return self.commands[-1]

    def ingest(self, study_file: Path, *arguments: str, rest: float = 0.0) -> Command:
        """Start the ingestion of a study."""
        options = ("--device", "cpu", "--threads", "1", "--reserve", "0")
        return self.run("ingest", str(study_file), *options, *arguments, rest=rest)

    def n_evaluations(self) -> int:
        """Evaluations that are finished."""
        return int(rows(self.database, "select count(*) from warehouse.evaluation where status = 'complete'")[0][0])


@pytest.fixture
def workplace(database: Database, tmp_path: Path) -> Iterator[Workplace]:
    """A fresh database on the session's server, whose server nobody kills."""
    yield from workplace_on(database, tmp_path)


def workplace_on(database: Database, folder: Path, home: Path | None = None) -> Iterator[Workplace]:
    """A workplace whose commands do not outlive it. home: where they find the embedded server of the database."""
    workplace = Workplace(database, environment_of(database, home), folder)
    yield workplace
    for command in workplace.commands:
        command.end()


def environment_of(database: Database, home: Path | None = None) -> dict[str, str | None]:
    """What makes commands work on a database. Nothing is downloaded."""
    place: dict[str, str | None] = {"DATABASE_URL": database.owner_url, "DATABASE_READ_URL": database.reader_url}
    if home is not None:
        place = {"WAREHOUSE_HOME": str(home), "DATABASE_URL": None, "DATABASE_READ_URL": None}
    return {**place, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def mortal_server(reachable_directory: Path) -> Iterator[EmbeddedServer]:
    """An embedded server that may be killed. Its first database is a template."""
    if os.environ.get("DATABASE_URL"):
        pytest.skip("the server that DATABASE_URL names is not ours to kill")
    server = EmbeddedServer(reachable_directory / "mortal", settings=TEST_SETTINGS)
    server.start()
    upgrade(Database(server.url(), server.url(READER), embedded=True))
    with psycopg.connect(server.url(dbname="postgres"), autocommit=True) as connection:
        connection.execute("alter database warehouse rename to migrated")
    yield server
    server.stop()


@pytest.fixture
def mortal(mortal_server: EmbeddedServer, tmp_path: Path) -> Iterator[Workplace]:
    """A fresh database on a server that may be killed, which commands find by WAREHOUSE_HOME."""
    mortal_server.start()
    with psycopg.connect(mortal_server.url(dbname="postgres"), autocommit=True) as connection:
        connection.execute("drop database if exists warehouse with (force)")
        connection.execute("create database warehouse template migrated")
    database = Database(mortal_server.url(), mortal_server.url(READER), embedded=True, server=mortal_server)
    yield from workplace_on(database, tmp_path, home=mortal_server.home)


@pytest.fixture(scope="session")
def undisturbed(
    study: Study, server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, pd.DataFrame]]:
    """What one undisturbed run of the study leaves."""
    name = f"undisturbed_{uuid.uuid4().hex[:12]}"
    database = database_at(server_url, name)
    folder = tmp_path_factory.mktemp("undisturbed")
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"create database {name} template {template}".encode())
        Workplace(database, environment_of(database), folder).ingest(as_file(study, folder / "short.toml")).succeed()
        yield contents(database)
        connection.execute(f"drop database {name} with (force)".encode())


@pytest.fixture
def expect_undisturbed(undisturbed: dict[str, pd.DataFrame]) -> Callable[[Database], None]:
    """Asserts that a database holds what an undisturbed run leaves, to the last bit, and that its checks are clean."""

    def check(database: Database) -> None:
        assert_same(contents(database), undisturbed)
        assert findings(database) == {}

    return check
