"""Binary arrays: both forms are decoded element by element, whatever is NULL and however arrays follow."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warehouse.arrays import FLOAT4, INT4, decode, decode_stored
from warehouse.database import Database

Elements = Sequence[float | None]


def sent(elements: Elements, element_type: int) -> bytes:
    """An array as array_send writes it, put together value by value."""
    if not elements:
        return struct.pack("!iii", 0, 0, element_type)
    code = "!if" if element_type == FLOAT4 else "!ii"
    parts = [struct.pack("!i", -1) if x is None else struct.pack(code, 4, x) for x in elements]
    return struct.pack("!iiiii", 1, None in elements, element_type, len(elements), 1) + b"".join(parts)


def stored(elements: Elements, element_type: int) -> bytes:
    """An array as it lies in the server's memory, less its length, put together bit by bit and value by value."""
    if not elements:
        return struct.pack("=iii", 0, 0, element_type)
    values = b"".join(struct.pack("=f" if element_type == FLOAT4 else "=i", x) for x in elements if x is not None)
    if None not in elements:
        return struct.pack("=iiiii", 1, 0, element_type, len(elements), 1) + values
    bits = sum(1 << n for n, x in enumerate(elements) if x is not None)
    before = 4 + 5 * 4 + (len(elements) + 7) // 8
    before += -before % 8
    header = struct.pack("=iiiii", 1, before, element_type, len(elements), 1)
    return header + bits.to_bytes(before - 24, "little") + values


#: How arrays are put together and how they are decoded.
FORMS = [(sent, decode), (stored, decode_stored)]
forms = pytest.mark.parametrize(("put", "taken"), FORMS, ids=["sent", "stored"])
Put = Callable[[Elements, int], bytes]
Taken = Callable[..., Any]


def expected(arrays: Sequence[Elements], element_type: int) -> list[str]:
    """The elements as text, so that the sign of zero and NaN count."""
    missing = float("nan") if element_type == FLOAT4 else -1
    kind = np.float32 if element_type == FLOAT4 else np.int32
    return [repr(kind(missing if x is None else x)) for array in arrays for x in array]


REALS = st.one_of(st.none(), st.floats(width=32, allow_nan=False))
INTEGERS = st.one_of(st.none(), st.integers(0, 2**31 - 1), st.sampled_from([4, 1, 256]))


@forms
@given(arrays=st.lists(st.lists(REALS, max_size=9), max_size=6), offset=st.integers(0, 3))
def test_reals_come_back_in_their_order(put: Put, taken: Taken, arrays: list[list[float | None]], offset: int) -> None:
    data = b"x" * offset + b"".join(put(array, FLOAT4) for array in arrays)
    decoded = taken(memoryview(data)[offset:], FLOAT4)
    assert decoded.dtype == np.float32
    assert [repr(x) for x in decoded] == expected(arrays, FLOAT4)


@forms
@given(arrays=st.lists(st.lists(INTEGERS, max_size=9), max_size=6))
def test_integers_come_back_in_their_order(put: Put, taken: Taken, arrays: list[list[int | None]]) -> None:
    decoded = taken(b"".join(put(array, INT4) for array in arrays), INT4)
    assert decoded.dtype == np.int32
    assert [repr(x) for x in decoded] == expected(arrays, INT4)


@forms
@pytest.mark.parametrize(
    "lengths",
    [[256, 256, 256], [256, 256, 7], [256, 7, 256], [7, 256], [1], [256, 0, 256]],
    ids=str,
)
@pytest.mark.parametrize("gaps", [(), (0,), (255,), (256,), (3, 4, 5), tuple(range(256))], ids=len)
def test_chunks_may_be_short_or_have_gaps_anywhere(
    put: Put, taken: Taken, lengths: list[int], gaps: tuple[int, ...]
) -> None:
    numbers: list[float | None] = [None if n in gaps else float(n) for n in range(sum(lengths))]
    ends = np.cumsum(lengths)
    arrays = [numbers[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    decoded = taken(b"".join(put(array, FLOAT4) for array in arrays), FLOAT4)
    assert [repr(x) for x in decoded] == expected(arrays, FLOAT4)


def test_postgresql_sends_arrays_as_these_tests_do(database: Database) -> None:
    arrays: list[list[float | None]] = [[1.5, None, -0.0], [], [None, None], [3e38]]
    with database.connect() as connection:
        for array in arrays:
            row = connection.execute("select array_send(%s::real[]), array_send(%s::integer[])", (array, [])).fetchone()
            assert row == (sent(array, FLOAT4), sent([], INT4))
