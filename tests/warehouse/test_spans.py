"""Spans over tokens: against a count of characters, one by one."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from warehouse.spans import Spans, commonest_value, overlapping

Pieces = list[tuple[int, int]]


def laid_out(lengths: list[int]) -> Pieces:
    """Ranges one after another."""
    ends = np.cumsum(lengths).tolist()
    return list(zip([0, *ends][:-1], ends, strict=True))


def by_characters(tokens: Pieces, spans: Pieces, codes: list[int]) -> list[int]:
    """docs/methods.md §3: the most frequent value among a token's characters, if it covers half of them."""
    value = {c: code for (start, end), code in zip(spans, codes, strict=True) for c in range(start, end) if code >= 0}
    chosen = []
    for start, end in tokens:
        counts = Counter(value[c] for c in range(start, end) if c in value)
        # Counter keeps the order in which it met values, and its most common one is the first of equals.
        code, count = counts.most_common(1)[0] if counts else (-1, 0)
        chosen.append(code if 2 * count >= end - start else -1)
    return chosen


def columns(pairs: Pieces) -> tuple[np.ndarray, np.ndarray]:
    start, end = np.array(pairs, np.int64).reshape(-1, 2).T
    return start, end


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(1, 5), st.integers(-1, 2), st.booleans()), max_size=30),
    st.randoms(use_true_random=False),
)
def test_a_token_takes_the_commonest_value_of_its_characters(lengths, drawn, random) -> None:  # type: ignore[no-untyped-def]
    tokens = laid_out(lengths)
    ranges = laid_out([length for length, _, _ in drawn])
    kept = [(span, code) for span, (_, code, keep) in zip(ranges, drawn, strict=True) if keep]
    random.shuffle(kept)
    spans, codes = [span for span, _ in kept], [code for _, code in kept]
    start, end = columns(tokens)
    chosen, served = commonest_value(start, end, end - start, Spans(*columns(spans), np.array(codes, np.int32)))
    expected = by_characters(tokens, spans, codes)
    assert chosen.tolist() == expected
    for (first, last), code, was_served in zip(spans, codes, served.tolist(), strict=True):
        took = any(expected[i] == code and max(first, a) < min(last, b) for i, (a, b) in enumerate(tokens) if code >= 0)
        assert was_served == took


def test_characters_that_do_not_count_leave_a_token_without_a_value() -> None:
    """An end-of-text token has characters of the separator, of which none is of its document."""
    chosen, _ = commonest_value(
        np.array([0, 5]), np.array([5, 5]), np.array([5, 3]), Spans(*columns([(0, 8)]), np.array([0], np.int32))
    )
    assert chosen.tolist() == [0, -1]


def test_a_token_without_characters_has_no_value() -> None:
    tokens = columns([(0, 2), (2, 2), (2, 4)])
    chosen, _ = commonest_value(*tokens, tokens[1] - tokens[0], Spans(*columns([(1, 4)]), np.array([0], np.int32)))
    assert chosen.tolist() == [0, -1, 0]


def test_spans_that_share_a_character_are_found() -> None:
    assert overlapping(*columns([(4, 6), (0, 2), (2, 4)])) is None
    assert overlapping(*columns([(4, 6), (0, 2), (5, 9)])) == (0, 2)
    assert overlapping(*columns([(0, 9), (20, 21), (3, 4)])) == (0, 2)
    assert overlapping(*columns([])) is None
