"""Sums over documents: three documents worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from warehouse.documents import Documents, divergence_sums, score_sums

EOS = 9
#: Three documents of three tokens, two tokens and one: the first ends in EOS, the second begins with one.
CODES = np.array([0, 0, 0, 1, 1, 2], np.int32)
POSITIONS = np.array([0, 1, 2, 0, 1, 0], np.int32)
IDS = np.array([1, 2, EOS, EOS, 4, EOS], np.int32)
SURPRISAL = np.array([1, 2, 4, 8, 16, 32], np.float32)
ENTROPY = np.array([0.5, 1, 2, 4, 8, 16], np.float32)
RANK = np.array([1, 2, 1, 1, 1, 1], np.int32)
NOTHING = np.nan


def documents(*, eos_id: int | None = EOS, scored_from: tuple[int, int, int] = (0, 0, 0)) -> Documents:
    return Documents.of(CODES, POSITIONS, IDS, np.array(scored_from, np.int32), eos_id)


def lists(sums: dict[str, np.ndarray | None]) -> dict[str, list[float] | None]:
    return {name: None if column is None else column.tolist() for name, column in sums.items()}


def gap(values: np.ndarray, *places: int) -> np.ndarray:
    """The values without those at some places."""
    return np.where(np.isin(np.arange(len(values)), places), NOTHING, values).astype(np.float32)


def test_the_eos_that_ends_a_document_is_no_part_of_its_sums() -> None:
    found = score_sums(documents(), SURPRISAL, ENTROPY, RANK)
    assert lists(found)["n_tokens"] == [2, 2, 0]
    assert lists(found)["surprisal"] == [3, 24, 0]
    assert lists(found)["entropy"] == [1.5, 12, 0]
    assert lists(found)["n_correct"] == [1, 2, 0]
    np.testing.assert_array_equal(found["eos_surprisal"], [4, NOTHING, 32])


def test_without_eos_every_token_counts() -> None:
    found = lists(score_sums(documents(eos_id=None), SURPRISAL, ENTROPY, RANK))
    assert found == {
        "n_tokens": [3, 2, 1],
        "n_correct": [2, 2, 1],
        "surprisal": [7, 24, 32],
        "eos_surprisal": None,
        "entropy": [3.5, 12, 16],
    }


def test_context_that_is_not_scored_is_left_out() -> None:
    parts = documents(scored_from=(1, 1, 0))
    found = lists(score_sums(parts, SURPRISAL, ENTROPY, RANK))
    assert (found["n_tokens"], found["surprisal"], found["n_correct"]) == ([1, 1, 0], [2, 16, 0], [0, 1, 0])
    assert lists(divergence_sums(parts, SURPRISAL)) == {"n_tokens": [2, 1, 1], "kl": [6, 16, 32]}


def test_a_first_token_that_nothing_predicts_is_missed_by_no_one() -> None:
    found = score_sums(documents(), gap(SURPRISAL, 0, 3), ENTROPY, RANK)
    assert lists(found)["n_tokens"] == [1, 1, 0]
    assert lists(found)["surprisal"] == [2, 16, 0]
    assert lists(found)["entropy"] == [1, 8, 0]
    assert lists(found)["n_correct"] == [0, 1, 0]


@pytest.mark.parametrize("missing", [(1,), (0, 1), (1, 5)])
def test_a_document_with_a_gap_has_no_sum(missing: tuple[int, ...]) -> None:
    found = score_sums(documents(), gap(SURPRISAL, *missing), ENTROPY, RANK)
    np.testing.assert_array_equal(found["surprisal"], [NOTHING, 24, 0])
    np.testing.assert_array_equal(found["entropy"], [NOTHING, 12, 0])
    assert lists(found)["n_correct"] == [-1, 2, 0]
    assert lists(found)["n_tokens"] == [2 - len({0, 1} & set(missing)), 2, 0]


def test_a_document_of_one_token_that_nothing_predicts_has_no_sum() -> None:
    found = score_sums(documents(eos_id=None), gap(SURPRISAL, 5), ENTROPY, RANK)
    np.testing.assert_array_equal(found["surprisal"], [7, 24, NOTHING])


def test_what_is_not_known_of_a_token_is_not_known_of_its_document() -> None:
    found = score_sums(documents(), SURPRISAL, gap(ENTROPY, 1), np.where(RANK == 2, -1, RANK).astype(np.int32))
    assert lists(found)["surprisal"] == [3, 24, 0]
    np.testing.assert_array_equal(found["entropy"], [NOTHING, 12, 0])
    assert lists(found)["n_correct"] == [-1, 2, 0]
    bare = score_sums(documents(), SURPRISAL, None, None)
    assert (bare["entropy"], bare["n_correct"]) == (None, None)
    assert lists(bare)["surprisal"] == [3, 24, 0]


def test_divergence_is_over_what_was_measured_eos_included() -> None:
    found = divergence_sums(documents(), gap(SURPRISAL, 1, 5))
    assert lists(found)["n_tokens"] == [2, 2, 0]
    np.testing.assert_array_equal(found["kl"], [5, 24, NOTHING])


def test_a_document_may_have_no_token_at_all() -> None:
    parts = Documents.of(CODES[:3], POSITIONS[:3], IDS[:3], np.zeros(3, np.int32), EOS)
    found = score_sums(parts, SURPRISAL[:3], None, None)
    assert lists(found)["n_tokens"] == [2, 0, 0]
    np.testing.assert_array_equal(found["eos_surprisal"], [4, NOTHING, NOTHING])


def test_sums_are_taken_in_double_precision() -> None:
    n = 100_000
    values = np.full(n, 0.1, np.float32)
    parts = Documents.of(
        np.zeros(n, np.int32), np.arange(n, dtype=np.int32), np.ones(n, np.int32), np.zeros(1, np.int32), None
    )
    total = score_sums(parts, values, None, None)["surprisal"]
    assert total is not None
    assert total[0] == np.float32(n * float(np.float32(0.1)))
