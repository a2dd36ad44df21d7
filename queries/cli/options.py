"""Options that several commands share."""

from __future__ import annotations

import math

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


def finite(_context: click.Context, _parameter: click.Parameter, value: float | None) -> float | None:
    """Callback of options that are numbers: refuse nan, which lies outside no range, and infinity."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value
