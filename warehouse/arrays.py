"""PostgreSQL's binary form of one-dimensional arrays of four-byte elements, as numpy arrays.

Pure functions on bytes: this module may not know tables or connections.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg.abc import Buffer

# Type ids of PostgreSQL, fixed for all versions.
FLOAT4, INT4 = 700, 23

#: Words before the elements: dimensions, whether some are NULL, element type, length, lower bound.
_HEADER_WORDS = 5
_EMPTY_HEADER_WORDS = 3  # an array of no dimensions ends after its element type
_NULL = -1  # stands in place of an element's length of 4, with no value behind it

Words = NDArray[np.int32]


def decode(data: Buffer, element_type: int) -> NDArray[Any]:
    """The elements of arrays that follow one another, as one array.

    element_type: FLOAT4 gives float32 with NaN for NULL, INT4 int32 with -1.
    """
    words = np.frombuffer(data, ">i4")
    parts = _alike(words) or [_elements(*array, element_type) for array in _arrays(words)]
    elements = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts])
    return elements.view(np.float32) if element_type == FLOAT4 else elements


def _alike(words: Words) -> list[Words] | None:
    """The elements, if no array has a NULL and all but the last, which may be shorter, are equally long; else None."""
    if words[:2].tolist() != [1, 0]:
        return None
    width = _HEADER_WORDS + 2 * int(words[3])
    whole = words[: len(words) // width * width].reshape(-1, width)
    last = words[whole.size :]
    length = (len(last) - _HEADER_WORDS) // 2
    if (whole[:, :_HEADER_WORDS] != words[:_HEADER_WORDS]).any():
        return None
    if len(last) and (last[:2].tolist() != [1, 0] or last[3:4].tolist() != [length]):
        return None
    parts = (whole[:, _HEADER_WORDS + 1 :: 2], last[_HEADER_WORDS + 1 :: 2])
    return [part.astype(np.int32).reshape(-1) for part in parts if part.size]


def _arrays(words: Words) -> Iterator[tuple[Words, int]]:
    """The words after the header of each array, each with the number of its elements."""
    start = 0
    while start < len(words):
        if words[start] == 0:
            start += _EMPTY_HEADER_WORDS
            continue
        length = int(words[start + 3])
        body = words[start + _HEADER_WORDS : start + _HEADER_WORDS + 2 * length]
        if words[start + 1]:
            body = body[: 2 * length - len(_nulls(body, length))]
        yield body, length
        start += _HEADER_WORDS + len(body)


def _nulls(body: Words, length: int) -> NDArray[np.intp]:
    """Where the NULL elements of an array are among its elements; the words may go on beyond its end.

    No other word has the bits of -1: as a float it would be NaN, and NaN and -1 are stored as NULL. Of the words before
    the k-th NULL, k are NULLs and the others come in twos.
    """
    found = np.flatnonzero(body == _NULL)
    place = (found + np.arange(len(found))) // 2
    return place[place < length]


def _elements(body: Words, length: int, element_type: int) -> Words:
    """[length] the elements of an array as words, NULL ones with what stands for them."""
    missing = np.float32(np.nan).view(np.int32) if element_type == FLOAT4 else np.int32(-1)
    elements = np.full(length, missing, np.int32)
    present = np.ones(length, bool)
    present[_nulls(body, length)] = False
    elements[present] = body[body != _NULL][1::2]
    return elements
