"""KL, mixtures and pair statistics against float64 numpy, from the same logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import log_softmax as scipy_log_softmax
from scipy.stats import spearmanr
from torch import Tensor

from ingest.divergence import (
    Distribution,
    kl_between,
    kl_both,
    kl_divergence,
    log_softmax,
    mean_ranks,
    mixture_entropy,
    pair_statistics,
)

WIDTH = 50_304


def zipf_logits(noise: float, n_tokens: int = 8) -> tuple[Tensor, Tensor]:
    """Two [T, V] float32 logits, Zipf-like, the second the first plus noise: KL is about half the noise squared."""
    generator = torch.Generator().manual_seed(0)
    ranks = torch.arange(1, WIDTH + 1)
    p = -1.1 * ranks.log() + torch.randn(n_tokens, WIDTH, generator=generator)
    return p, p + noise * torch.randn(n_tokens, WIDTH, generator=generator)


def float64_kl(logits_p: Tensor, logits_q: Tensor) -> NDArray[np.float64]:
    log_p, log_q = (scipy_log_softmax(x.numpy().astype(np.float64), axis=-1) for x in (logits_p, logits_q))
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


@pytest.mark.parametrize(("noise", "about", "bound"), [(1e-3, 4.8e-7, 1e-10), (0.1, 4.8e-3, 1e-8), (1.0, 0.48, 4e-7)])
def test_kl_of_wide_distributions_keeps_the_error_of_methods_and_is_never_negative(
    noise: float, about: float, bound: float
) -> None:
    p, q = zipf_logits(noise)
    expected = float64_kl(p, q)
    assert expected.mean() == pytest.approx(about, rel=0.2)
    for actual in (
        kl_divergence(log_softmax(p), log_softmax(q)),
        kl_between(Distribution.of(p), Distribution.of(q)),
        kl_both(Distribution.of(p), Distribution.of(q))[0],
        kl_both(Distribution.of(q), Distribution.of(p))[1],
    ):
        assert actual.dtype == torch.float32
        assert actual.min() >= 0
        assert np.abs(actual.double().numpy() - expected).mean() < bound


def test_kl_of_logits_two_hundred_apart_is_finite_and_exact() -> None:
    p = torch.tensor([[200.0, -200.0, 0.0], [-200.0, 200.0, 0.0], [200.0, 200.0, -200.0]])
    q = torch.tensor([[-200.0, 200.0, 0.0], [-200.0, 200.0, 0.0], [-200.0, 200.0, 200.0]])
    for x, y in ((p, q), (q, p)):
        for actual in (
            kl_divergence(log_softmax(x), log_softmax(y)),
            kl_between(Distribution.of(x), Distribution.of(y)),
            kl_both(Distribution.of(y), Distribution.of(x))[1],
        ):
            np.testing.assert_allclose(actual, float64_kl(x, y), rtol=1e-6, atol=1e-9)


def test_kl_of_three_entries_is_what_a_hand_computes() -> None:
    p, q = torch.tensor([[0.5, 0.25, 0.25]]).log(), torch.tensor([[0.25, 0.25, 0.5]]).log()
    assert kl_divergence(p, q).item() == pytest.approx(0.25 * np.log(2), rel=1e-6)


rows = st.lists(st.floats(-200, 200, width=32), min_size=2, max_size=20)
pairs_of_rows = st.integers(2, 20).flatmap(
    lambda n: st.tuples(*[st.lists(st.floats(-200, 200, width=32), min_size=n, max_size=n)] * 2)
)


@settings(deadline=None)
@given(pairs_of_rows)
def test_kl_is_never_negative_and_agrees_with_float64(pair: tuple[list[float], list[float]]) -> None:
    p, q = (torch.tensor([row], dtype=torch.float32) for row in pair)
    actual = kl_divergence(log_softmax(p), log_softmax(q))
    assert actual.item() >= 0
    np.testing.assert_allclose(actual, float64_kl(p, q), rtol=1e-5, atol=1e-6)


@settings(deadline=None)
@given(rows)
def test_kl_of_a_distribution_with_itself_is_zero(row: list[float]) -> None:
    log_p = log_softmax(torch.tensor([row]))
    assert kl_divergence(log_p, log_p).item() == 0


@settings(deadline=None)
@given(pairs_of_rows, st.integers(0, 1000))
def test_kl_does_not_depend_on_the_order_of_the_vocabulary(pair: tuple[list[float], list[float]], seed: int) -> None:
    order = torch.randperm(len(pair[0]), generator=torch.Generator().manual_seed(seed))
    p, q = (log_softmax(torch.tensor([row])) for row in pair)
    torch.testing.assert_close(kl_divergence(p[:, order], q[:, order]), kl_divergence(p, q), rtol=1e-5, atol=1e-6)


def test_log_softmax_keeps_the_smallest_surprisals_to_six_digits() -> None:
    gaps = torch.tensor([4.0, 7.0, 10.0, 14.0])
    logits = torch.stack([torch.cat([torch.zeros(1), torch.full((1023,), 0.0) - gap - 6.0]) for gap in gaps])
    expected = scipy_log_softmax(logits.double().numpy(), axis=-1)
    assert expected[:, 0].max() < 0
    assert expected[:, 0].min() > -0.1
    np.testing.assert_allclose(log_softmax(logits), expected, rtol=1e-6)


def test_entropy_of_a_mixture_is_that_of_the_mean_probabilities() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = [3 * torch.randn(5, 700, generator=generator) for _ in range(3)]
    mean = np.mean([np.exp(scipy_log_softmax(x.double().numpy(), axis=-1)) for x in logits], axis=0)
    actual = mixture_entropy([Distribution.of(x) for x in logits])
    np.testing.assert_allclose(actual, -(mean * np.log(mean)).sum(-1), rtol=1e-6)


def test_entropy_of_a_mixture_counts_an_impossible_entry_as_nothing() -> None:
    logits = torch.tensor([[0.0, 0.0, -500.0]])
    assert mixture_entropy([Distribution.of(logits)] * 2).item() == pytest.approx(np.log(2), rel=1e-6)


def test_a_mixture_leaves_its_members_as_they_were() -> None:
    members = [Distribution.of(torch.tensor([[1.0, 2.0]])), Distribution.of(torch.tensor([[2.0, 0.0]]))]
    before = members[0].p.clone()
    mixture_entropy(members)
    assert torch.equal(members[0].p, before)


def test_pair_statistics_are_those_of_numpy() -> None:
    generator = np.random.default_rng(0)
    kl, p, q = generator.exponential(size=(3, 500)).astype(np.float32)
    top_p, top_q = generator.integers(0, 4, size=(2, 500), dtype=np.int32)
    p, q = p.round(1), q.round(1)
    statistics = pair_statistics(kl, (p, q), (mean_ranks(p), mean_ranks(q)), (top_p, top_q))
    assert statistics.mean_kl == pytest.approx(kl.astype(np.float64).sum() / 500, rel=1e-12)
    assert statistics.surprisal_correlation == pytest.approx(np.corrcoef(p.astype(np.float64), q)[0, 1], rel=1e-9)
    assert statistics.surprisal_rank_correlation == pytest.approx(spearmanr(p, q).statistic, rel=1e-12)
    assert statistics.top1_agreement == sum(a == b for a, b in zip(top_p, top_q, strict=True)) / 500


def test_a_constant_side_has_no_correlation() -> None:
    kl, constant, varied = np.zeros(3, np.float32), np.full(3, 0.1, np.float32), np.arange(3, dtype=np.float32)
    ids = np.zeros(3, np.int32)
    statistics = pair_statistics(kl, (constant, varied), (mean_ranks(constant), mean_ranks(varied)), (ids, ids))
    assert statistics.surprisal_correlation is None
    assert statistics.surprisal_rank_correlation is None


def test_equal_values_share_the_mean_of_their_ranks_and_nan_comes_last() -> None:
    x = np.array([0.5, np.nan, 0.1, 0.5, 2.0], np.float32)
    assert mean_ranks(x).tolist() == [2.5, 5, 1, 2.5, 4]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_row_with_one_bad_logit_is_known_as_not_finite(bad: float) -> None:
    logits = torch.zeros(3, 10)
    logits[1, 4] = bad
    assert Distribution.of(logits).finite.tolist() == [True, False, True]
