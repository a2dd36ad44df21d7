"""A corpus: a text, its documents and its tokens, each with its place in the text.

Pure data in memory. Knows nothing of models, protocols or the database: BOS is a matter of the protocol and no token.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ingest.texts import EmptyCorpus, Part, SourceText, read_source
from ingest.vocabulary import Vocabulary
from warehouse.errors import WarehouseError

if TYPE_CHECKING:
    from tokenizers import Encoding

log = logging.getLogger(__name__)

EosPolicy = Literal["after-document", "none"]
Rows = NDArray[np.int64]  # [n, 5]: id, char start, char end, byte start, byte end
DOCUMENTS_PER_BATCH = 256  # bounds the memory of the tokenizer's own records
LARGEST_OFFSET = 2**31 - 1


class UnknownEosPolicy(WarehouseError):
    """A corpus is asked for an end-of-text policy that does not exist."""


class MissingEndToken(WarehouseError):
    """Documents should end in a token that the tokenizer does not have."""


class CorpusTooLarge(WarehouseError):
    """A corpus has more text than its offsets can count."""


@dataclass(frozen=True)
class Document:
    """A document: its range of the whole text, without the separator after it, and its run of tokens.

    Its tokens are `first_token` to `first_token + n_tokens - 1`, with its end-of-text token if there is one.
    """

    name: str
    char_start: int
    char_end: int
    byte_start: int
    byte_end: int
    first_token: int
    n_tokens: int


@dataclass(frozen=True, eq=False)
class Corpus:
    """A tokenized text. All token arrays are [T] int32, in the order of the text.

    ids: vocabulary ids. document, position: index of the document, and of the token within it, both from 0.
    char_start, char_end: the characters a token touches, so that tokens that share a character overlap.
    byte_start, byte_end: its bytes of the whole text in UTF-8; the tokens of a document tile its bytes, but for its
    end-of-text token, which has the bytes of the separator in the text, or none at the document's end.
    text_sha256: of the text in UTF-8. ids_sha256: of ids as little-endian int32.
    """

    name: str
    source: str
    text: str = field(repr=False)
    text_sha256: str
    ids_sha256: str
    vocabulary_sha256: str
    eos_policy: EosPolicy
    documents: tuple[Document, ...] = field(repr=False)
    ids: NDArray[np.int32] = field(repr=False)
    document: NDArray[np.int32] = field(repr=False)
    position: NDArray[np.int32] = field(repr=False)
    char_start: NDArray[np.int32] = field(repr=False)
    char_end: NDArray[np.int32] = field(repr=False)
    byte_start: NDArray[np.int32] = field(repr=False)
    byte_end: NDArray[np.int32] = field(repr=False)

    @property
    def n_tokens(self) -> int:
        """T, the number of tokens, end-of-text tokens included."""
        return len(self.ids)


def load_corpus(
    path: str | Path,
    vocabulary: Vocabulary,
    *,
    name: str | None = None,
    eos_policy: EosPolicy = "after-document",
    split: str | None = None,
) -> Corpus:
    """Read and tokenize a corpus; see `texts.read_source` for what a path and `split` may be.

    With eos_policy `after-document` every document is followed by an end-of-text token. Where the end-of-text string
    itself separates documents, nothing between two of them is a document that has this token only: it counts with
    the document before it (at the start of the text, with the one after it). Other empty documents are left out.
    Raises UnreadableCorpus, EmptyCorpus, UnusableSplit, UnknownEosPolicy, MissingEndToken, CorpusTooLarge.
    """
    path = Path(path)
    if eos_policy not in get_args(EosPolicy):
        raise UnknownEosPolicy(f"There is no EOS policy {eos_policy!r}; choose {' or '.join(get_args(EosPolicy))}.")
    if eos_policy == "after-document" and vocabulary.eos_id is None:
        raise MissingEndToken("The tokenizer names no end-of-text token; set the EOS policy of the corpus to 'none'.")
    source = read_source(path, eos_text=vocabulary.eos_text, split=split)
    named_rows = _documents(source, vocabulary, vocabulary.eos_id if eos_policy == "after-document" else None)
    if not named_rows:
        raise EmptyCorpus(f"{path} holds no token; give a corpus at least one.")
    documents = _with_tokens(named_rows)
    rows = np.concatenate([rows for _, rows in named_rows]).astype(np.int32)
    ids = np.ascontiguousarray(rows[:, 0])
    lengths = [document.n_tokens for document in documents]
    return Corpus(
        name=name or path.stem,
        source=str(path),
        text=source.text,
        text_sha256=hashlib.sha256(source.text.encode()).hexdigest(),
        ids_sha256=hashlib.sha256(ids.astype("<i4").tobytes()).hexdigest(),
        vocabulary_sha256=vocabulary.sha256,
        eos_policy=eos_policy,
        documents=documents,
        ids=ids,
        document=np.repeat(np.arange(len(documents), dtype=np.int32), lengths),
        position=np.concatenate([np.arange(n, dtype=np.int32) for n in lengths]),
        **{column: np.ascontiguousarray(rows[:, i]) for i, column in enumerate(_OFFSETS, start=1)},
    )


_OFFSETS = ("char_start", "char_end", "byte_start", "byte_end")


@dataclass(frozen=True)
class _Draft:
    """A document before its tokens are numbered."""

    part: Part
    byte_start: int
    byte_end: int


def _documents(source: SourceText, vocabulary: Vocabulary, eos_id: int | None) -> list[tuple[_Draft, Rows]]:
    """The documents that have tokens, each with the rows of its tokens."""
    drafts = _drafts(source)
    kept: list[tuple[_Draft, list[Rows]]] = []
    ahead: list[Rows] = []  # end-of-text tokens before the first document
    left_out = 0
    for draft, rows in zip(drafts, _tokenize(source.text, drafts, vocabulary), strict=True):
        eos = [] if eos_id is None else [_eos_row(eos_id, draft, source.text)]
        if len(rows):
            kept.append((draft, [*ahead, rows, *eos]))
            ahead = []
        elif draft.part.keeps_eos:
            (kept[-1][1] if kept else ahead).extend(eos)
        else:
            left_out += 1
    if left_out and kept:
        log.info("%d empty documents were left out", left_out)
    return [(draft, np.concatenate(rows)) for draft, rows in kept]


def _drafts(source: SourceText) -> list[_Draft]:
    """The parts of a text with their byte offsets."""
    drafts, char, byte = [], 0, 0
    for part in source.parts:
        byte_start = byte + len(source.text[char : part.start].encode())
        byte = byte_start + len(source.text[part.start : part.end].encode())
        char = part.end
        drafts.append(_Draft(part, byte_start, byte))
    if byte + len(source.text[char:].encode()) > LARGEST_OFFSET:
        raise CorpusTooLarge(f"A corpus holds at most {LARGEST_OFFSET:,} bytes of text; split it into several.")
    return drafts


def _tokenize(text: str, drafts: Sequence[_Draft], vocabulary: Vocabulary) -> Iterator[Rows]:
    for first in range(0, len(drafts), DOCUMENTS_PER_BATCH):
        batch = drafts[first : first + DOCUMENTS_PER_BATCH]
        texts = [text[draft.part.start : draft.part.end] for draft in batch]
        for draft, own, encoding in zip(
            batch, texts, vocabulary.tokenizer.encode_batch(texts, add_special_tokens=False), strict=True
        ):
            rows = _rows(own, encoding, vocabulary.pieces)
            rows[:, 1:3] += draft.part.start
            rows[:, 3:5] += draft.byte_start
            yield rows


def _rows(text: str, encoding: Encoding, pieces: Sequence[bytes]) -> Rows:
    """The tokens of one document, offsets from its start."""
    ids = np.array(encoding.ids, np.int64)
    exact = _exact_ends(text.encode(), [pieces[i] for i in encoding.ids])
    offsets = _exact_offsets(text, exact) if exact is not None else _reported_offsets(text, encoding.offsets)
    return np.column_stack([ids, offsets]) if len(ids) else np.empty((0, 5), np.int64)


def _exact_ends(encoded: bytes, pieces: Sequence[bytes]) -> NDArray[np.int64] | None:
    """[n] the byte at which each token ends, if the pieces spell the text; None if the tokenizer changed it."""
    spelled = b"".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    if spelled == encoded:
        return ends
    # SentencePiece puts a space before the text: the first token is that much shorter than its piece.
    return ends - 1 if spelled == b" " + encoded else None


def _exact_offsets(text: str, byte_end: NDArray[np.int64]) -> NDArray[np.int64]:
    """[n, 4] character and byte offsets from the bytes at which tokens end."""
    byte_start = np.concatenate([[0], byte_end])[: len(byte_end)]
    if text.isascii():
        return np.column_stack([byte_start, byte_end, byte_start, byte_end])
    char_of = np.cumsum(_begins_character(text)) - 1  # [bytes] the character a byte belongs to
    char_of = np.append(char_of, len(text))
    char_start = char_of[byte_start]
    char_end = np.where(byte_end > byte_start, char_of[np.maximum(byte_end - 1, 0)] + 1, char_start)
    return np.column_stack([char_start, char_end, byte_start, byte_end])


def _reported_offsets(text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """[n, 4] offsets from the characters that a tokenizer which changes its text (NFC, lower case) reports.

    Of tokens that share a character the first has all its bytes, for which share is whose is not known.
    """
    if not spans:
        return np.empty((0, 4), np.int64)
    start, end = np.array(spans, np.int64).T
    tile_end = _tile_ends(text, spans)
    tile_start = np.concatenate([[0], tile_end[:-1]])
    char_start = np.where(end > start, np.minimum(start, tile_start), tile_start)
    byte_of = np.append(np.flatnonzero(_begins_character(text)), len(text.encode()))
    return np.column_stack([char_start, tile_end, byte_of[tile_start], byte_of[tile_end]])


def _tile_ends(text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """[n] ends such that tokens tile the text: what none covers is the earlier token's up to the first white space."""
    ends = [0]
    for start, end in spans:
        while len(ends) > 1 and ends[-1] < start and not text[ends[-1]].isspace():
            ends[-1] += 1  # a combining mark, composed with the character before
        ends.append(max(end, ends[-1]))
    return np.array([*ends[1:-1], len(text)], np.int64)


