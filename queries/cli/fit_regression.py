"""`warehouse fit regression`: KL of each token regressed on what is known of the token, at every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from queries.regression import Fitted

#: Kinds that keep tokens and have one comparison for each model and step.
_KINDS = ("seed", "step", "final")


@click.command()
@click.option("--corpus", help="Corpus, where several were measured.")
@click.option("--protocol", help="Protocol, where there are several.")
@click.option("--family", help="Family of models, where there are several.")
@click.option("--kind", type=click.Choice(_KINDS), default="seed", show_default=True, help="What is compared.")
@click.option("--layer", default="pos", show_default=True, help="Layer whose values are predictors.")
@click.option("--context-layer", default="pos.context", show_default=True, help="Layer of the token before, likewise.")
@click.option("--reference", help="Reference whose counts to take; by default unigram, else the corpus itself.")
@click.option("--step", "steps", type=int, multiple=True, help="This step only; may be repeated.")
@click.option("--name", default="regression", show_default=True, help="Name to store the fit under.")
def regression(name: str, steps: tuple[int, ...], **chosen: Any) -> None:
    """Regress KL on log10(count + 1), part of speech, that of the token before, and model, step by step.

    An observation is a token under a model: its KL averaged over pairs. Coefficients are effects on KL in nats, so
    that a positive one says that such tokens are predicted less alike. Reference levels are the smallest model and, of
    each layer, NN, or where it has no such value the most frequent one. Errors are clustered by vocabulary id. The
    result is in view regression_coefficients.
    """
    from queries.progress import steps_bar
    from queries.regression import Question, fit_regressions
    from warehouse.opening import open_database

    database = open_database()
    with steps_bar("fitting", "steps") as progress:
        fitted = fit_regressions(database, Question(steps=steps, **chosen), name, progress)
    click.echo(_summary(name, fitted))
    left_out = fitted.subject.n_incomplete
    if left_out:
        what = "comparison that lacks pairs" if left_out == 1 else "comparisons that lack pairs"
        click.echo(f"Left out: {left_out:,} {what}.", err=True)


def _summary(name: str, fitted: Fitted) -> str:
    subject, steps = fitted.subject, len(fitted.steps)
    return (
        f"{'Replaced' if fitted.replaced else 'Stored'} fit {name}: {steps:,} step{'s' * (steps != 1)} of "
        f"{', '.join(subject.models)} on {subject.corpus}, up to {fitted.n:,} observations in {fitted.n_clusters:,} "
        f"vocabulary ids; counts of {fitted.counts}. Ask view regression_coefficients."
    )
