"""`warehouse plot`: figures of convergence, of convergence by value of a layer, and of phases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from queries.plot_data import Choice

KINDS = ("seed", "step", "step_reverse", "final", "final_reverse", "size", "matched", "cross", "custom")

_out = click.option(
    "--out", "-o", type=click.Path(path_type=Path), required=True, help="File to write: .png, .svg or .pdf."
)
_corpus = click.option("--corpus", help="Corpus, where several were measured.")
_protocol = click.option("--protocol", help="Protocol, where there are several.")
_family = click.option("--family", help="Family of models, where there are several.")
_models = click.option("--model", "models", multiple=True, help="Draw this model only; may be repeated.")
_kind = click.option("--kind", type=click.Choice(KINDS), default="seed", show_default=True, help="What is compared.")
_step_q = click.option("--step-q", type=int, help="Only comparisons with this step of q.")
_definition = click.option(
    "--definition", default="estimated", show_default=True, help="Whose phases to shade: fehlauer-2025, slides, ..."
)


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed((_out, _corpus, _protocol, _family, _models, _definition)):
        command = option(command)
    return command


@click.group()
def plot() -> None:
    """Draw a figure of convergence over training.

    Steps stand on a log axis that has room for step 0; phases are shaded; bands are 95 % intervals.
    """


@plot.command()
@_choosing
@_kind
@_step_q
def convergence(out: Path, definition: str, **chosen: Any) -> None:
    """Draw how alike models predict, step by step: a panel per model, or per two that are compared.

    Kinds cross and custom hold a step against several of q: a line for each, eight at most.
    """
    from queries import figures

    _save(out, lambda reader: figures.convergence(reader, _choice(**chosen), definition))


@plot.command()
@click.option("--layer", default="word_class", show_default=True, help="Annotation layer whose values to tell apart.")
@_choosing
@_kind
@_step_q
def conditional(out: Path, layer: str, definition: str, **chosen: Any) -> None:
    """Draw convergence by value of an annotation layer: a panel per model, a line per value.

    Of a layer with more than eight values the most frequent eight are drawn.
    """
    from queries import figures

    _save(out, lambda reader: figures.conditional(reader, _choice(**chosen), layer, definition))


@plot.command()
@_choosing
def phases(out: Path, definition: str, **chosen: Any) -> None:
    """Draw the phases of training: convergence of seeds, and below it KL to uniform and unigram, and cross-entropy."""
    from queries import figures

    _save(out, lambda reader: figures.phases(reader, _choice(**chosen), definition))


def _save(out: Path, draw: Callable[[Any], Figure]) -> None:
    """Draw from the reader's connection, write the file, and print its path."""
    from queries import plots
    from warehouse.opening import open_database

    plots.check_output(out)
    with open_database().read() as reader:
        plots.save(draw(reader), out)
    click.echo(out)


def _choice(**chosen: Any) -> Choice:
    from queries.plot_data import Choice

    return Choice(**chosen)