def _begins_character(text: str) -> NDArray[np.bool_]:
    """[bytes] whether a byte of the text in UTF-8 is the first of its character."""
    begins: NDArray[np.bool_] = (np.frombuffer(text.encode(), np.uint8) & 0xC0) != 0x80
    return begins


def _eos_row(eos_id: int, draft: _Draft, text: str) -> Rows:
    """[1, 5] the end-of-text token after a document."""
    char_start, char_end = draft.part.end, draft.part.separator_end or draft.part.end
    width = len(text[char_start:char_end].encode())
    return np.array([[eos_id, char_start, char_end, draft.byte_end, draft.byte_end + width]], np.int64)


def _with_tokens(named_rows: Sequence[tuple[_Draft, Rows]]) -> tuple[Document, ...]:
    """The documents with distinct names and numbered tokens."""
    names = _distinct([draft.part.name for draft, _ in named_rows])
    documents, first = [], 0
    for name, (draft, rows) in zip(names, named_rows, strict=True):
        part = draft.part
        place = (part.start, part.end, draft.byte_start, draft.byte_end)
        documents.append(Document(name, *place, first, len(rows)))
        first += len(rows)
    return tuple(documents)


def _distinct(names: Sequence[str | None]) -> list[str]:
    """A name for each document: its own, or its number; a repeated name gets a number in brackets."""
    width = len(str(len(names)))
    taken: set[str] = set()
    distinct = []
    for number, name in enumerate(names, start=1):
        wanted = f"document-{number:0{width}}" if name is None else name.replace("\0", "\N{SYMBOL FOR NULL}")
        candidate, copies = wanted, 1
        while candidate in taken:
            copies += 1
            candidate = f"{wanted} ({copies})"
        taken.add(candidate)
        distinct.append(candidate)
    return distinct
