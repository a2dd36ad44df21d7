"""PostgreSQL's two binary forms of one-dimensional arrays of four-byte elements, as numpy arrays.

Pure functions on bytes: this module may not know tables or connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import Buffer

# Type ids of PostgreSQL, fixed for all versions.
FLOAT4, INT4 = 700, 23

#: Words before the elements: dimensions, whether some are NULL (stored: where elements begin if so), element type,
#: length, lower bound.
_HEADER_WORDS = 5
_EMPTY_HEADER_WORDS = 3  # an array of no dimensions ends after its element type
_NULL = -1  # stands in place of an element's length of 4, with no value behind it

Words = NDArray[np.int32]
#: Which elements of an array are not NULL, and the words of those.
Elements = tuple[NDArray[np.bool_], Words]


def decode(data: Buffer, element_type: int) -> NDArray[Any]:
    """The elements of arrays that follow one another, as one array; as array_send and COPY write them.

    element_type: FLOAT4 gives float32 with NaN for NULL, INT4 int32 with -1.
    """
    return _decoded(np.frombuffer(data, ">i4"), 2, _sent, element_type)


def decode_stored(data: Buffer, element_type: int) -> NDArray[Any]:
    """As :func:`decode`, of arrays as a server on this machine holds them, less the length that each begins with."""
    return _decoded(np.frombuffer(data, np.int32), 1, _stored, element_type)


def _decoded(
    words: Words, width: int, arrays: Callable[[Words], Iterator[Elements]], element_type: int
) -> NDArray[Any]:
    """width: words of an element, its value last."""
    parts = _alike(words, width) or [_filled(*array, element_type) for array in arrays(words)]
    elements = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])
    return elements.view(np.float32) if element_type == FLOAT4 else elements


def _alike(words: Words, width: int) -> list[Words] | None:
    """The elements, if no array has a NULL and all but the last, which may be shorter, are equally long; else None."""
    if words[:2].tolist() != [1, 0]:
        return None
    size = _HEADER_WORDS + width * int(words[3])
    whole = words[: len(words) // size * size].reshape(-1, size)
    last = words[whole.size :]
    length = (len(last) - _HEADER_WORDS) // width
    if (whole[:, :_HEADER_WORDS] != words[:_HEADER_WORDS]).any():
        return None
    if len(last) and (last[:2].tolist() != [1, 0] or last[3:4].tolist() != [length]):
        return None
    first = _HEADER_WORDS + width - 1
    parts = (whole[:, first::width], last[first::width])
    return [part.astype(np.int32).reshape(-1) for part in parts if part.size]


def _sent(words: Words) -> Iterator[Elements]:
    """Arrays as they are sent: each element after its length, NULL a length alone."""
    start = 0
    while start < len(words):
        if words[start] == 0:
            start += _EMPTY_HEADER_WORDS
            continue
        length = int(words[start + 3])
        body = words[start + _HEADER_WORDS : start + _HEADER_WORDS + 2 * length]
        present = np.ones(length, bool)
        if words[start + 1]:
            present[_nulls(body, length)] = False
            body = body[: length + int(present.sum())]
        yield present, body[body != _NULL][1::2]
        start += _HEADER_WORDS + len(body)


def _stored(words: Words) -> Iterator[Elements]:
    """Arrays as they are stored: a bit for each element where some are NULL, and then those that are not."""
    start = 0
    while start < len(words):
        if words[start] == 0:
            start += _EMPTY_HEADER_WORDS
            continue
        offset, length = words[start + 1 : start + 4 : 2].tolist()
        first = start + _HEADER_WORDS
        present = np.ones(length, bool)
        if offset:  # of the first element in bytes, from the length that is left out
            bits = words[first : start + offset // 4 - 1]
            present = np.unpackbits(bits.view(np.uint8), count=length, bitorder="little").astype(bool)
            first += len(bits)
        end = first + int(present.sum())
        yield present, words[first:end]
        start = end


def _nulls(body: Words, length: int) -> NDArray[np.intp]:
    """Where the NULL elements of an array are among its elements; the words may go on beyond its end.

    No other word has the bits of -1: as a float it would be NaN, and NaN and -1 are stored as NULL. Of the words before
    the k-th NULL, k are NULLs and the others come in twos.
    """
    found = np.flatnonzero(body == _NULL)
    place = (found + np.arange(len(found))) // 2
    return place[place < length]


def _filled(present: NDArray[np.bool_], values: Words, element_type: int) -> Words:
    """The elements of an array as words, NULL ones with what stands for them."""
    missing = np.float32(np.nan).view(np.int32) if element_type == FLOAT4 else np.int32(-1)
    elements = np.full(len(present), missing, np.int32)
    elements[present] = values
    return elements
