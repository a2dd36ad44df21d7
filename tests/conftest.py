"""Fixtures for every test: one PostgreSQL server a session, a fresh migrated database a test.

The server is an embedded one in a temporary home; with DATABASE_URL set it is that server, on which databases are made.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql

from warehouse.cli import main
from warehouse.conninfo import parse_url, to_url
from warehouse.database import Database, reader_parameters
from warehouse.embedded import EmbeddedServer
from warehouse.migration import upgrade

if TYPE_CHECKING:
    from tests.ingested import Ingested

# Nothing here survives the session, so nothing needs to reach the disk; several servers share the memory.
TEST_SETTINGS = {"fsync": "off", "shared_buffers": "128MB"}

NOEXEC = getattr(os, "ST_NOEXEC", 0)

AS_ROOT = os.geteuid() == 0

# A shell that runs the tests in the background lets them ignore Ctrl-C, and whatever they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Outcome:
    """What a run of the command line left behind."""

    status: int
    output: str
    errors: str


@pytest.fixture(scope="session")
def reachable_directory() -> Iterator[Path]:
    """A short temporary directory that the server's account can enter, unlike pytest's own, which root keeps closed."""
    directory = Path(tempfile.mkdtemp(prefix="tw-", dir=_fast_place()))
    directory.chmod(0o755 if AS_ROOT else 0o700)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session", autouse=True)
def isolated_home(reachable_directory: Path) -> Iterator[Path]:
    """WAREHOUSE_HOME of the session: no test touches the home of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAREHOUSE_HOME", str(reachable_directory / "home"))
        patch.delenv("DATABASE_READ_URL", raising=False)
        yield reachable_directory / "home"


@pytest.fixture(scope="session")
def server_url(isolated_home: Path) -> Iterator[str]:
    """URL of a database on the session's server from which others can be created."""
    given = os.environ.get("DATABASE_URL")
    if given:
        yield to_url(parse_url(given))
        return
    server = EmbeddedServer(isolated_home, settings=TEST_SETTINGS)
    server.start()
    yield server.url(dbname="postgres")
    server.stop()


#: What autovacuum has seen by the time of a test would decide the plan that the test looks at.
_WITHOUT_AUTOVACUUM: LiteralString = """
do $$
declare held regclass;
begin
    for held in select oid from pg_class where relnamespace = 'warehouse'::regnamespace and relkind = 'r' loop
        execute format('alter table %s set (autovacuum_enabled = off)', held);
    end loop;
end $$
"""


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Name of a migrated database to clone; nobody may be connected to it."""
    name = f"template_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} encoding 'UTF8' template template0", name)
    database = database_at(server_url, name)
    upgrade(database)
    with database.connect() as connection:
        connection.execute(_WITHOUT_AUTOVACUUM)
    yield name
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture
def database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh database with the current schema and no rows but the constants; dropped after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} template {}", name, template)
    yield database_at(server_url, name)
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture(scope="module")
def module_database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh database for all tests of a module, which may only read what a fixture of theirs put there."""
    name = f"module_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} template {}", name, template)
    yield database_at(server_url, name)
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture
def other_database(server_url: str, template: str) -> Iterator[Database]:
    """A second fresh database."""
    name = f"other_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} template {}", name, template)
    yield database_at(server_url, name)
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture
def empty_database(server_url: str) -> Iterator[Database]:
    """A fresh database without any schema of ours; dropped after the test."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} encoding 'UTF8' template template0", name)
    yield database_at(server_url, name)
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture(scope="session")
def ingested(server_url: str, template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    """Two models of four seeds and four steps, ingested once. For reading only: `ingested_copy` may be changed."""
    from tests.ingested import Ingested, ingest, make_study

    name = f"ingested_{uuid.uuid4().hex[:12]}"
    _administer(server_url, "create database {} template {}", name, template)
    study, database = make_study(tmp_path_factory.mktemp("ingested")), database_at(server_url, name)
    yield Ingested(database, study, ingest(database, study))
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture
def ingested_copy(server_url: str, ingested: Ingested, tmp_path: Path) -> Iterator[Ingested]:
    """A copy of the ingested database and of the folder of its checkpoints; dropped after the test."""
    name = f"copy_{uuid.uuid4().hex[:12]}"
    original = parse_url(ingested.database.owner_url)["dbname"]
    _administer(server_url, "create database {} template {}", name, original)
    yield ingested.moved(database_at(server_url, name), tmp_path / "models")
    _administer(server_url, "drop database {} with (force)", name)


@pytest.fixture(scope="session")
def running_embedded_server(reachable_directory: Path) -> Iterator[EmbeddedServer]:
    """An embedded server with a home of its own, whatever DATABASE_URL says; its database is not migrated yet."""
    server = EmbeddedServer(reachable_directory / "embedded", settings=TEST_SETTINGS)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def embedded_server(running_embedded_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> EmbeddedServer:
    """That server, running, as the one that commands use by default."""
    running_embedded_server.start()
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("WAREHOUSE_HOME", str(running_embedded_server.home))
    return running_embedded_server


@pytest.fixture
def named_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The fresh database, named by the environment as a user would, so that commands open it."""
    monkeypatch.setenv("DATABASE_URL", database.owner_url)
    monkeypatch.setenv("DATABASE_READ_URL", database.reader_url)
    return database


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `warehouse` with arguments in this process."""

    def run(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            main(list(arguments))
        output, errors = capfd.readouterr()
        return Outcome(int(ending.value.code or 0), output, errors)

    return run


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real data that are not part of the project: WAREHOUSE_TEST_DATA, else shared/data beside the checkout."""
    given = os.environ.get("WAREHOUSE_TEST_DATA")
    directory = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not directory.is_dir():
        pytest.skip(f"there is no {directory}; WAREHOUSE_TEST_DATA names the folder of test data")
    return directory


def _fast_place() -> str:
    """A file system in memory, where there is a large one that programs may run from; else /tmp."""
    memory = "/dev/shm"
    if os.path.isdir(memory) and shutil.disk_usage(memory).free > 4 << 30 and not os.statvfs(memory).f_flag & NOEXEC:
        return memory
    return "/tmp"


def database_at(server_url: str, name: str) -> Database:
    """The database `name` on the server of a URL, as its owner and its reader."""
    owner = parse_url(server_url) | {"dbname": name}
    embedded = not os.environ.get("DATABASE_URL")
    return Database(to_url(owner), to_url(reader_parameters(owner)), embedded)


def _administer(server_url: str, statement: str, *names: str) -> None:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
