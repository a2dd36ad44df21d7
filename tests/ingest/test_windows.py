"""Windows: every target once, each with the context docs/methods.md §1 says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.windows import InvalidWindow, Window, WindowPolicy, context_lengths, measured, passes, windows

sizes = st.tuples(st.integers(1, 80), st.integers(1, 24)).flatmap(
    lambda size: st.tuples(st.just(size[0]), st.just(size[1]), st.integers(1, size[1]))
)


def slid(n_targets: int, window: int, stride: int) -> dict[int, int]:
    """Context length of each 1-based target, found by sliding a window and scoring what was not yet scored."""
    contexts: dict[int, int] = {}
    left = 0
    while len(contexts) < n_targets:
        for position in range(left, min(left + window, n_targets)):
            contexts.setdefault(position + 1, position - left + 1)
        left += stride
    return contexts


@given(sizes)
def test_windows_give_each_target_the_context_that_sliding_by_hand_gives(size: tuple[int, int, int]) -> None:
    n_targets, window, stride = size
    seen: dict[int, int] = {}
    for part in windows(n_targets, window, stride):
        for target in range(part.first_target, part.end_target):
            assert target not in seen
            seen[target] = target - part.input_start + 1
    assert {target + 1: context for target, context in seen.items()} == slid(n_targets, window, stride)
    assert context_lengths("concatenated", n_targets, [], window, stride).tolist() == [
        seen[target] for target in range(n_targets)
    ]


@given(sizes)
def test_all_windows_but_the_last_are_full_and_start_at_multiples_of_the_stride(size: tuple[int, int, int]) -> None:
    n_targets, window, stride = size
    parts = windows(n_targets, window, stride)
    assert [part.input_start for part in parts] == [i * stride for i in range(len(parts))]
    assert all(part.n_inputs == window for part in parts[:-1])
    assert parts[-1].n_inputs <= window
    assert parts[-1].input_end == n_targets


def test_a_window_of_2048_gives_the_contexts_of_the_published_study() -> None:
    contexts = context_lengths("concatenated", 4662, [4662], 2048)
    t = np.arange(1, 4663)
    assert contexts.dtype == np.int32
    assert contexts.tolist() == np.where(t <= 2048, t, (t - 1) % 1024 + 1025).tolist()
    assert contexts[[0, 2047, 2048, 3071, 3072]].tolist() == [1, 2048, 1025, 2048, 1025]


def test_a_later_window_contributes_only_what_follows_its_overlap() -> None:
    assert windows(10, 4, 2) == [
        Window(0, 4, 0, 4),
        Window(2, 6, 4, 6),
        Window(4, 8, 6, 8),
        Window(6, 10, 8, 10),
    ]
    assert windows(9, 4)[-1] == Window(6, 9, 8, 9)
    assert windows(9, 4)[-1].kept_rows == slice(2, 3)


def test_a_short_sequence_is_one_window() -> None:
    assert windows(3, 2048) == [Window(0, 3, 0, 3)]


@pytest.mark.parametrize(("window", "stride"), [(4, 5), (4, 0), (0, None), (4, -1)])
def test_a_stride_that_would_skip_tokens_is_refused(window: int, stride: int | None) -> None:
    with pytest.raises(InvalidWindow, match="leaves tokens unscored"):
        windows(10, window, stride)


def test_an_empty_sequence_is_refused() -> None:
    with pytest.raises(InvalidWindow, match="no token to predict"):
        windows(0, 4)


#: Documents of some lengths, some of them empty, and a window.
texts = st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=6).filter(any), st.integers(2, 12), st.booleans())
POLICIES: tuple[WindowPolicy, ...] = ("concatenated", "documents", "truncated")


def context_of(policy: WindowPolicy, lengths: list[int], window: int, bos: bool, target: int) -> list[int]:
    """What a target (from 0) is predicted from by the definition: 0 for BOS, and i for the i-th token (from 1)."""
    first = 0
    if policy == "documents":
        while target >= first + lengths[0]:
            first, lengths = first + lengths[0], lengths[1:]
    before = [0, *range(first + 1, target + 1)]
    if policy == "truncated":
        if len(before) <= window:
            return before
        return [0, *before[-(window - 1) :]] if bos else before[-window:]
    before = before if bos else before[1:]
    return before[-slid(len(before), window, window // 2)[len(before)] :] if before else []


@pytest.mark.parametrize("policy", POLICIES)
@given(texts)
def test_every_target_is_contributed_once_from_the_context_that_its_policy_defines(
    policy: WindowPolicy, text: tuple[list[int], int, bool]
) -> None:
    lengths, window, bos = text
    n_targets = sum(lengths)
    known = measured(policy, n_targets, lengths, bos=bos)
    assume(known.any())
    seen: dict[int, list[int]] = {}
    for part in passes(policy, n_targets, lengths, window, bos=bos):
        inputs = [0] * part.bos + list(range(part.input_start, part.input_end))
        assert len(inputs) == part.n_inputs <= window
        for target, row in zip(
            range(part.first_target, part.end_target), range(*part.kept_rows.indices(len(inputs))), strict=True
        ):
            assert target not in seen
            seen[target] = inputs[: row + 1]
    expected = {target: context_of(policy, lengths, window, bos, target) for target in range(n_targets)}
    assert seen == {target: context for target, context in expected.items() if context}
    assert known.tolist() == [target in seen for target in range(n_targets)]
    contexts = context_lengths(policy, n_targets, lengths, window, bos=bos)
    assert contexts.dtype == np.int32
    assert contexts.tolist() == [len(expected[target]) for target in range(n_targets)]


def test_a_document_begins_with_its_own_bos_and_a_long_one_goes_on_without() -> None:
    assert passes("documents", 8, [2, 6], 4) == [
        Window(1, 2, 0, 2, bos=True),
        Window(3, 6, 2, 6, bos=True),
        Window(4, 8, 6, 8),
    ]


def test_without_bos_a_document_begins_with_a_token_that_nothing_predicts() -> None:
    parts = [Window(1, 2, 1, 2), Window(4, 8, 4, 8), Window(6, 9, 8, 9)]
    assert passes("documents", 9, [2, 1, 6], 4, bos=False) == parts
    assert measured("documents", 9, [2, 1, 6], bos=False).nonzero()[0].tolist() == [1, 4, 5, 6, 7, 8]
    assert passes("concatenated", 5, [2, 3], 4, bos=False) == [Window(1, 5, 1, 5)]
    assert measured("truncated", 3, [3], bos=False).all()
    with pytest.raises(InvalidWindow, match="no token has one before it"):
        passes("documents", 3, [1, 1, 1], 4, bos=False)


def test_truncated_windows_hold_their_size_with_bos_or_without() -> None:
    assert passes("truncated", 5, [5], 3) == [
        Window(0, 3, 0, 3),
        Window(2, 4, 3, 4, bos=True),
        Window(3, 5, 4, 5, bos=True),
    ]
    assert passes("truncated", 5, [5], 3, bos=False) == [Window(0, 3, 0, 3), Window(1, 4, 3, 4), Window(2, 5, 4, 5)]
    assert passes("truncated", 2, [2], 3) == [Window(0, 2, 0, 2)]


def test_documents_that_are_not_the_sequence_are_refused() -> None:
    with pytest.raises(InvalidWindow, match="The documents hold 7 tokens and the sequence 8"):
        passes("documents", 8, [3, 4], 4)


@pytest.mark.parametrize(("window", "bos"), [(1, True), (0, False)])
def test_a_truncated_window_without_room_for_a_token_is_refused(window: int, bos: bool) -> None:
    with pytest.raises(InvalidWindow, match="shows no token before its target"):
        passes("truncated", 8, [8], window, bos=bos)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_sequence_without_tokens_is_refused_by_every_policy(policy: WindowPolicy) -> None:
    with pytest.raises(InvalidWindow, match="no token to predict"):
        passes(policy, 0, [], 4)
