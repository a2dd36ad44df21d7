"""`warehouse annotate`: a layer from a file or a table, its twin of the token before, or its end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from warehouse.annotation_keys import CorpusRange
    from warehouse.annotation_rows import Rows
    from warehouse.cli import Session
    from warehouse.layer import Layer

_FORMATS = ("csv", "tsv", "parquet", "jsonl", "conllu")


@dataclass(frozen=True)
class _Request:
    """The command line. file: None for a table, or for what needs no rows."""

    name: str
    file: Path | None
    from_table: str | None
    form: str | None
    corpus: str | None
    key: str | None
    column: str | None
    numeric: bool | None
    edges: str | None
    quantiles: int | None
    model: str | None
    text: Path | None
    description: str | None
    missing: tuple[str, ...]
    allow_partial: bool
    replace: bool
    fewer: bool
    context: bool
    drop: bool


@click.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--corpus", help="The corpus that is annotated, where there are several.")
@click.option(
    "--key",
    help="What says which tokens a row is about: token_id, position (with document), span (char_start, char_end), "
    "vocab_id, or word (one word after another); or value:LAYER, to group the values of a layer. Default: what the "
    "columns are called.",
)
@click.option("--column", help="The column with the values, if it is not called NAME or value.")
@click.option("--numeric/--categorical", "numeric", default=None, help="Default: numeric if every value is a number.")
@click.option("--edges", help="Where bins of a numeric layer begin, such as 0,1,2,4.")
@click.option("--quantiles", type=click.IntRange(2, 1000), help="How many bins of about as many tokens.  [default: 10]")
@click.option("--model", help="The model that the layer belongs to, as FAMILY/NAME; by default every model.")
@click.option("--format", "form", type=click.Choice(_FORMATS), help="Format of the file, if its name does not tell.")
@click.option("--from-table", metavar="SCHEMA.TABLE.COLUMN", help="Take the values from a table of this database.")
@click.option(
    "--text",
    type=click.Path(path_type=Path),
    help="The text of the corpus, to find words in where its tokens do not spell it.",
)
@click.option("--description", help="What the values mean.")
@click.option(
    "--missing",
    multiple=True,
    metavar="WORD",
    help="What stands for no value, such as NA, beside an empty cell; may be given several times. '' is for nothing "
    "else, so that NaN and NA are values.",
)
@click.option("--allow-partial", is_flag=True, help="Leave out rows that are about no token of the corpus.")
@click.option("--replace", is_flag=True, help="Take the place of the layer of this name.")
@click.option(
    "--fewer",
    is_flag=True,
    help="With --allow-partial --replace, also take a layer that covers less than half as many tokens as the old one.",
)
@click.option("--context", is_flag=True, help="Also make NAME.context, with the value of the token before.")
@click.option("--drop", is_flag=True, help="Delete the layer.")
@click.pass_obj
def annotate(session: Session, /, **options: object) -> None:
    """Annotate the tokens of a corpus with layer NAME, from FILE: CSV, TSV, Parquet, JSON lines or CoNLL-U.

    Conditional views show the layer at once. Without FILE, --context makes the twin of a layer that is there.
    """
    request = _Request(**options)  # type: ignore[arg-type]
    _check(request)
    from warehouse.annotation_file import read_rows
    from warehouse.opening import open_database
    from warehouse.writer import Writer

    database = open_database()
    with session.all_or_nothing() as committed:
        # Before the transaction, which would put Ctrl-C off until it ends.
        rows = None if request.file is None else read_rows(request.file, request.form)
        writer = Writer(database, database.engine(), reserve=0, on_commit=committed)
        said, notes = writer.commit(partial(_do, request=request, rows=rows))
    for note in notes:
        click.echo(f"Note: {note}", err=True)
    click.echo("\n".join(said))


def _check(request: _Request) -> None:
    """Raise UsageError for options that contradict each other."""
    sources = [request.file is not None, request.from_table is not None, request.drop]
    if sum(sources) > 1:
        raise click.UsageError("Give one of FILE, --from-table and --drop.")
    if not any(sources) and not request.context:
        raise click.UsageError(
            "Give a FILE with the annotations, or --from-table; `warehouse annotations` lists layers."
        )
    if request.edges is not None and request.quantiles is not None:
        raise click.UsageError("Give --edges or --quantiles, not both.")
    if request.numeric is False and (request.edges is not None or request.quantiles is not None):
        raise click.UsageError("--edges and --quantiles are for numbers, not with --categorical.")
    kinds = ("token_id", "position", "span", "vocab_id", "word")
    if request.key is not None and request.key not in kinds and not request.key.startswith("value:"):
        raise click.UsageError(f"There is no key {request.key}; choose {', '.join(kinds)} or value:LAYER.")
    if not request.name.strip() or request.name != request.name.strip():
        raise click.UsageError("Give the layer a name that begins and ends with a letter or a sign.")


def _edges(given: str | None) -> tuple[float, ...]:
    """Edges as numbers. Raises UsageError unless they are finite and ascend."""
    if given is None:
        return ()
    try:
        edges = tuple(float(edge) for edge in given.split(","))
    except ValueError as error:
        raise click.UsageError(f"--edges {given} is not a list of numbers such as 0,1,2,4.") from error
    if not all(low < high for low, high in zip((float("-inf"), *edges), (*edges, float("inf")), strict=True)):
        raise click.UsageError(f"--edges {given} must be finite and ascend, each greater than the one before.")
    return edges


def _do(connection: Connection, request: _Request, rows: Rows | None) -> tuple[list[str], Sequence[str]]:
    """Do what is asked for, in the connection's transaction; returns what to say, and notes. rows: of the file."""
    from warehouse import annotating
    from warehouse.dependent_layers import drop_with_twin, put_context

    annotating.refuse_total(request.name)
    model_id = None if request.model is None else annotating.choose_model(connection, request.model)
    if rows is not None or request.from_table is not None:
        return _load(connection, request, rows, model_id)
    corpus = annotating.choose_corpus(connection, request.corpus)
    layer = annotating.stored_layer(connection, corpus, request.name, model_id, exactly=True)
    if request.drop:
        dropped = drop_with_twin(connection, corpus, request.name, model_id=model_id)
        layers = f"layer{'s' * (len(dropped) > 1)} {' and '.join(dropped)}"
        return [f"Dropped: {layers} of corpus {corpus.name}."], ()
    done = put_context(connection, corpus, layer, model_id=model_id, replace_it=request.replace)
    return [_told(each, corpus) for each in done.layers], done.notes


