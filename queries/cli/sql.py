"""`warehouse sql`: one read-only query, to a table, CSV, JSON or Parquet."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from queries.cli.options import format_option


class _Query(click.Command):
    """A command whose argument may begin with a comment of SQL, which looks like an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, [f" {arg}" if re.match(r"--(\s|.*\n)", arg) else arg for arg in args])


@click.command(cls=_Query)
@click.argument("query", required=False)
@click.option("--file", "-f", type=click.Path(path_type=Path), help="Read the query from a file.")
@format_option
@click.option("--out", "-o", type=click.Path(path_type=Path), help="Write to a file instead of standard output.")
@click.option(
    "--run-set",
    type=click.Choice(["default", "all"]),
    default="default",
    show_default=True,
    help="What views of comparisons show: without runs flagged as outliers, or with them where one takes part.",
)
def sql(query: str | None, file: Path | None, form: str, out: Path | None, run_set: str) -> None:
    """Run one SQL QUERY, read-only; `-` reads it from standard input.

    Views are listed by `warehouse views`. The query runs as a role that cannot write.
    """
    from queries.output import write
    from queries.run import run
    from warehouse.opening import open_database

    statement = _statement(query, file)
    with open_database().read() as connection:
        connection.execute("select set_config('warehouse.run_set', %s, false)", [run_set])
        if run_set == "all" and not connection.execute("select 1 from checkpoints where outlier limit 1").fetchone():
            click.echo("No run is flagged, so run set all is empty: run set default has every run.", err=True)
        write(run(connection, statement), form, out)


def _statement(query: str | None, file: Path | None) -> str:
    if (query is None) == (file is None):
        raise click.UsageError("Give either a query or --file; `-` reads the query from standard input.")
    if file is not None:
        return _read(file)
    return sys.stdin.read() if query == "-" else str(query)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"Cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{file} is not UTF-8 text.") from error
