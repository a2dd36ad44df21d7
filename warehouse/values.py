"""The summarised layers, the documents and the items of a corpus as arrays, read once and kept while they stand."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, or_, select

from warehouse import schema
from warehouse.documents import Documents
from warehouse.facts import CHUNK_TOKENS, read_tokens
from warehouse.paradigms import Items, read_items
from warehouse.summaries import Values


class CorpusValues:
    """Clusters, documents, items and layers of one corpus.

    Layers come and go by other sessions, so :meth:`layers` asks for their list every time; the arrays of a layer never
    change under its id, and are kept.
    """

    def __init__(self, corpus_id: int) -> None:
        self.corpus_id = corpus_id
        self._clusters: NDArray[np.int64] | None = None
        self._documents: Documents | None = None
        self._items: Items | None = None
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

    def documents(self, connection: Connection) -> Documents:
        """Which tokens the sums over documents count."""
        if self._documents is None:
            query = "select documents, positions, vocab_ids from warehouse.token_chunk where corpus_id = %(corpus)s"
            parameters = {"corpus": self.corpus_id}
            codes, positions, vocab_ids = read_tokens(connection, f"{query} order by chunk_id", parameters, 3)
            d, k, t = schema.document.c, schema.corpus.c, schema.tokenizer.c
            starts = select(d.scored_from).where(d.corpus_id == self.corpus_id).order_by(d.document)
            ends = select(k.eos_policy, t.eos_id).select_from(schema.corpus.join(schema.tokenizer))
            policy, eos_id = connection.execute(ends.where(k.corpus_id == self.corpus_id)).one()
            scored_from = np.array(connection.execute(starts).scalars().all(), np.int32)
            # An id that no token has, where the tokenizer has none: documents were to end in one all the same.
            eos = None if policy == "none" else -1 if eos_id is None else int(eos_id)
            self._documents = Documents.of(codes, positions, vocab_ids, scored_from, eos)
        return self._documents

    def items(self, connection: Connection) -> Items:
        """The minimal pairs and options of the corpus, which came with it."""
        if self._items is None:
            self._items = read_items(connection, self.corpus_id)
        return self._items

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
