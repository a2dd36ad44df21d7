"""Results by paradigm: three items worked out by hand, and answers held against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, rel_entr

from warehouse.paradigms import Items, Scores, divergence_rows, score_rows

#: Three items: two minimal pairs of one paradigm, three options of another; and a paradigm without items.
ITEMS = Items(
    paradigm_ids=np.array([7, 8, 9]),
    paradigms=np.array([0, 0, 1]),
    documents=np.array([[0, 1, -1], [3, 2, -1], [4, 5, 6]]),
)
#: Log-probabilities: the first pair right by 2, the second wrong by 1, the correct option behind the last by 0.5.
SURPRISAL = np.array([1, 3, 5, 6, 2, 4, 1.5], np.float32)


def rows(surprisal: np.ndarray, eos: np.ndarray | None = None) -> dict[int, dict[str, float | None]]:
    return {row["paradigm_id"]: row for row in score_rows(ITEMS, Scores.of(ITEMS, surprisal, eos))}


def test_an_item_is_correct_where_its_wanted_role_is_the_most_probable() -> None:
    found = rows(SURPRISAL)
    assert found[7] == {
        "paradigm_id": 7,
        "n_items": 2,
        "n_correct": 1,
        "n_correct_with_eos": None,
        "sum_margin": 1.0,
        "sum_margin2": 5.0,
    }
    assert (found[8]["n_items"], found[8]["n_correct"], found[8]["sum_margin"]) == (1, 0, -0.5)
    assert (found[9]["n_items"], found[9]["n_correct"], found[9]["sum_margin"]) == (0, 0, 0.0)


def test_a_tie_is_not_correct() -> None:
    assert rows(np.where(np.arange(7) == 1, 1, SURPRISAL).astype(np.float32))[7]["n_correct"] == 0


def test_eos_may_turn_an_item() -> None:
    eos = np.array([3, 0.5, 2, 0.5, 0, 0, 1], np.float32)
    found = rows(SURPRISAL, eos)
    # 4 against 3.5 and 6.5 against 7; 2 against 2.5
    assert (found[7]["n_correct"], found[7]["n_correct_with_eos"]) == (1, 1)
    assert (found[8]["n_correct"], found[8]["n_correct_with_eos"]) == (0, 1)
    assert found[7]["sum_margin"] == 1.0


def test_where_an_item_lacks_an_eos_nothing_is_counted_with_it() -> None:
    eos = np.array([3, np.nan, 2, 0.5, 0, 0, 1], np.float32)
    found = rows(SURPRISAL, eos)
    assert found[7]["n_correct_with_eos"] is None
    assert found[8]["n_correct_with_eos"] == 1


def test_an_item_with_a_role_that_was_not_scored_is_left_out() -> None:
    found = rows(np.where(np.arange(7) == 2, np.nan, SURPRISAL).astype(np.float32))
    assert (found[7]["n_items"], found[7]["n_correct"], found[7]["sum_margin"]) == (1, 1, 2.0)
    assert found[8]["n_items"] == 1


def random_scores(spread: float, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (40 + random.normal(0, spread, 7)).astype(np.float32)


def by_scipy(documents: list[int], p: np.ndarray, q: np.ndarray) -> float:
    answers = [np.exp(log_softmax(-side.astype(np.float64)[documents])) for side in (p, q)]
    return float(rel_entr(*answers).sum())


@pytest.mark.parametrize("spread", [0.01, 1.0, 10.0])
def test_the_divergence_of_answers_is_kl_of_their_softmaxes(spread: float) -> None:
    p, q = random_scores(spread, 1), random_scores(spread, 2)
    found = {
        row["paradigm_id"]: row for row in divergence_rows(ITEMS, Scores.of(ITEMS, p, None), Scores.of(ITEMS, q, None))
    }
    assert found[7]["n_items"] == 2
    assert found[7]["sum_kl"] == pytest.approx(by_scipy([0, 1], p, q) + by_scipy([3, 2], p, q), rel=1e-9)
    assert found[8]["sum_kl"] == pytest.approx(by_scipy([4, 5, 6], p, q), rel=1e-9)
    assert found[9] == {"paradigm_id": 9, "n_items": 0, "sum_kl": 0.0, "sum_kl_with_eos": None}


def test_answers_that_nearly_agree_keep_their_digits() -> None:
    p = np.array([10, 10, 0, 0, 0, 0, 0], np.float32)
    q = np.array([10, np.nextafter(np.float32(10), np.float32(11)), 0, 0, 0, 0, 0], np.float32)
    d = float(q[1]) - 10
    [row, *_] = divergence_rows(ITEMS, Scores.of(ITEMS, p, None), Scores.of(ITEMS, q, None))
    # Two outcomes of one half each: KL is d^2 / 8 to leading order.
    assert row["sum_kl"] == pytest.approx(d * d / 8, rel=1e-6)


def test_answers_as_far_apart_as_can_be_stay_finite() -> None:
    p = np.array([0, 2000, 0, 0, 0, 0, 0], np.float32)
    q = np.array([2000, 0, 0, 0, 0, 0, 0], np.float32)
    [row, *_] = divergence_rows(ITEMS, Scores.of(ITEMS, p, None), Scores.of(ITEMS, q, None))
    assert row["sum_kl"] == pytest.approx(2000)
