"""`warehouse fit scaling`: a scaling law of the loss."""

from __future__ import annotations

import click

from queries.cli.options import finite, format_option

#: Shown of a law, in the order of its formula.
_LAW = ("a", "alpha", "b", "beta", "e")


def _sizes(_context: click.Context, _parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, int]:
    """Read MODEL=NUMBER."""
    sizes = {}
    for value in values:
        model, _, number = value.rpartition("=")
        if not model or not number.replace("_", "").isdigit() or int(number) < 1:
            raise click.BadParameter(f"{value} is not like 410m=405334016.")
        sizes[model] = int(number)
    return sizes


@click.command()
@click.option("--metric", default="surprisal", show_default=True, help="Name of the loss; or an imported one, in nats.")
@click.option("--source", help="Source of the imported loss, where there are several.")
@click.option("--corpus", help="Corpus, where several were measured.")
@click.option("--protocol", help="Protocol, where there are several.")
@click.option("--family", help="Family of models, where there are several.")
@click.option(
    "--parameters",
    type=click.Choice(["total", "without_embeddings"]),
    default="total",
    show_default=True,
    help="What N counts.",
)
@click.option(
    "--min-parameters",
    type=click.IntRange(0),
    default=400_000_000,
    show_default=True,
    help="Leave out models with fewer parameters, embeddings included.",
)
@click.option(
    "--from-step", type=click.IntRange(1), default=1, show_default=True, help="Leave out checkpoints before this step."
)
@click.option("--free", is_flag=True, help="Fit all five constants, not A and alpha alone.")
@click.option("--b", type=float, callback=finite, help="B, unless free.  [default: 410.7]")
@click.option("--beta", type=float, callback=finite, help="beta, unless free.  [default: 0.28]")
@click.option("--e", type=float, callback=finite, help="E, unless free.  [default: 1.69]")
@click.option(
    "--size",
    "sizes",
    metavar="MODEL=NUMBER",
    multiple=True,
    callback=_sizes,
    help="Parameters of a model that was not read here; may be repeated.",
)
@click.option(
    "--tokens-per-step", type=click.IntRange(1), help="Where training tokens are not known; 2097152 for Pythia."
)
@click.option("--name", help="Name to store it under.  [default: METRIC, or METRIC@SOURCE]")
@format_option
def scaling(form: str, name: str | None, **asked: object) -> None:
    """Fit the scaling law L = A / N^alpha + B / T^beta + E to the losses of checkpoints.

    N are parameters, T training tokens, L is mean surprisal, or an imported loss. B, beta and E are those of Hoffmann
    et al. 2022, unless --free. View scaling_excess holds every checkpoint against the law.
    """
    from queries.output import rows_result, write
    from queries.scaling import Question, fit_scaling
    from warehouse.opening import open_database

    given = {option: value for option, value in asked.items() if value is not None}
    if given["free"] and (constants := [f"--{option}" for option in ("b", "beta", "e") if option in given]):
        raise click.UsageError(f"With --free, {', '.join(constants)} would be fitted and not given; leave one out.")
    answer = fit_scaling(open_database(), Question(**given), name)  # type: ignore[arg-type]
    fitted = answer.fitted
    columns = [("name", "text"), *((constant, "float8") for constant in (*_LAW, "se_log_a", "se_alpha"))]
    columns += [("rms_residual", "float8"), ("n_models", "int4"), ("n", "int4")]
    law = [getattr(fitted.law, constant) for constant in _LAW]
    errors = [fitted.se_log_a, fitted.se_alpha, fitted.rms_residual]
    write(rows_result(columns, [(answer.fit.name, *law, *errors, answer.n_models, answer.n)]), form)
    click.echo(f"{'Replaced' if answer.replaced else 'Stored'}: {answer.fit}.", err=True)
