"""KL of all ordered pairs of a step's seeds: against saving every log-probability and reading them pair by pair."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.claim import Claim
from benchmarks.models import PYTHIA_70M, SMALL, Shape, classes_of
from benchmarks.timing import Timing, interleave, ratio_of_rounds
from ingest.logits import Readout
from ingest.measure import measure

#: Few tokens, since numpy takes a minute for them; time grows with tokens in all ways alike.
_TOKENS, _SMALL_TOKENS = 128, 64
#: Rows that are worked on at a time, and rows whose float64 KL is the truth.
_ROWS, _CHECKED = 128, 32
_ROUNDS = 3

Kl = dict[tuple[int, int], NDArray[np.float32]]
HalfKl = Callable[[NDArray[np.float16], NDArray[np.float16]], NDArray[np.float16]]


def claims(*, small: bool = False) -> Iterator[Claim]:
    """End to end from readouts to KL, with 5 and 10 seeds; bytes written and errors are in the notes."""
    shape = SMALL if small else PYTHIA_70M
    for n_seeds in (5, 10):
        yield from _claims(shape, n_seeds, _SMALL_TOKENS if small else _TOKENS, 1 if small else _ROUNDS)


def _claims(shape: Shape, n_seeds: int, n_tokens: int, rounds: int) -> Iterator[Claim]:
    readouts = _readouts(shape, n_seeds, n_tokens)
    pairs = list(permutations(range(n_seeds), 2))
    with tempfile.TemporaryDirectory() as folder:
        ways = {
            "ours": _Kept(lambda: _ours(readouts, pairs, shape)),
            "numpy": _Kept(lambda: _incumbent(readouts, pairs, shape, Path(folder), _kl_of_numpy)),
            "torch": _Kept(lambda: _incumbent(readouts, pairs, shape, Path(folder), _kl_of_torch)),
        }
        taken = interleave(ways, rounds=rounds)
        written = sum(file.stat().st_size for file in Path(folder).iterdir())
    truth = _float64(readouts, shape)
    for library, bound in (("numpy", 20.0 if n_seeds == 10 else 10.0), ("torch", 1.0)):
        yield Claim.at_least(
            f"KL of all pairs of {n_seeds} seeds, {shape.name}, over float16 files and {library}",
            ratio_of_rounds(taken[library], taken["ours"]),
            bound,
            ours=f"{_seconds(taken['ours'])}, nothing written",
            other=f"{_seconds(taken[library])}, {written / 1e6:,.0f} MB written",
            note=f"{n_tokens} tokens, {len(pairs)} ordered pairs, mean KL {np.mean(list(truth.values())):.2g} nats; "
            f"mean absolute error against float64: ours {_error(ways['ours'].kl, truth):.1g}, the other's "
            f"{_error(ways[library].kl, truth):.1g}; it saves log-probabilities, reads two files for each pair and "
            f"computes KL in half precision with {library}; multiplying by the heads is in both and most of ours",
        )


def _seconds(timing: Timing) -> str:
    return f"{timing.median:.2f} s"


class _Kept:
    """A way to KL that remembers its last result."""

    def __init__(self, way: Callable[[], Kl]) -> None:
        self._way = way
        self.kl: Kl = {}

    def __call__(self) -> None:
        self.kl = self._way()


def _readouts(shape: Shape, n_seeds: int, n_tokens: int) -> list[Readout]:
    """Seeds that agree as trained ones do: the same distributions but for noise, logits spread over some ten nats."""
    generator = torch.Generator().manual_seed(0)
    head = torch.randn(shape.width, shape.hidden, generator=generator) / shape.hidden**0.5
    hidden = 2.5 * torch.randn(n_tokens, shape.hidden, generator=generator)

    def near(x: Tensor) -> Tensor:
        return x + 0.2 * x.std() * torch.randn(x.shape, generator=generator)

    return [Readout(near(hidden), near(head)) for _ in range(n_seeds)]


def _ours(readouts: list[Readout], pairs: list[tuple[int, int]], shape: Shape) -> Kl:
    targets = torch.zeros(len(readouts[0].hidden), dtype=torch.int64)
    return measure(readouts, targets, classes=classes_of(shape), pairs=pairs, path="compiled").kl


@torch.inference_mode()
def _incumbent(
    readouts: list[Readout], pairs: list[tuple[int, int]], shape: Shape, folder: Path, half_kl: HalfKl
) -> Kl:
    """Write the log-probabilities of each seed, then read two files for every pair."""
    for number, readout in enumerate(readouts):
        log_p = torch.cat([_logits(readout, rows, shape).log_softmax(-1) for rows in _blocks(readout)])
        np.save(folder / f"{number}.npy", log_p.half().numpy())
    return {
        (p, q): half_kl(np.load(folder / f"{p}.npy"), np.load(folder / f"{q}.npy")).astype(np.float32) for p, q in pairs
    }


def _blocks(readout: Readout) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, len(readout.hidden), _ROWS)]


def _logits(readout: Readout, rows: slice, shape: Shape) -> Tensor:
    return readout.logits(rows)[:, : shape.length]


def _kl_of_numpy(log_p: NDArray[np.float16], log_q: NDArray[np.float16]) -> NDArray[np.float16]:
    kl: NDArray[np.float16] = (np.exp(log_p) * (log_p - log_q)).sum(-1)
    return kl


def _kl_of_torch(log_p: NDArray[np.float16], log_q: NDArray[np.float16]) -> NDArray[np.float16]:
    a, b = torch.from_numpy(log_p), torch.from_numpy(log_q)
    kl: NDArray[np.float16] = (a.exp() * (a - b)).sum(-1).numpy()
    return kl


def _float64(readouts: list[Readout], shape: Shape) -> dict[tuple[int, int], NDArray[np.float64]]:
    """The truth for the first tokens of some pairs, from the same float32 logits."""
    log_p = [_logits(readout, slice(0, _CHECKED), shape).double().log_softmax(-1) for readout in readouts[:3]]
    pairs = permutations(range(len(log_p)), 2)
    return {(p, q): (log_p[p].exp() * (log_p[p] - log_p[q])).sum(-1).numpy() for p, q in pairs}


def _error(kl: Kl, truth: dict[tuple[int, int], NDArray[np.float64]]) -> float:
    return float(np.mean([np.abs(kl[pair][:_CHECKED] - expected).mean() for pair, expected in truth.items()]))
