"""`warehouse db`, and what the command line makes of help, errors and interruptions."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import psycopg
import pytest

from tests.conftest import Outcome
from warehouse import cli
from warehouse.cli import COMMANDS, LazyCommand
from warehouse.conninfo import derived_password, parse_url, to_url
from warehouse.database import READER, Database
from warehouse.embedded import EmbeddedServer
from warehouse.errors import RunFailed, WarehouseError
from warehouse.migration import head

Command = Callable[..., Outcome]

MAIN = "import sys; from warehouse.cli import main; main(sys.argv[1:])"


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


# warehouse db


def test_start_status_and_stop_speak_of_one_server(embedded_server: EmbeddedServer, command: Command) -> None:
    assert command("db", "stop") == Outcome(0, "Stopped.\n", "")
    assert command("db", "stop").output == "The server was not running.\n"
    assert command("db", "status").output.startswith("server  stopped\n")
    assert embedded_server.status().state == "stopped"
    started = command("db", "start")
    assert started.status == 0
    assert started.output.startswith("Running: database warehouse at ")
    assert embedded_server.status().state == "running"


def test_the_status_of_a_running_server_names_what_a_user_looks_for(
    embedded_server: EmbeddedServer, command: Command
) -> None:
    command("db", "start")
    lines = dict(line.split(None, 1) for line in command("db", "status").output.splitlines())
    found = embedded_server.status()
    assert lines["server"] == "running"
    assert lines["version"] == f"PostgreSQL {found.version}"
    assert lines["process"] == str(found.pid)
    assert lines["data"] == str(embedded_server.data_directory)
    assert lines["schema"] == f"current (revision {head()})"


def test_the_status_of_a_server_that_never_was_creates_nothing(
    embedded_server: EmbeddedServer, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WAREHOUSE_HOME", str(tmp_path / "none"))
    assert command("db", "status").output.startswith("server  not created\n")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(("options", "user"), [([], "warehouse"), (["--reader"], READER)])
def test_the_url_leads_to_the_database(
    embedded_server: EmbeddedServer, command: Command, options: list[str], user: str
) -> None:
    url = command("db", "url", *options).output.strip()
    with psycopg.connect(url) as connection:
        assert connection.execute("select session_user::text, current_database()::text").fetchone() == (
            user,
            "warehouse",
        )


def test_psql_opens_the_database_with_the_views_in_reach(embedded_server: EmbeddedServer, command: Command) -> None:
    command("db", "start")
    result = _run("db", "psql", "--reader", "--", "-At", "-c", "select session_user, count(*) from checkpoints")
    assert (result.returncode, result.stdout) == (0, f"{READER}|0\n"), result.stderr


def test_a_named_server_is_shown_and_never_started_or_stopped(named_database: Database, command: Command) -> None:
    for action in ("start", "stop"):
        refused = command("db", action)
        assert refused.status == 2
        assert "DATABASE_URL is set" in refused.errors
    lines = dict(line.split(None, 1) for line in command("db", "status").output.splitlines())
    assert lines["server"] == f"running: {named_database}"
    assert lines["schema"] == f"current (revision {head()})"


def test_upgrade_brings_a_named_database_up_to_date(
    empty_database: Database, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database.owner_url)
    missing = command("db", "url")
    assert (missing.status, missing.output) == (2, "")
    assert "run `warehouse db upgrade`" in missing.errors
    assert command("db", "upgrade").output.endswith(f"is at revision {head()}.\n")
    assert command("db", "url").status == 0


def test_a_password_is_printed_only_on_request_and_only_the_readers(
    named_database: Database, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_READ_URL")
    secret = parse_url(named_database.owner_url).get("password", "needless")
    # Over a socket the password is not asked for, so that any will do.
    monkeypatch.setenv("DATABASE_URL", to_url(parse_url(named_database.owner_url) | {"password": secret}))
    derived = derived_password(secret, READER)
    for options in ([], ["--show-password"], ["--reader"]):
        shown = command("db", "url", *options).output
        assert secret not in parse_url(shown).values()
        assert derived not in shown
    assert parse_url(command("db", "url", "--reader", "--show-password").output)["password"] == derived


# warehouse


def test_help_lists_every_command_and_imports_none() -> None:
    program = (
        "import sys\nfrom warehouse.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'pandas', 'sqlalchemy', 'psycopg', 'alembic', 'numpy', 'nltk'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    for arguments in (["--help"], ["db", "--help"], ["db", "start", "--help"], ["--version"]):
        result = subprocess.run(
            [sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stderr
    assert all(name in _run("--help").stdout for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_of_the_table_exists_and_has_help(name: str) -> None:
    loaded = COMMANDS[name].load()
    assert loaded.name == name
    assert loaded.help


def test_an_unknown_command_is_bad_input(command: Command) -> None:
    outcome = command("dmeo")
    assert outcome.status == 2
    assert "No such command 'dmeo'" in outcome.errors
    assert "Did you mean 'demo'?" in outcome.errors


class Broken(LazyCommand):
    """A command that raises."""

    def __init__(self, error: BaseException) -> None:
        super().__init__("nowhere:nothing", "Raises.")
        object.__setattr__(self, "error", error)

    def load(self) -> click.Command:
        def raise_error() -> None:
            raise self.error  # type: ignore[attr-defined]

        return click.Command("broken", callback=raise_error)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (WarehouseError("The text is empty; name another."), 2, "The text is empty; name another."),
        (RunFailed(), 1, "The run ended, but a part of it failed."),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (psycopg.OperationalError("server closed\n  the connection"), 1, "was lost (server closed the connection)"),
        (psycopg.errors.AdminShutdown("shutting down"), 1, "was lost (shutting down)"),
        (psycopg.errors.ProgramLimitExceeded("row too large"), 1, "refused a statement: row too large"),
        (psycopg.errors.DeadlockDetected("deadlock"), 1, "writing the same rows (deadlock); run the same command"),
        (psycopg.errors.DiskFull("no space left"), 1, "free some space"),
        (psycopg.errors.UndefinedTable("no such table"), 1, "refused a statement: no such table"),
        (ZeroDivisionError("division by zero"), 1, "ZeroDivisionError: division by zero"),
    ],
)
def test_every_error_is_one_message_and_an_exit_status(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, message: str
) -> None:
    monkeypatch.setitem(COMMANDS, "broken", Broken(error))
    outcome = command("broken")
    assert outcome.status == status
    assert message in outcome.errors
    assert outcome.errors.strip().count("\n") == 0
    assert outcome.output == ""


def test_a_traceback_is_shown_on_request(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "broken", Broken(WarehouseError("No.")))
    assert "Traceback" not in command("broken").errors
    assert "Traceback" in command("--debug", "broken").errors


def test_messages_of_our_packages_go_to_stderr_as_plain_lines(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak() -> None:
        logging.getLogger("warehouse.embedded").info("Waiting.")
        logging.getLogger("alembic").info("noise")

    monkeypatch.setattr(LazyCommand, "load", lambda _self: click.Command("db", callback=speak))
    assert command("db") == Outcome(0, "", "Waiting.\n")


def test_the_installed_command_is_this_one() -> None:
    program = Path(sys.executable).with_name("warehouse")
    if not program.exists():
        pytest.skip("the project is not installed in this environment")
    result = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, env=dict(os.environ))
    assert (result.returncode, result.stderr) == (0, "")
    assert cli.warehouse.name == "warehouse"
