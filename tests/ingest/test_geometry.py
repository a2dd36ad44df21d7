"""Spectrum of the head and anisotropy of hidden states against numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ingest.geometry import anisotropy, head_singular_values


def test_singular_values_of_a_head_are_those_of_a_full_decomposition() -> None:
    head = torch.randn(9000, 12, generator=torch.Generator().manual_seed(0)) * torch.logspace(0, -3, 12)
    expected = np.linalg.svd(head.double().numpy(), compute_uv=False)
    actual = head_singular_values(head)
    assert actual.dtype == np.float32
    np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_a_head_of_lower_rank_has_zeros_and_no_nan() -> None:
    values = head_singular_values(torch.ones(50, 4))
    assert values[0] == pytest.approx(np.sqrt(200))
    assert values[1:].max() < 1e-5


def test_anisotropy_is_the_mean_cosine_of_all_pairs_of_tokens() -> None:
    hidden = torch.randn(60, 8, generator=torch.Generator().manual_seed(0)) + 0.5
    unit = hidden.double().numpy() / np.linalg.norm(hidden.double().numpy(), axis=1, keepdims=True)
    cosines = [unit[i] @ unit[j] for i in range(60) for j in range(60) if i != j]
    assert anisotropy(hidden) == pytest.approx(np.mean(cosines), rel=1e-9)


def test_anisotropy_of_parallel_and_opposed_states_is_one_and_minus_one() -> None:
    assert anisotropy(torch.tensor([[1.0, 1.0], [2.0, 2.0], [7.0, 7.0]])) == pytest.approx(1)
    assert anisotropy(torch.tensor([[1.0, 1.0], [-2.0, -2.0]])) == pytest.approx(-1)


def test_anisotropy_of_one_token_is_not_measured() -> None:
    assert anisotropy(torch.ones(1, 3)) is None
