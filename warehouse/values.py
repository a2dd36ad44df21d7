"""The summarised layers of a corpus as arrays, read once and kept while they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from warehouse import schema
from warehouse.facts import CHUNK_TOKENS, read_tokens
from warehouse.summaries import Values


class CorpusValues:
    """Clusters and layers of one corpus.

    Layers come and go by other sessions, so :meth:`layers` asks for their list every time; the arrays of a layer never
    change under its id, and are kept.
    """

    def __init__(self, corpus_id: int) -> None:
        self.corpus_id = corpus_id
        self._clusters: NDArray[np.int64] | None = None
        self._known: dict[int, Values] = {}

    def clusters(self, connection: Connection) -> NDArray[np.int64]:
        """[T] cluster of each token, from 0: its document, or its chunk where documents are few."""
        if self._clusters is None:
            query = "select documents from warehouse.token_chunk where corpus_id = %(corpus)s order by chunk_id"
            (documents,) = read_tokens(connection, query, {"corpus": self.corpus_id}, 1)
            corpus = schema.corpus.c
            by = connection.execute(select(corpus.cluster).where(corpus.corpus_id == self.corpus_id)).scalar_one()
            chunks = np.arange(len(documents)) // CHUNK_TOKENS
            self._clusters = documents.astype(np.int64) if by == "document" else chunks
        return self._clusters

    def layers(self, connection: Connection, model_id: int) -> list[Values]:
        """The layers that have summaries for a model, those of every model included."""
        layer = schema.annotation_layer.c
        wanted = select(layer.layer_id).where(
            layer.corpus_id == self.corpus_id,
            layer.summarised,
            or_(layer.model_id.is_(None), layer.model_id == model_id),
        )
        found = connection.execute(wanted.order_by(layer.layer_id)).scalars().all()
        return [self._values(connection, layer_id) for layer_id in found]

    def _values(self, connection: Connection, layer_id: int) -> Values:
        if layer_id not in self._known:
            category = schema.annotation_category.c
            size = select(func.coalesce(func.max(category.category_id) + 1, 0)).where(category.layer_id == layer_id)
            query = "select category_ids from warehouse.annotation_chunk where layer_id = %(layer)s order by chunk_id"
            (codes,) = read_tokens(connection, query, {"layer": layer_id}, 1)
            self._known[layer_id] = Values(layer_id, codes, int(connection.execute(size).scalar_one()))
        return self._known[layer_id]
