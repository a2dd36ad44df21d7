"""Bootstrap over documents: curves of mean KL as other texts of the same kind would have given them, and intervals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Samples that are summed in one multiplication of matrices.
_BATCH = 64


def resampled_curves(kl: Floats, n_tokens: Floats, samples: int, seed: int) -> Floats:
    """[samples, C] convergence of C comparisons in each sample of D documents, drawn with replacement; in nats.

    kl, n_tokens: [C, D] sums of KL and numbers of tokens by comparison and document, tokens never 0. A sample has the
    same documents in all comparisons, so that a curve moves as a whole and models stay comparable: D numbers below D
    from numpy's default generator, sample after sample.
    """
    random = np.random.default_rng(seed)
    n_documents = kl.shape[1]
    curves = np.empty((samples, len(kl)))
    for first in range(0, samples, _BATCH):
        size = min(_BATCH, samples - first)
        drawn = [
            np.bincount(random.integers(n_documents, size=n_documents), minlength=n_documents) for _ in range(size)
        ]
        weights = np.array(drawn, float)  # [size, D] how often each document was drawn
        curves[first : first + size] = -(weights @ kl.T) / (weights @ n_tokens.T)
    return curves


@dataclass(frozen=True)
class Interval:
    """Where a boundary lies in samples that have it: steps, both None where no sample does; share: of those samples."""

    lower: int | None
    upper: int | None
    share: float


def interval(steps: NDArray[np.float64], confidence: float) -> Interval:
    """Percentile interval of a boundary; steps: [samples], NaN where a sample has no such boundary.

    Of the n samples that have one, floor(n (1 - confidence) / 2) are cut off at either end, so that the ends are
    measured steps.
    """
    found = np.sort(steps[~np.isnan(steps)])
    if not len(found):
        return Interval(None, None, 0.0)
    # A product that ought to be whole may come out just below.
    cut = int(len(found) * (1 - confidence) / 2 + 1e-9)
    return Interval(int(found[cut]), int(found[-1 - cut]), len(found) / len(steps))
