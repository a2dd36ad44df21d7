"""`warehouse fit`: what SQL cannot fit, fitted and stored under a name; each kind of fit has a file of its own."""

from __future__ import annotations

import click

from queries.cli.options import format_option
from warehouse.cli import LazyCommand, LazyGroup

#: Kinds of fits: the command's name, where it is, and what it does.
KINDS = {
    "scaling": LazyCommand("queries.cli.fit_scaling:scaling", "Fit a scaling law of the loss."),
    "regression": LazyCommand(
        "queries.cli.fit_regression:regression", "Regress KL on frequency, part of speech, context and model."
    ),
    "phases": LazyCommand("queries.cli.fit_phases:phases", "Estimate intervals of the boundaries between phases."),
}
_SCOPE = {
    "kind": "Kind of the fit, where several have this name.",
    "family": "Family of its models, where several have this name.",
    "corpus": "Its corpus, where several have this name.",
    "protocol": "Its protocol, where several have this name.",
}

_FITS = "select kind, name, family, corpus, protocol, settings, made_at from fits order by kind, name, family, corpus"


@click.command("list")
@format_option
def list_fits(form: str) -> None:
    """List what was fitted, with what was asked for."""
    from queries.output import write
    from queries.run import run
    from warehouse.opening import open_database

    with open_database().read() as connection:
        write(run(connection, _FITS), form)


@click.command()
@click.argument("name")
def drop(name: str, **scope: str | None) -> None:
    """Delete the fit NAME with its results."""
    from warehouse.fits import drop_fit
    from warehouse.opening import open_database

    click.echo(f"Dropped: {drop_fit(open_database(), name, **scope)}.")


for _noun, _help in _SCOPE.items():
    click.option(f"--{_noun}", help=_help)(drop)


OWN = {
    "list": LazyCommand("queries.cli.fit:list_fits", "List what was fitted."),
    "drop": LazyCommand("queries.cli.fit:drop", "Delete a fit with its results."),
}


@click.group(cls=LazyGroup, lazy={**KINDS, **OWN})
def fit() -> None:
    """Fit what SQL cannot, and store the result under a name; fitting again replaces it."""
