"""Dimension rows: tokenizers, corpora, models, runs, checkpoints, protocols, environments, references.

Each function finds the row of a natural key or makes it, and refuses the same name for something else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Table, func, null, select, update
from sqlalchemy.dialects.postgresql import insert

from warehouse import schema
from warehouse.errors import WarehouseError
from warehouse.facts import CHUNK_TOKENS, copy_chunks, copy_rows, driver
from warehouse.items import Paradigm, same_items, save_items
from warehouse.locks import hold_catalogue
from warehouse.summaries import DOCUMENT_CLUSTERS


class ConflictingInputs(WarehouseError):
    """The warehouse already holds something else under this name."""


def find_or_make(connection: Connection, table: Table, key: Mapping[str, Any], **values: Any) -> int:
    """The id of the row with this natural key, made with the values if it is new.

    A table's first column is its id. The values of a row that exists stay as they are.
    """
    connection.execute(insert(table).values(**key, **values).on_conflict_do_nothing())
    identity = next(iter(table.primary_key))
    conditions = [table.c[name] == value for name, value in key.items()]
    return int(connection.execute(select(identity).where(*conditions)).scalar_one())


def fill(connection: Connection, table: Table, identity: int, **values: Any) -> None:
    """Set columns of the row with this id."""
    key = next(iter(table.primary_key))
    connection.execute(update(table).where(key == identity).values(**values))


def save_tokenizer(
    connection: Connection,
    *,
    name: str,
    sha256: str,
    length: int,
    bos_id: int | None,
    eos_id: int | None,
    pieces: Iterable[tuple[str, bytes, bool, bool, bool]],
) -> int:
    """The tokenizer with this file hash, with its vocabulary.

    pieces: (text, bytes, starts with space, is punctuation, is special) for each vocabulary id, in order.
    """
    key = find_or_make(
        connection, schema.tokenizer, {"sha256": sha256}, name=name, length=length, bos_id=bos_id, eos_id=eos_id
    )
    known = connection.execute(select(func.count()).where(schema.vocabulary.c.tokenizer_id == key)).scalar_one()
    if known == 0:
        columns = "tokenizer_id, vocab_id, piece, bytes, starts_with_space, is_punctuation, is_special"
        with driver(connection).cursor().copy(f"copy warehouse.vocabulary ({columns}) from stdin") as copy:
            for vocab_id, (piece, raw, *flags) in enumerate(pieces):
                # PostgreSQL text holds no NUL character; its picture stands in, and the bytes column is exact.
                copy.write_row((key, vocab_id, piece.replace("\0", "\N{SYMBOL FOR NULL}"), raw, *flags))
    return key


def save_corpus(
    connection: Connection,
    *,
    name: str,
    tokenizer_id: int,
    text_sha256: str,
    token_sha256: str,
    eos_policy: str,
    source: str,
    licence: str | None,
    n_characters: int,
    n_bytes: int,
    documents: Iterable[Mapping[str, Any]],
    tokens: Mapping[str, NDArray[np.int32]],
    paradigms: Sequence[Paradigm] = (),
    derived_from: int | None = None,
    derivation: Mapping[str, Any] | None = None,
) -> int:
    """The corpus of this name, written whole if it is new, with its items.

    documents: name, first_token (from 0), n_tokens, char_start, char_end, byte_start, byte_end of each, in order, and
    perhaps scored_from and n_words. tokens: the array columns of ``token_chunk``, [T] each. derived_from: the corpus
    that it was made from, and derivation: how.
    Raises ConflictingInputs if the name stands for other tokens, documents or items.
    """
    hold_catalogue(driver(connection))
    documents = list(documents)
    known = connection.execute(select(schema.corpus).where(schema.corpus.c.name == name)).mappings().one_or_none()
    if known is not None:
        if (known["token_sha256"], known["tokenizer_id"]) != (token_sha256, tokenizer_id):
            raise ConflictingInputs(
                f"Corpus {name} is in the warehouse with other tokens (sha256 {known['token_sha256'][:12]} "
                f"from {known['source']}, not {token_sha256[:12]} from {source}): give this text another corpus name, "
                "or ingest the text it was made from."
            )
        _refuse_other_documents(connection, known["corpus_id"], name, documents, paradigms)
        return int(known["corpus_id"])
    n_tokens = len(tokens["vocab_ids"])
    first_token_id = _next_token_id(connection)
    row = {
        "name": name,
        "tokenizer_id": tokenizer_id,
        "first_token_id": first_token_id,
        "n_tokens": n_tokens,
        "n_documents": len(documents),
        "n_characters": n_characters,
        "n_bytes": n_bytes,
        "source": source,
        "licence": licence,
        "text_sha256": text_sha256,
        "token_sha256": token_sha256,
        "eos_policy": eos_policy,
        "cluster": "document" if len(documents) >= DOCUMENT_CLUSTERS else "chunk",
        "derived_from": derived_from,
        "derivation": null() if derivation is None else dict(derivation),
    }
    corpus_id = int(
        connection.execute(insert(schema.corpus).values(**row).returning(schema.corpus.c.corpus_id)).scalar_one()
    )
    copy_rows(
        connection,
        schema.document,
        [
            {
                "corpus_id": corpus_id,
                "document": number,
                "first_token_id": first_token_id + document["first_token"],
                **{key: value for key, value in document.items() if key != "first_token"},
            }
            for number, document in enumerate(documents)
        ],
    )
    copy_chunks(connection, schema.token_chunk, {"corpus_id": corpus_id}, first_token_id, tokens)
    save_items(connection, corpus_id, paradigms)
    return corpus_id


def _refuse_other_documents(
    connection: Connection,
    corpus_id: int,
    name: str,
    documents: Sequence[Mapping[str, Any]],
    paradigms: Sequence[Paradigm],
) -> None:
    """Raise ConflictingInputs unless a corpus that is there has just these documents and items."""
    document = schema.document.c
    query = select(document.n_tokens, document.scored_from).where(document.corpus_id == corpus_id)
    known = [tuple(row) for row in connection.execute(query.order_by(document.document))]
    if known != [(each["n_tokens"], each.get("scored_from", 0)) for each in documents]:
        raise ConflictingInputs(
            f"Corpus {name} is in the warehouse with the same tokens, but cut into other documents: "
            "split the text as before, or give it another corpus name."
        )
    if not same_items(connection, corpus_id, paradigms):
        raise ConflictingInputs(
            f"Corpus {name} is in the warehouse with the same documents, but with other items: "
            "read it with the same key items as before, or give it another corpus name."
        )


def _next_token_id(connection: Connection) -> int:
    end = connection.execute(select(func.max(schema.corpus.c.first_token_id + schema.corpus.c.n_tokens))).scalar_one()
    return -(-(end or 0) // CHUNK_TOKENS) * CHUNK_TOKENS


def save_reference(
    connection: Connection,
    *,
    name: str,
    tokenizer_id: int,
    counts: NDArray[np.float64],
    entropy: float,
    smoothing: str,
    source: str,
    sha256: str,
    ngram_order: int = 1,
    smoothing_weight: float | None = None,
) -> int:
    """The reference distribution of this name. Raises ConflictingInputs if the name stands for another one.

    counts: [V], of the ids alone. sha256: of all that was counted.
    """
    key = find_or_make(
        connection,
        schema.reference_distribution,
        {"tokenizer_id": tokenizer_id, "name": name},
        total=float(counts.sum()),
        entropy=entropy,
        smoothing=smoothing,
        source=source,
        sha256=sha256,
        counts=counts.tolist(),
        ngram_order=ngram_order,
        smoothing_weight=smoothing_weight,
    )
    columns = schema.reference_distribution.c
    kind = (columns.ngram_order, columns.smoothing, columns.smoothing_weight)
    known = connection.execute(select(columns.sha256, columns.source, *kind).where(columns.reference_id == key)).one()
    own = (ngram_order, smoothing, smoothing_weight)
    if (known.sha256, *known[2:]) != (sha256, *own):
        raise ConflictingInputs(
            f"Reference {name} is in the warehouse with other counts ({known.source}, {_described(*known[2:])}; "
            f"not {source}, {_described(*own)}): give this one another name."
        )
    return key


def _described(ngram_order: int, smoothing: str, weight: float | None) -> str:
    order = "" if ngram_order == 1 else f"order {ngram_order}, "
    return f"{order}smoothing {smoothing}" + ("" if weight is None else f" with weight {weight:g}")


def save_environment(connection: Connection, description: Mapping[str, Any]) -> int:
    """The environment with this description (device, kernels, versions, tile, threads)."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()
    return find_or_make(connection, schema.environment, {"sha256": digest}, description=dict(description))
