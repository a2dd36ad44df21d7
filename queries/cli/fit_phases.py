"""`warehouse fit phases`: how far the text determines where phases of training begin and end."""

from __future__ import annotations

import click

from queries.cli.options import finite, format_option


@click.command()
@click.option("--corpus", help="Corpus, where several were measured.")
@click.option("--protocol", help="Protocol, where there are several.")
@click.option("--family", help="Family of models, where there are several.")
@click.option("--model", "models", multiple=True, help="This model only; may be repeated.")
@click.option("--samples", type=click.IntRange(min=1), default=1000, show_default=True, help="Samples of documents.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the samples.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.95,
    show_default=True,
    callback=finite,
    help="Share of the samples within an interval.",
)
@click.option("--name", default="phases", show_default=True, help="Name to store the fit under.")
@format_option
def phases(form: str, **asked: object) -> None:
    """Estimate an interval for each boundary between phases, by a bootstrap over documents.

    Views phase_intervals and fits have the result. Needs sums by document, which are kept when pairs are loaded; reads
    no facts.
    """
    from queries.output import rows_result, write
    from queries.phase_intervals import Request, fit_phases
    from warehouse.opening import open_database

    fit, boundaries = fit_phases(open_database(), Request(**asked))  # type: ignore[arg-type]
    columns = [(name, "int4") for name in ("step", "lower", "upper")]
    rows = [(b.model, b.boundary, b.step, b.interval.lower, b.interval.upper, b.interval.share) for b in boundaries]
    write(rows_result([("model", "text"), ("boundary", "text"), *columns, ("share", "float8")], rows), form)
    click.echo(f"Stored: {fit}.", err=True)
