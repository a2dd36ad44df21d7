"""`warehouse check`: rows that contradict each other, by kind."""

from __future__ import annotations

import click

from queries.cli.options import format_option


@click.command()
@click.option("--show", "name", metavar="CHECK", help="Write the rows that one check finds.")
@format_option
def check(name: str | None, form: str) -> None:
    """Look for broken references, missing facts and impossible values; exit 1 if there are any."""
    from queries.check import query_of, run_checks
    from queries.output import rows_result, write
    from queries.run import run
    from warehouse.errors import RunFailed
    from warehouse.opening import open_database

    with open_database().read() as connection:
        if name:
            write(run(connection, query_of(name)), form)
            return
        found = list(run_checks(connection))
        columns = [("check", "text"), ("rows", "int8"), ("meaning", "text")]
        write(rows_result(columns, [(item.check, item.rows, item.meaning) for item in found]), form)
    failed = [item.check for item in found if item.rows]
    if failed:
        raise RunFailed(
            f"{len(failed)} of {len(found)} checks found rows: {', '.join(failed)}. "
            f"`warehouse check --show {failed[0]}` writes them; `warehouse refresh` puts derived tables right."
        )
