"""The summarised layers of a corpus as arrays, read once and kept while they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from warehouse import schema
from warehouse.facts import CHUNK_TOKENS, read_tokens
from warehouse.summaries import Values


@dataclass
class CorpusValues:
    """Clusters and layers of one corpus.

    Layers come and go by other sessions, so :meth:`current` asks for their list every time; the arrays of a layer never
    change under its id, and are kept.
    """

    connection: Connection
    corpus_id: int
    _known: dict[int, Values] = field(default_factory=dict)

    @cached_property
    def clusters(self) -> NDArray[np.int64]:
        """[T] cluster of each token, from 0: its document, or its chunk where documents are few."""
        query = "select documents from warehouse.token_chunk where corpus_id = %(corpus)s order by chunk_id"
        (documents,) = read_tokens(self.connection, query, {"corpus": self.corpus_id}, 1)
        by_document = select(schema.corpus.c.cluster == "document").where(schema.corpus.c.corpus_id == self.corpus_id)
        if self.connection.execute(by_document).scalar_one():
            return documents.astype(np.int64)
        return np.arange(len(documents)) // CHUNK_TOKENS

    def current(self, connection: Connection, model_id: int) -> list[Values]:
        """The layers that have summaries for a model, those of every model included."""
        self.connection = connection
        layer = schema.annotation_layer.c
        wanted = select(layer.layer_id).where(
            layer.corpus_id == self.corpus_id,
            layer.summarised,
            or_(layer.model_id.is_(None), layer.model_id == model_id),
        )
        return [self._values(layer_id) for layer_id in connection.execute(wanted.order_by(layer.layer_id)).scalars()]

    def _values(self, layer_id: int) -> Values:
        if layer_id not in self._known:
            category = schema.annotation_category.c
            size = select(func.coalesce(func.max(category.category_id) + 1, 0)).where(category.layer_id == layer_id)
            query = "select category_ids from warehouse.annotation_chunk where layer_id = %(layer)s order by chunk_id"
            (codes,) = read_tokens(self.connection, query, {"layer": layer_id}, 1)
            self._known[layer_id] = Values(layer_id, codes, int(self.connection.execute(size).scalar_one()))
        return self._known[layer_id]
