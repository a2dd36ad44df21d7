"""The tokens of a corpus as the database has them: ids, places, offsets, and the text that they spell.

Reads the database; what is annotated on the tokens is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from warehouse import schema
from warehouse.errors import WarehouseError
from warehouse.facts import read_tokens

Offsets = NDArray[np.int64]

_TOKENS = """
select vocab_ids, documents, positions, char_starts, char_ends, byte_starts, byte_ends
from warehouse.token_chunk where corpus_id = %(corpus)s order by chunk_id
"""


class TextUnknown(WarehouseError):
    """The text of a corpus cannot be told from its tokens."""


class OtherText(WarehouseError):
    """A file is not the text of the corpus."""


@dataclass(frozen=True)
class DocumentRange:
    """Where a document lies: its characters and bytes in the text of the corpus, and its tokens, from 0."""

    name: str
    first_token: int
    n_tokens: int
    char_start: int
    char_end: int
    byte_start: int
    byte_end: int


@dataclass(frozen=True, eq=False)
class CorpusTokens:
    """T tokens of a corpus. vocab_ids, documents, positions: [T] int32. char_start, ... byte_end: [T] int64.

    n_vocabulary: ids of the tokenizer. text_sha256: of the text as UTF-8.
    """

    corpus_id: int
    name: str
    first_token_id: int
    tokenizer_id: int
    n_vocabulary: int
    n_characters: int
    text_sha256: str
    documents: tuple[DocumentRange, ...] = field(repr=False)
    vocab_ids: NDArray[np.int32] = field(repr=False)
    document: NDArray[np.int32] = field(repr=False)
    position: NDArray[np.int32] = field(repr=False)
    char_start: Offsets = field(repr=False)
    char_end: Offsets = field(repr=False)
    byte_start: Offsets = field(repr=False)
    byte_end: Offsets = field(repr=False)

    def __len__(self) -> int:
        return len(self.vocab_ids)

    @cached_property
    def clipped(self) -> tuple[Offsets, Offsets]:
        """[T] first and end characters of each token within its document; none of an end-of-text token after it."""
        starts = np.array([document.char_start for document in self.documents], np.int64)[self.document]
        ends = np.array([document.char_end for document in self.documents], np.int64)[self.document]
        return np.maximum(self.char_start, starts), np.minimum(self.char_end, ends)


def read_corpus_tokens(connection: Connection, corpus_id: int) -> CorpusTokens:
    """The tokens of a corpus."""
    corpus, tokenizer, document = schema.corpus.c, schema.tokenizer.c, schema.document.c
    joined = schema.corpus.join(schema.tokenizer, tokenizer.tokenizer_id == corpus.tokenizer_id)
    query = select(schema.corpus, tokenizer.length).select_from(joined).where(corpus.corpus_id == corpus_id)
    row = connection.execute(query).mappings().one()
    ranges = (document.char_start, document.char_end, document.byte_start, document.byte_end)
    documents = connection.execute(
        select(document.name, document.first_token_id - row["first_token_id"], document.n_tokens, *ranges)
        .where(document.corpus_id == corpus_id)
        .order_by(document.document)
    )
    vocab_ids, numbers, positions, *offsets = read_tokens(connection, _TOKENS, {"corpus": corpus_id}, 7)
    return CorpusTokens(
        corpus_id,
        row["name"],
        row["first_token_id"],
        row["tokenizer_id"],
        row["length"],
        row["n_characters"],
        row["text_sha256"],
        tuple(DocumentRange(*columns) for columns in documents),
        vocab_ids,
        numbers,
        positions,
        *(column.astype(np.int64) for column in offsets),
    )


def document_texts(connection: Connection, tokens: CorpusTokens, file: Path | None = None) -> list[str]:
    """The text of each document: from a file with the text of the corpus, or spelled by the tokens.

    Raises OtherText if the file is not that text, and TextUnknown where the tokenizer changed the text before it cut it
    into tokens, so that they do not spell it.
    """
    if file is not None:
        text = _read_text(tokens, file)
        return [text[d.byte_start : d.byte_end].decode() for d in tokens.documents]
    return list(_spelled(connection, tokens))


def _read_text(tokens: CorpusTokens, file: Path) -> bytes:
    try:
        text = file.read_bytes()
    except OSError as error:
        raise OtherText(f"Cannot read {file}: {error.strerror}.") from error
    digest = hashlib.sha256(text).hexdigest()
    if digest != tokens.text_sha256:
        raise OtherText(
            f"{file} is not the text of corpus {tokens.name} (sha256 {digest[:12]}, not {tokens.text_sha256[:12]}): "
            "give the file that was ingested."
        )
    return text


def _spelled(connection: Connection, tokens: CorpusTokens) -> Iterator[str]:
    vocabulary = schema.vocabulary.c
    query = select(vocabulary.vocab_id, vocabulary.bytes).where(vocabulary.tokenizer_id == tokens.tokenizer_id)
    pieces = {row.vocab_id: bytes(row.bytes) for row in connection.execute(query)}
    for document in tokens.documents:
        parts = _parts(tokens, document, pieces)
        text = None if parts is None else b"".join(parts).decode(errors="replace")
        if text is None or len(text) != document.char_end - document.char_start:
            raise TextUnknown(
                f"The tokens of corpus {tokens.name} do not spell its text (document {document.name}), since its "
                "tokenizer changes the text: give the file that was ingested with --text."
            )
        yield text


def _parts(tokens: CorpusTokens, document: DocumentRange, pieces: dict[int, bytes]) -> list[bytes] | None:
    """The bytes of each token of a document that lies within it; None where one is of another length than its piece."""
    here = slice(document.first_token, document.first_token + document.n_tokens)
    widths = np.minimum(tokens.byte_end[here], document.byte_end) - tokens.byte_start[here]
    parts = []
    for vocab_id, width in zip(tokens.vocab_ids[here].tolist(), widths.tolist(), strict=True):
        piece = pieces[vocab_id]
        if width == len(piece) - 1 and piece.startswith(b" "):
            piece = piece[1:]  # SentencePiece puts a space before the text
        if width > 0 and width != len(piece):
            return None
        if width > 0:
            parts.append(piece)
    return parts
