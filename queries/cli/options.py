"""Options that several commands share."""

from __future__ import annotations

import click

#: How to write rows; the parameter is called form.
format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "parquet"]),
    default="table",
    show_default=True,
    help="How to write the rows.",
)
