"""Compiled loops at the width of a real vocabulary: as exact as the eager reference, repeatable, and dispensable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as File
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax
from torch import Tensor

from ingest.compiled import PAYS_FROM, Path, choose_path
from ingest.kernels import entropy_sums
from ingest.logits import Readout
from ingest.measure import measure
from ingest.scores import VocabularyClasses

WIDTH = 50_304
CLASSES = VocabularyClasses(WIDTH, torch.arange(100, 30_000), torch.arange(30_000, 31_000), 0)
PATHS = pytest.mark.parametrize("path", ["eager", "compiled"])


def readout_of(logits: Tensor) -> Readout:
    """Unit vectors have the logits that their head is made of, to the bit."""
    return Readout(torch.eye(len(logits)), logits.T.contiguous())


def kl_of(p: Tensor, q: Tensor, path: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """KL(p || q) and KL(q || p) of [T, V] float32 logits."""
    targets = torch.zeros(len(p), dtype=torch.int64)
    pairs = [(0, 1), (1, 0)]
    result = measure([readout_of(p), readout_of(q)], targets, classes=CLASSES, pairs=pairs, path=path)
    return result.kl[0, 1], result.kl[1, 0]


def float64_kl(logits_p: Tensor, logits_q: Tensor) -> NDArray[np.float64]:
    log_p, log_q = (log_softmax(x.numpy().astype(np.float64), axis=-1) for x in (logits_p, logits_q))
    return (np.exp(log_p) * (log_p - log_q)).sum(-1)


def zipf_logits(noise: float, n_tokens: int = 16) -> tuple[Tensor, Tensor]:
    """Two [T, V] float32 logits, Zipf-like, the second the first plus noise: KL is about half the noise squared."""
    generator = torch.Generator().manual_seed(0)
    p = -1.1 * torch.arange(1, WIDTH + 1).log() + torch.randn(n_tokens, WIDTH, generator=generator)
    return p, p + noise * torch.randn(n_tokens, WIDTH, generator=generator)


@PATHS
@pytest.mark.parametrize(("noise", "about", "bound"), [(1e-3, 4.8e-7, 1e-10), (0.1, 4.8e-3, 1e-8), (1.0, 0.48, 4e-7)])
def test_kl_over_a_real_vocabulary_keeps_the_error_of_methods_both_ways(
    noise: float, about: float, bound: float, path: Path
) -> None:
    p, q = zipf_logits(noise)
    for actual, expected in zip(kl_of(p, q, path), (float64_kl(p, q), float64_kl(q, p)), strict=True):
        assert expected.mean() == pytest.approx(about, rel=0.2)
        assert actual.min() >= 0
        assert np.abs(actual - expected).mean() < bound


@PATHS
def test_kl_of_logits_two_hundred_apart_is_finite_never_negative_and_exact(path: Path) -> None:
    signs = torch.where(torch.rand(2, 16, WIDTH, generator=torch.Generator().manual_seed(1)) < 0.5, -200.0, 200.0)
    p, q = signs
    p[0], q[0] = -200.0, 200.0  # all alike: KL is 0
    p[1], q[1] = -200.0, -200.0
    p[1, 7], q[1, 8] = 200.0, 200.0  # nearly certain of different entries: KL is 400
    for actual, expected in zip(kl_of(p, q, path), (float64_kl(p, q), float64_kl(q, p)), strict=True):
        assert np.isfinite(actual).all()
        assert actual.min() >= 0
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-9)
    assert kl_of(p, q, path)[0][1] == 400


@PATHS
@pytest.mark.parametrize("gap", [0.01, 0.5, 0.999, 1.0, 1.001, 3.0, 30.0, 120.0])
def test_kl_is_exact_on_both_sides_of_where_its_form_changes(gap: float, path: Path) -> None:
    p, _ = zipf_logits(0.0, n_tokens=8)
    q = p.clone()
    q[:, ::2] += gap
    for actual, expected in zip(kl_of(p, q, path), (float64_kl(p, q), float64_kl(q, p)), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4)


@PATHS
def test_kl_of_a_model_with_itself_is_zero(path: Path) -> None:
    p, _ = zipf_logits(0.0)
    for actual in kl_of(p, p.clone(), path):
        assert (actual == 0).all()


def readouts(n: int, tokens: int = 70) -> list[Readout]:
    generator = torch.Generator().manual_seed(4)
    head = torch.randn(WIDTH, 16, generator=generator)
    return [Readout(torch.randn(tokens, 16, generator=generator), head) for _ in range(n)]


def columns(**options: Any) -> dict[Any, NDArray[Any]]:
    """Two readouts of four, all that was asked for by name; 70 targets are a tile and a part of one."""
    targets = torch.arange(70)
    result = measure(readouts(4), targets, classes=CLASSES, path="compiled", **options)
    scores = {(i, name): x for i, scores in result.scores.items() for name, x in vars(scores).items() if x is not None}
    return {**scores, **result.kl, **result.mixture_entropy, **result.reference_kl}


def test_two_runs_give_the_same_bits_and_so_does_a_run_that_does_less() -> None:
    reference = {"unigram": torch.linspace(0, 5, WIDTH).log_softmax(-1)}
    everyone = [(p, q) for p in range(4) for q in range(4) if p != q]
    options: dict[str, Any] = {"scores": [0, 1, 2], "pairs": everyone, "mixtures": [(0, 1, 2)], "references": reference}
    full = columns(**options)
    parts = [
        columns(**options),
        columns(scores=[1], references=reference),
        columns(pairs=[(2, 1)]),
        columns(pairs=[(1, 0), (0, 3)], scores=[3]),
        columns(mixtures=[(0, 1, 2)]),
    ]
    for part in parts:
        assert part
        for key in part.keys() & full.keys():
            np.testing.assert_array_equal(part[key], full[key], err_msg=str(key))
    assert (2, 1) in parts[2]


def test_threads_change_no_bit() -> None:
    threads = torch.get_num_threads()
    found = []
    try:
        for n in (1, 3):
            torch.set_num_threads(n)
            found.append(columns(scores=[0], pairs=[(0, 1)]))
            assert torch.get_num_threads() == n
    finally:
        torch.set_num_threads(threads)
    for key, values in found[0].items():
        np.testing.assert_array_equal(found[1][key], values)


def test_the_compiled_path_agrees_with_the_eager_reference_in_everything() -> None:
    options: dict[str, Any] = {
        "classes": CLASSES,
        "scores": [0],
        "pairs": [(0, 1), (1, 0)],
        "mixtures": [(0, 1)],
        "references": {"unigram": torch.linspace(0, 5, WIDTH).log_softmax(-1)},
        "top_k": 5,
    }
    compiled, eager = (measure(readouts(2), torch.arange(70), path=path, **options) for path in ("compiled", "eager"))
    for name, values in vars(eager.scores[0]).items():
        if values is not None:
            np.testing.assert_allclose(vars(compiled.scores[0])[name], values, rtol=1e-6, err_msg=name)
    for pair in eager.kl:
        np.testing.assert_allclose(compiled.kl[pair], eager.kl[pair], rtol=4e-6)
    np.testing.assert_allclose(compiled.reference_kl[0, "unigram"], eager.reference_kl[0, "unigram"], rtol=4e-6)
    np.testing.assert_allclose(compiled.mixture_entropy[0, 1], eager.mixture_entropy[0, 1], rtol=1e-6)
    np.testing.assert_array_equal(compiled.top[0].ids, eager.top[0].ids)


def test_entropy_counts_an_impossible_entry_as_nothing() -> None:
    entropy = entropy_sums(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]]))
    assert entropy.tolist() == pytest.approx([np.log(2), 0.0])


def test_only_work_that_is_large_enough_and_on_a_cpu_is_compiled() -> None:
    enough = PAYS_FROM // WIDTH + 1
    assert choose_path("cpu", enough, WIDTH) == "compiled"
    assert choose_path("cpu", enough - 2, WIDTH) == "eager"
    assert choose_path("cuda:0", enough, WIDTH) == "eager"
    assert choose_path("cpu", enough, WIDTH, allowed=False) == "eager"


_WITHOUT_COMPILER = """
import logging, torch
from ingest.compiled import choose_path
from ingest.logits import Readout
from ingest.measure import measure
from ingest.scores import VocabularyClasses
logging.basicConfig(format="%(levelname)s %(message)s")
none = torch.tensor([], dtype=torch.int64)
print([choose_path("cpu", 10**9, 30) for _ in range(2)])
readout = Readout(torch.randn(4, 3), torch.randn(30, 3))
print(measure([readout], torch.arange(4), classes=VocabularyClasses(30, none, none, None), scores=[0]).scores[0].rank)
"""


def test_without_a_compiler_everything_is_measured_the_eager_way_with_one_notice(tmp_path: File) -> None:
    environment = {**os.environ, "CXX": "/nonexistent/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_COMPILER], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.startswith("['eager', 'eager']\n[")
    notices = [line for line in ran.stderr.splitlines() if line.startswith("WARNING")]
    assert len(notices) == 1
    assert "without compiled loops" in notices[0]
