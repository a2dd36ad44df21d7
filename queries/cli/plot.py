"""`warehouse plot`: the figures by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from queries.cli.options import finite

if TYPE_CHECKING:
    from queries.figures.choice import Choice
    from queries.figures.drawing import Drawing

KINDS = ("seed", "step", "step_reverse", "final", "final_reverse", "size", "matched", "cross", "custom")

_out = click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write: .png, .svg or .pdf."
)
_corpus = click.option("--corpus", help="Corpus, where several were measured.")
_protocol = click.option("--protocol", help="Protocol, where there are several.")
_family = click.option("--family", help="Family of models, where there are several.")
_models = click.option("--model", "models", multiple=True, help="Draw this model only; may be repeated.")
_step_q = click.option("--step-q", type=int, help="Only comparisons with this step of q.")
_definition = click.option(
    "--definition", default="estimated", show_default=True, help="Whose phases to shade: fehlauer-2025, slides, ..."
)
_layer = click.option(
    "--layer", default="word_class", show_default=True, help="Annotation layer whose values to tell apart."
)


def _kind(default: str) -> Callable[[Any], Any]:
    return click.option(
        "--kind", type=click.Choice(KINDS), default=default, show_default=True, help="What is compared."
    )


def _with(*options: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Options in the order of the help."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_scored = _with(_out, _corpus, _protocol, _family, _models)


@click.group()
def plot() -> None:
    """Draw a figure over training.

    Steps stand on a log axis that has room for step 0; bands and bars are 95 % intervals. Lines differ in colour, in
    dashes and in markers.
    """


@plot.command()
@_with(_scored, _definition, _kind("seed"), _step_q)
def convergence(out: Path, definition: str, **chosen: Any) -> None:
    """Draw how alike models predict, step by step: a panel per model, or per two that are compared.

    Kinds cross and custom hold a step against several of q: a line for each, eight at most.
    """
    from queries.figures import convergence

    _save(out, lambda reader: convergence.draw(reader, _choice(**chosen), definition))


@plot.command()
@_with(_layer, _scored, _definition, _kind("seed"), _step_q)
def conditional(out: Path, layer: str, definition: str, **chosen: Any) -> None:
    """Draw convergence by value of an annotation layer: a panel per model, a line per value.

    Of a layer with more than eight values the most frequent eight are drawn.
    """
    from queries.figures import conditional

    _save(out, lambda reader: conditional.draw(reader, _choice(**chosen), layer, definition))


@plot.command()
@click.option("--reference", help="Whose counts: layer frequency.NAME instead of layer frequency.")
@_with(_scored, _definition, _kind("seed"), _step_q)
def frequency(out: Path, reference: str | None, definition: str, **chosen: Any) -> None:
    """Draw convergence by how often the token occurs: a panel per model, a line per decade of its count."""
    from queries.figures import conditional

    _save(out, lambda reader: conditional.draw_frequency(reader, _choice(**chosen), reference, definition))


@plot.command()
@_with(_scored, _definition)
def phases(out: Path, definition: str, **chosen: Any) -> None:
    """Draw the phases of training: convergence of seeds, and below it KL to uniform and unigram, and cross-entropy."""
    from queries.figures import phases

    _save(out, lambda reader: phases.draw(reader, _choice(**chosen), definition))


@plot.command()
@_scored
def reference(out: Path, **chosen: Any) -> None:
    """Draw how far models are from reference distributions: a panel per reference, a line per model."""
    from queries.figures import reference

    _save(out, lambda reader: reference.draw(reader, _choice(**chosen)))


@plot.command("relative-divergence")
@click.option("--value", "values", multiple=True, help="Name this value, and not those farthest off; may be repeated.")
@_with(_layer, _scored, _kind("step"), _step_q)
def relative_divergence(out: Path, layer: str, values: Sequence[str], **chosen: Any) -> None:
    """Draw mean KL by value of a layer over the mean KL of all tokens, outliers filled: a panel per model.

    Named are the eight values that are most often outliers, or where there are none the most frequent.
    """
    from queries.figures import relative_divergence

    _save(out, lambda reader: relative_divergence.draw(reader, _choice(**chosen), layer, values))


@plot.command("cross-entropy-fit")
@click.option(
    "--predictor",
    type=click.Choice(["ratio", "difference"]),
    default="ratio",
    show_default=True,
    help="What KL is fitted on: p's cross-entropy over q's, or less q's.",
)
@click.option(
    "--max-step", type=int, help="Last step that is fitted, of two the earlier; by default settings.fit_max_step."
)
@_with(_layer, _scored, _kind("step"))
def cross_entropy_fit(out: Path, layer: str, predictor: str, max_step: int | None, **chosen: Any) -> None:
    """Draw KL from step to step against the fall of cross-entropy, and the slope of that by value of a layer."""
    from queries.figures import cross_entropy_fit

    _save(out, lambda reader: cross_entropy_fit.draw(reader, _choice(**chosen), layer, predictor, max_step))


@plot.command("trend-shares")
@click.option(
    "--start",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    callback=finite,
    help="Share of training left out.",
)
@click.option(
    "--predictor",
    type=click.Choice(["step", "log_step", "index"]),
    default="step",
    show_default=True,
    help="What perplexity is regressed on.",
)
@click.option(
    "--variant",
    type=click.Choice(["paper", "code"]),
    default="paper",
    show_default=True,
    help="When a token is stagnated: as the paper says, or as its code does.",
)
@_scored
def trend_shares(out: Path, start: float, predictor: str, variant: str, **chosen: Any) -> None:
    """Draw how many tokens each training run comes to predict better, worse or no different: a panel per trend."""
    from queries.figures import trend_shares

    _save(out, lambda reader: trend_shares.draw(reader, _choice(**chosen), start, predictor, variant))


@plot.command()
@click.option("--metric", "metrics", multiple=True, help="Metric, as view training_curves calls it; may be repeated.")
@click.option(
    "--higher-is-better/--lower-is-better", "upwards", default=None, help="Direction of the metrics, where not known."
)
@_scored
def saturation(out: Path, metrics: Sequence[str], upwards: bool | None, **chosen: Any) -> None:
    """Draw metrics over training with the best checkpoint of each run: a panel per metric, a line per model.

    Without --metric surprisal and imported results are drawn, six at most.
    """
    from queries.figures import saturation

    _save(out, lambda reader: saturation.draw(reader, _choice(**chosen), metrics, upwards))


@plot.command()
@click.argument("token", type=int)
@_with(_out, _protocol, _family, _models)
def trajectory(out: Path, token: int, **chosen: Any) -> None:
    """Draw the token with number TOKEN over training: its surprisal under every model, and convergence of seeds at it.

    The number is the token_id of view tokens.
    """
    from queries.figures import trajectory

    _save(out, lambda reader: trajectory.draw(reader, _choice(**chosen), token))


def _save(out: Path, draw: Callable[[Any], Drawing]) -> None:
    """Draw from the reader's connection, write the file, and print its path."""
    from queries.figures import style
    from warehouse.opening import open_database

    style.check_output(out)
    with open_database().read() as reader:
        style.save(draw(reader).figure(), out)
    click.echo(out)


def _choice(**chosen: Any) -> Choice:
    from queries.figures.choice import Choice

    return Choice(**chosen)
