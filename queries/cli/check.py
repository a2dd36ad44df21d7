"""`warehouse check`: rows that contradict each other, by kind, and what is left out on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from queries.cli.options import format_option

if TYPE_CHECKING:
    from queries.check import Notice

#: Lines of a notice; there may be thousands.
_SHOWN = 20
#: Columns of the list of checks, whose meanings are sentences.
_WIDTH = 100


@click.command()
@click.option("--show", "name", metavar="CHECK", help="Write the rows that one check finds.")
@format_option
def check(name: str | None, form: str) -> None:
    """Look for broken references, missing facts and impossible values; exit 1 if there are any.

    What statistics leave out on purpose (flagged runs; checkpoints that are missing, failed, duplicate, suspect or
    quarantined) is listed too, and is no failure.
    """
    from queries.check import notices, query_of, run_checks
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
        write(rows_result(columns, [(item.check, item.rows, item.meaning) for item in found]), form, width=_WIDTH)
        for notice in notices(connection):
            _say(notice)
    failed = [item.check for item in found if item.rows]
    if failed:
        raise RunFailed(
            f"{len(failed)} of {len(found)} checks found rows: {', '.join(failed)}. "
            f"`warehouse check --show {failed[0]}` writes them; `warehouse refresh` puts derived tables right."
        )


def _say(notice: Notice) -> None:
    """Write a notice beside the result, which may go into a file."""
    click.echo(notice.meaning, err=True)
    for what, why in notice.rows[:_SHOWN]:
        click.echo(f"  {what}: {why}" if why else f"  {what}", err=True)
    if len(notice.rows) > _SHOWN:
        click.echo(f"  and {len(notice.rows) - _SHOWN} more (view checkpoints)", err=True)
