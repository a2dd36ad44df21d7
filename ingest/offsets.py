"""Where tokens stand in their text: characters and bytes of each, from pieces or from what a tokenizer reports.

Pure functions of texts and encodings. Documents, files and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ingest.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tokenizers import Encoding

Rows = NDArray[np.int64]  # [n, 5]: id, char start, char end, byte start, byte end


def tokenize(texts: Sequence[str], vocabulary: Vocabulary) -> tuple[Rows, NDArray[np.int64]]:
    """The tokens of several texts, one after another, offsets from the start of each; and how many each has, [D].

    Characters are those that a token touches, so that tokens that share one overlap. Bytes of a text's tokens tile it.
    """
    encodings = vocabulary.tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
    counts = np.array([len(encoding.ids) for encoding in encodings], np.int64)
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int64, int(counts.sum()))
    offsets = _together(texts, ids, counts, vocabulary.pieces)
    if offsets is not None:
        return np.column_stack([ids, offsets]), counts
    # The fast way knows no offsets, which a tokenizer that changes its text has to report.
    full = vocabulary.tokenizer.encode_batch(list(texts), add_special_tokens=False)
    rows = [_rows(text, encoding, vocabulary.pieces) for text, encoding in zip(texts, full, strict=True)]
    return np.concatenate([np.empty((0, 5), np.int64), *rows]), np.array([len(part) for part in rows], np.int64)


def _together(
    texts: Sequence[str], ids: NDArray[np.int64], counts: NDArray[np.int64], pieces: Sequence[bytes]
) -> NDArray[np.int64] | None:
    """[n, 4] offsets of the tokens of all texts, if the pieces spell every one of them; None if not."""
    spelled, encoded = [pieces[i] for i in ids], [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, spelled)])  # [n + 1] in the joined texts
    text_ends = np.cumsum([0, *map(len, encoded)])  # [D + 1]
    joined = b"".join(encoded)
    if not np.array_equal(ends[np.cumsum([0, *counts])], text_ends) or b"".join(spelled) != joined:
        return None
    offsets = _exact_offsets(joined.decode(), ends[1:], joined)
    char_starts = np.cumsum([0, *map(len, texts)])[:-1]
    begins = np.column_stack([char_starts, char_starts, text_ends[:-1], text_ends[:-1]])
    own: NDArray[np.int64] = offsets - np.repeat(begins, counts, axis=0)
    return own


def _rows(text: str, encoding: Encoding, pieces: Sequence[bytes]) -> Rows:
    """The tokens of one text."""
    ids, encoded = np.array(encoding.ids, np.int64), text.encode()
    exact = _exact_ends(encoded, [pieces[i] for i in encoding.ids])
    offsets = _exact_offsets(text, exact, encoded) if exact is not None else _reported_offsets(text, encoding.offsets)
    return np.column_stack([ids, offsets]) if len(ids) else np.empty((0, 5), np.int64)


def _exact_ends(encoded: bytes, pieces: Sequence[bytes]) -> NDArray[np.int64] | None:
    """[n] the byte at which each token ends, if the pieces spell the text; None if the tokenizer changed it."""
    spelled = b"".join(pieces)
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    if spelled == encoded:
        return ends
    # SentencePiece puts a space before the text: the first token is that much shorter than its piece.
    return ends - 1 if spelled == b" " + encoded else None


def _exact_offsets(text: str, byte_end: NDArray[np.int64], encoded: bytes) -> NDArray[np.int64]:
    """[n, 4] character and byte offsets from the bytes at which tokens end. encoded: the text in UTF-8."""
    byte_start = np.concatenate([[0], byte_end])[: len(byte_end)]
    if len(text) == len(encoded):
        return np.column_stack([byte_start, byte_end, byte_start, byte_end])
    char_of = np.cumsum(_begins_character(encoded)) - 1  # [bytes] the character a byte belongs to
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
    encoded = text.encode()
    byte_of = np.append(np.flatnonzero(_begins_character(encoded)), len(encoded))
    return np.column_stack([char_start, tile_end, byte_of[tile_start], byte_of[tile_end]])


def _tile_ends(text: str, spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """[n] ends such that tokens tile the text: what none covers is the earlier token's up to the first white space."""
    ends = [0]
    for start, end in spans:
        while len(ends) > 1 and ends[-1] < start and not text[ends[-1]].isspace():
            ends[-1] += 1  # a combining mark, composed with the character before
        ends.append(max(end, ends[-1]))
    return np.array([*ends[1:-1], len(text)], np.int64)


def _begins_character(encoded: bytes) -> NDArray[np.bool_]:
    """[bytes] whether a byte of a text in UTF-8 is the first of its character."""
    begins: NDArray[np.bool_] = (np.frombuffer(encoded, np.uint8) & 0xC0) != 0x80
    return begins
