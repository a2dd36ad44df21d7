"""Annotation layers: a category or a number for each token of a corpus.

Loading a layer writes its summaries for everything the warehouse holds, in the same transaction.
"""

from __future__ import annotations

import numpy as np
from sqlalchemy import Connection, delete, insert, select

from warehouse import comparisons, evaluations, schema
from warehouse.dimensions import ConflictingInputs
from warehouse.facts import copy_chunks, copy_rows, driver, read_tokens
from warehouse.layer import TOTAL, Category, Layer
from warehouse.locks import hold_corpus
from warehouse.summaries import SUMMARISED_VALUES, Values
from warehouse.values import CorpusValues


class BadAnnotation(ConflictingInputs):
    """The annotation does not fit its corpus."""


def layer_names(connection: Connection, corpus_id: int, model_id: int | None = None) -> set[str]:
    """Names of the layers of a corpus that belong to a model, or to every model if None."""
    layer = schema.annotation_layer.c
    owner = layer.model_id.is_(None) if model_id is None else layer.model_id == model_id
    return set(connection.execute(select(layer.name).where(layer.corpus_id == corpus_id, owner)).scalars())


def layer_source(connection: Connection, corpus_id: int, name: str, model_id: int | None = None) -> str | None:
    """What a layer was made from, None if there is no such layer; no other session adds it in this transaction."""
    hold_corpus(driver(connection), corpus_id)
    layer = schema.annotation_layer.c
    owner = layer.model_id.is_(None) if model_id is None else layer.model_id == model_id
    query = select(layer.source).where(layer.corpus_id == corpus_id, layer.name == name, owner)
    return connection.execute(query).scalar_one_or_none()


def read_layer(connection: Connection, corpus_id: int, name: str, *, model_id: int | None = None) -> Layer | None:
    """A layer as it was loaded; None if there is no such layer."""
    layer, category = schema.annotation_layer.c, schema.annotation_category.c
    owner = layer.model_id.is_(None) if model_id is None else layer.model_id == model_id
    query = select(schema.annotation_layer).where(layer.corpus_id == corpus_id, layer.name == name, owner)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        return None
    columns = (category.value, category.value_number, category.lower, category.upper)
    categories = connection.execute(
        select(*columns).where(category.layer_id == row["layer_id"]).order_by(category.category_id)
    )
    chunks = "from warehouse.annotation_chunk where layer_id = %(layer)s order by chunk_id"
    (codes,) = read_tokens(connection, f"select category_ids {chunks}", {"layer": row["layer_id"]}, 1)
    numbers = None
    if row["kind"] == "numeric":
        (numbers,) = read_tokens(connection, f"select numbers {chunks}", {"layer": row["layer_id"]}, 1)
    return Layer(
        name=name,
        kind=row["kind"],
        categories=tuple(Category(*each) for each in categories),
        codes=codes,
        numbers=numbers,
        source=row["source"],
        description=row["description"],
    )


def load_layer(
    connection: Connection, corpus_id: int, layer: Layer, *, model_id: int | None = None, replace: bool = False
) -> int:
    """Write a layer and its summaries for all evaluations and comparisons of the corpus (and model); returns its id.

    Raises BadAnnotation if the layer does not cover the corpus token by token, has no value at all, has codes without a
    category, takes the name of the layer of all tokens for a model, or exists and replace is not set.
    """
    hold_corpus(driver(connection), corpus_id)
    corpus = connection.execute(select(schema.corpus).where(schema.corpus.c.corpus_id == corpus_id)).mappings().one()
    _check(layer, corpus["name"], corpus["n_tokens"], model_id)
    if layer.name in layer_names(connection, corpus_id, model_id):
        if not replace:
            raise BadAnnotation(
                f"Corpus {corpus['name']} has a layer {layer.name} already: replace it with --replace, or choose "
                "another name."
            )
        drop_layer(connection, corpus_id, layer.name, model_id=model_id)
    layer_id = _write_layer(connection, corpus_id, corpus["first_token_id"], layer, model_id)
    if len(layer.categories) <= SUMMARISED_VALUES:
        values = CorpusValues(corpus_id)
        codes = Values(layer_id, layer.codes, len(layer.categories))
        evaluations.summarise_layer(connection, codes, model_id, values)
        comparisons.summarise_layer(connection, codes, model_id, values)
    return layer_id


def _check(layer: Layer, corpus: str, n_tokens: int, model_id: int | None) -> None:
    if len(layer.codes) != n_tokens:
        raise BadAnnotation(
            f"Layer {layer.name} has {len(layer.codes)} tokens, but corpus {corpus} has {n_tokens}: "
            "annotate every token, with -1 for no value."
        )
    if layer.name == TOTAL and model_id is not None:
        raise BadAnnotation(f"The name {TOTAL} is the layer of all tokens: choose another for a layer of one model.")
    if not layer.categories or (layer.codes < 0).all():
        raise BadAnnotation(f"Layer {layer.name} gives no token of corpus {corpus} a value: annotate at least one.")
    if int(layer.codes.max()) >= len(layer.categories) or int(layer.codes.min()) < -1:
        raise BadAnnotation(
            f"Layer {layer.name} has {len(layer.categories)} categories, but codes from {layer.codes.min()} to "
            f"{layer.codes.max()}: number the categories from 0, with -1 for no value."
        )


def drop_layer(connection: Connection, corpus_id: int, name: str, *, model_id: int | None = None) -> None:
    """Delete a layer with its summaries."""
    hold_corpus(driver(connection), corpus_id)
    layer = schema.annotation_layer.c
    owner = layer.model_id.is_(None) if model_id is None else layer.model_id == model_id
    query = select(layer.layer_id).where(layer.corpus_id == corpus_id, layer.name == name, owner)
    layer_id = connection.execute(query).scalar_one()
    evaluations.forget_layer(connection, layer_id)
    comparisons.forget_layer(connection, layer_id)
    for table in (schema.annotation_chunk, schema.annotation_category, schema.annotation_layer):
        connection.execute(delete(table).where(table.c.layer_id == layer_id))


def _write_layer(
    connection: Connection, corpus_id: int, first_token_id: int, layer: Layer, model_id: int | None
) -> int:
    row = {
        "corpus_id": corpus_id,
        "model_id": model_id,
        "name": layer.name,
        "kind": layer.kind,
        "source": layer.source,
        "description": layer.description,
        "is_total": layer.name == TOTAL,
        "summarised": len(layer.categories) <= SUMMARISED_VALUES,
    }
    made = insert(schema.annotation_layer).values(**row).returning(schema.annotation_layer.c.layer_id)
    layer_id = int(connection.execute(made).scalar_one())
    counts = np.bincount(layer.codes[layer.codes >= 0], minlength=len(layer.categories))
    categories = [
        {
            "layer_id": layer_id,
            "category_id": number,
            "value": category.value,
            "value_number": category.number,
            "lower": category.lower,
            "upper": category.upper,
            "n_tokens": int(counts[number]),
        }
        for number, category in enumerate(layer.categories)
    ]
    copy_rows(connection, schema.annotation_category, categories)
    columns = {"category_ids": layer.codes, "numbers": layer.numbers}
    copy_chunks(connection, schema.annotation_chunk, {"layer_id": layer_id}, first_token_id, columns)
    return layer_id
