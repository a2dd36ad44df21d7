"""`warehouse refresh`: derived tables computed again from facts."""

from __future__ import annotations

import click

from queries.cli.options import format_option


@click.command()
@format_option
def refresh(form: str) -> None:
    """Compute means and sums again in SQL from the facts, and replace those that differ.

    Nothing is expected to change. While it runs, no other command can load anything.
    """
    import logging

    from queries.output import rows_result, write
    from queries.refresh import refresh as refresh_all
    from warehouse.opening import open_database

    def report(table: str, done: int, total: int) -> None:
        logging.getLogger(__name__).info("%s: %d of %d", table, done, total)

    with open_database().connect() as connection:
        changes = refresh_all(connection, report)
    columns = [(name, "int8") for name in ("rows", "changed", "added", "removed")]
    rows = [(item.table, item.rows, item.changed, item.added, item.removed, item.largest) for item in changes]
    write(rows_result([("table", "text"), *columns, ("largest_relative_difference", "float8")], rows), form)
    if not any(item.changed or item.added or item.removed for item in changes):
        click.echo("Nothing changed: no value differs by more than a billionth of itself.", err=True)
