"""`warehouse views`: the views of schema analysis, or the columns of one."""

from __future__ import annotations

import click

from queries.cli.options import format_option


@click.command()
@click.argument("name", required=False)
@format_option
def views(name: str | None, form: str) -> None:
    """List the views with what they show, or the columns of the view NAME with their units."""
    from queries.catalogue import columns_of, list_views
    from queries.output import write
    from warehouse.opening import open_database

    with open_database().read() as connection:
        write(columns_of(connection, name) if name else list_views(connection), form)
