"""The command `warehouse`: a group that names its commands by import path and loads only the one that runs.

Here every error becomes one message and an exit status; the commands themselves only raise.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import click

from warehouse.errors import WarehouseError
from warehouse.interrupts import Terminated, gentle_ending

INTERRUPTED, TERMINATED = 130, 143

KEPT = "what was finished is kept, and the same command goes on from there."
UNCHANGED = "nothing was changed."
COMPLETE = "but everything had been written: the command is done."


@dataclass(frozen=True)
class LazyCommand:
    """Where a command is (`module:attribute`) and the line that describes it."""

    target: str
    help: str

    def load(self) -> click.Command:
        """Import the command."""
        module, _, attribute = self.target.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


COMMANDS = {
    "demo": LazyCommand("ingest.cli.demo:demo", "Train small models, ingest them, and show what can be asked."),
    "ingest": LazyCommand("ingest.cli.ingest:ingest", "Score the checkpoints of a study and load the results."),
    "sql": LazyCommand("queries.cli.sql:sql", "Run one SQL query, read-only."),
    "views": LazyCommand("queries.cli.views:views", "List the views with their columns and comments."),
    "plot": LazyCommand("queries.cli.plot:plot", "Draw a figure: convergence, phases, relative divergence, ..."),
    "report": LazyCommand("queries.cli.report:report", "Write one page about a corpus: figures, tables, their SQL."),
    "fit": LazyCommand("queries.cli.fit:fit", "Fit what SQL cannot, and store the result under a name."),
    "check": LazyCommand("queries.cli.check:check", "Check that what is stored fits together; zero rows are wanted."),
    "refresh": LazyCommand("queries.cli.refresh:refresh", "Compute the summaries again from the facts."),
    "annotate": LazyCommand("warehouse.cli.annotate:annotate", "Load an annotation of tokens as a layer."),
    "annotations": LazyCommand(
        "warehouse.cli.annotations:list_annotations", "List annotation layers and their values."
    ),
    "runs": LazyCommand("warehouse.cli.runs:runs", "Flag training runs as outliers, or show which are."),
    "checkpoints": LazyCommand(
        "warehouse.cli.checkpoints:checkpoints", "Leave checkpoints out of statistics, or show which are."
    ),
    "corpus": LazyCommand("ingest.cli.corpus:corpus", "Add a text without measuring a model on it."),
    "import": LazyCommand("warehouse.cli.imports:imports", "Take in KL, scores or benchmark results made elsewhere."),
    "db": LazyCommand("warehouse.cli.db:db", "Start, stop, upgrade or reach the database."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run; its help comes from the table."""

    def __init__(self, *, lazy: Mapping[str, LazyCommand], **attributes: object) -> None:
        super().__init__(**attributes)  # type: ignore[arg-type]
        self.lazy = lazy

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """The commands in the order of the table."""
        return list(self.lazy)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import a command."""
        return self.lazy[name].load() if name in self.lazy else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for an unknown one name the nearest."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], self.lazy, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise click.UsageError(error.message + hint, ctx) from None

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.help) for name, command in self.lazy.items()])


@dataclass
class Session:
    """One run of the command line: the options that stand before the command, and what Ctrl-C would leave behind."""

    debug: bool = False
    left_behind: str = KEPT

    @contextmanager
    def all_or_nothing(self) -> Iterator[Callable[[], None]]:
        """Around what a command does in one transaction; gives what is to be called when that is committed."""

        def committed() -> None:
            self.left_behind = COMPLETE

        self.left_behind = UNCHANGED
        yield committed


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error, and what the server is doing.")
@click.version_option(package_name="token-warehouse")
@click.pass_obj
def warehouse(session: Session, debug: bool) -> None:
    """A warehouse of token-level surprisal and KL across the checkpoints of language models.

    The data lie in PostgreSQL: the server that DATABASE_URL names, else one of the warehouse's own under
    WAREHOUSE_HOME.
    """
    session.debug = debug
    _log_to_stderr(logging.DEBUG if debug else logging.INFO)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0, 2 for bad input, 1 for a failed run, 130 after Ctrl-C, 143 after SIGTERM."""
    session = Session()
    try:
        with gentle_ending():
            status = warehouse.main(arguments, prog_name="warehouse", standalone_mode=False, obj=session)
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt) as ending:
        click.echo(f"Interrupted; {session.left_behind}", err=True)
        status = TERMINATED if isinstance(ending.__cause__ or ending, Terminated) else INTERRUPTED
    except Exception as error:
        if session.debug:
            traceback.print_exc()
        message, status = explain(error)
        click.echo(f"Error: {message}", err=True)
    sys.exit(status)


def explain(error: BaseException) -> tuple[str, int]:
    """What to tell the user about an error that reached the top, and the exit status."""
    if isinstance(error, WarehouseError):
        return str(error), error.exit_code
    database_error = _database_error(error)
    if database_error:
        return database_error, 1
    said = " ".join(str(error).split())
    return f"{type(error).__name__}: {said or 'no message'} (this should not happen; --debug shows where).", 1


def _database_error(error: BaseException) -> str | None:
    """One sentence for an error of psycopg, or of SQLAlchemy around one; None for any other."""
    cause = getattr(error, "orig", None) or error
    psycopg = sys.modules.get("psycopg")
    if psycopg is None or not isinstance(cause, psycopg.Error):
        return None
    from warehouse.retries import is_deadlock, is_lost

    said = " ".join((cause.diag.message_primary or str(cause)).split()).rstrip(".")
    if isinstance(cause, psycopg.errors.DiskFull):
        return f"The database server's disk is full ({said}); free some space and run the same command again."
    if is_lost(cause):
        return f"The connection to the database was lost ({said}); run the same command again."
    if is_deadlock(cause):
        return f"Another session was writing the same rows ({said}); run the same command again."
    return f"The database refused a statement: {said} (--debug shows where)."


class EchoHandler(logging.Handler):
    """Writes log messages as plain lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        click.echo(self.format(record), err=True)


def _log_to_stderr(level: int) -> None:
    """Show the messages of our own packages; those of libraries only as warnings."""
    handler = EchoHandler()
    for name in ("warehouse", "ingest", "queries"):
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]
