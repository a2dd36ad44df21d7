"""Geometry of a checkpoint: the spectrum of its output head and the anisotropy of its final hidden states.

Pure functions of tensors; models, files and the database are unknown here.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ingest.logits import Rows, pieces_of


def head_singular_values(head: Tensor) -> NDArray[np.float32]:
    """Singular values of the output head, largest first: [V, d] -> [d] float32 (Godey et al. 2024).

    Roots of the eigenvalues of the d x d Gram matrix in float64: values below 1e-8 of the largest are rounding.
    """
    gram = torch.zeros(head.shape[1], head.shape[1], dtype=torch.float64, device=head.device)
    for _, rows in pieces_of(head):
        gram.addmm_(rows.double().T, rows.double())
    eigenvalues: Tensor = torch.linalg.eigvalsh(gram)
    # Rounding may leave the eigenvalue of a lost rank slightly negative.
    values: NDArray[np.float32] = eigenvalues.clamp_min(0).sqrt().flip(0).float().cpu().numpy()
    return values


def anisotropy(hidden: Rows) -> float | None:
    """Mean cosine between the hidden states of different tokens: [n, d] -> -1/(n-1)..1 (docs/methods.md §1).

    (|sum of unit vectors|^2 - n) / (n^2 - n) in float64; None below two tokens.
    """
    n = len(hidden)
    if n < 2:
        return None
    units = (torch.nn.functional.normalize(rows.double(), dim=-1).sum(0) for _, rows in pieces_of(hidden))
    total = next(units)
    for unit in units:
        total += unit
    return (float(total @ total) - n) / (n * n - n)
