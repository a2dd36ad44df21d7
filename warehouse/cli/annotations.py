"""`warehouse annotations`: which layers there are, or which values one of them has."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click

from queries.cli.options import format_option
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    import psycopg

_LAYERS = """
select corpus, layer, model, kind, n_values as "values", n_tokens as tokens, coverage, source
from annotation_layers
where {corpus}::text is null or corpus = {corpus}
order by corpus, layer, model
"""

_VALUES = """
select layer.corpus, layer.model, category.value, category.n_tokens as tokens, category.lower, category.upper
from annotation_layers as layer
inner join warehouse.annotation_category as category on layer.layer_id = category.layer_id
where layer.layer = {layer} and ({corpus}::text is null or layer.corpus = {corpus})
order by layer.corpus, layer.model, category.category_id
"""


class NoSuchLayer(WarehouseError):
    """There is no annotation layer of this name."""


@click.command("annotations")
@click.argument("name", required=False)
@click.option("--corpus", help="Only of this corpus.")
@format_option
def list_annotations(name: str | None, corpus: str | None, form: str) -> None:
    """List annotation layers with the tokens that they cover and their source, or the values of layer NAME."""
    from psycopg import sql

    from queries.output import write
    from queries.run import run
    from warehouse.opening import open_database

    with open_database().read() as connection:
        if name is not None:
            _require(connection, name, corpus)
        query = sql.SQL(_LAYERS if name is None else _VALUES)
        statement = query.format(layer=sql.Literal(name), corpus=sql.Literal(corpus)).as_string(connection)
        write(run(connection, statement), form)


def _require(connection: psycopg.Connection[Any], name: str, corpus: str | None) -> None:
    """Raise NoSuchLayer, which names those there are, unless there is a layer of this name."""
    rows = connection.execute("select corpus, layer from annotation_layers order by layer").fetchall()
    layers = dict.fromkeys(layer for owner, layer in rows if corpus in (None, owner))
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=3) or list(layers)[:5]
        hint = f"; nearest {'are' if len(near) > 1 else 'is'} {', '.join(near)}" if near else "; there is none yet"
        raise NoSuchLayer(f"There is no layer {name}{hint}.")