def _load(
    connection: Connection, request: _Request, rows: Rows | None, model_id: int | None
) -> tuple[list[str], Sequence[str]]:
    from warehouse import annotating
    from warehouse.annotation_table import read_table
    from warehouse.dependent_layers import put_layer, refuse_collapse
    from warehouse.interrupts import stop_if_interrupted

    edges, column = _edges(request.edges), request.column
    if rows is None:
        assert request.from_table is not None
        rows, own = read_table(connection, request.from_table, request.key)
        column = column or own
    corpus = annotating.choose_corpus(connection, request.corpus, rows)
    numeric = True if request.numeric is None and (edges or request.quantiles) else request.numeric
    wish = annotating.Wish(
        name=request.name,
        key=request.key,
        column=column,
        kind=None if numeric is None else "numeric" if numeric else "categorical",
        edges=edges,
        n_bins=request.quantiles,
        allow_partial=request.allow_partial,
        text=request.text,
        description=request.description,
        missing=request.missing,
    )
    made = annotating.make_layer(connection, corpus, rows, wish, model_id)
    stop_if_interrupted()
    if made.left_out and request.replace and not request.fewer:
        refuse_collapse(connection, corpus, made.layer, model_id)
    done = put_layer(
        connection, corpus, made.layer, model_id=model_id, replace_it=request.replace, context=request.context
    )
    said = [*(_told(layer, corpus) for layer in done.layers), _how_to_ask(request.name, made.layer)]
    return said, (*made.notes, *done.notes)


def _told(layer: Layer, corpus: CorpusRange) -> str:
    """What was loaded: how many values, on how many tokens, and the most frequent ones."""
    import numpy as np

    counts = np.bincount(layer.codes[layer.codes >= 0], minlength=len(layer.categories))
    annotated, every = int(counts.sum()), len(layer.codes)
    share = f"{annotated:,} of {every:,} tokens" if annotated < every else f"all {every:,} tokens"
    order = np.argsort(-counts, kind="stable")[:5]
    common = ", ".join(f"{layer.categories[i].value} {counts[i]:,}" for i in order)
    what = "value" if len(layer.categories) == 1 else "values"
    more = ", ..." if len(layer.categories) > len(order) else ""
    return f"Layer {layer.name} of corpus {corpus.name}: {len(layer.categories):,} {what} on {share} ({common}{more})."


def _how_to_ask(name: str, layer: Layer) -> str:
    from warehouse.summaries import SUMMARISED_VALUES

    view = "conditional_convergence" if len(layer.categories) <= SUMMARISED_VALUES else "token_annotation"
    quoted = name.replace("'", "''")
    return f"Ask: warehouse sql \"select * from {view} where layer = '{quoted}'\""
