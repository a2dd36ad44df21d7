"""Windows over a sequence of token ids: which inputs a forward pass sees, and which targets it contributes.

Index arithmetic only; models, tokenizers and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError


class InvalidWindow(WarehouseError):
    """A window or stride cannot cover a sequence."""


@dataclass(frozen=True)
class Window:
    """One forward pass. All ranges are half-open and 0-based.

    Input i is the i-th id of the sequence, the first being BOS; target i is the id after it, which input i predicts.
    """

    input_start: int
    input_end: int
    first_target: int
    end_target: int

    @property
    def n_inputs(self) -> int:
        """How many ids the forward pass sees."""
        return self.input_end - self.input_start

    @property
    def kept_rows(self) -> slice:
        """Rows of this window's hidden states that predict the targets it contributes."""
        return slice(self.first_target - self.input_start, self.end_target - self.input_start)


def windows(n_targets: int, window: int, stride: int | None = None) -> list[Window]:
    """Windows of policy `concatenated` (docs/methods.md §1) over `n_targets` targets, so `n_targets + 1` ids with BOS.

    window: inputs per forward pass; stride: inputs between the starts of two, by default half the window.
    The first window contributes all its targets, a later one only those after its overlap with the one before, so that
    each target comes from exactly one window. The last window holds what is left, unpadded, and may be shorter.
    Raises InvalidWindow for sizes that leave targets out.
    """
    stride = checked_stride(window, stride)
    if n_targets < 1:
        raise InvalidWindow("The sequence has no token to predict; give at least one token after BOS.")
    return list(_windows(n_targets, window, stride))


def _windows(n_targets: int, window: int, stride: int) -> Iterator[Window]:
    start = done = 0
    while done < n_targets:
        end = min(start + window, n_targets)
        yield Window(start, end, first_target=done, end_target=end)
        start, done = start + stride, end


def checked_stride(window: int, stride: int | None = None) -> int:
    """The stride in inputs, half the window unless given. Raises InvalidWindow unless 1 <= stride <= window."""
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise InvalidWindow(
            f"A window of {window} inputs with stride {stride} leaves tokens unscored; choose 1 <= stride <= window."
        )
    return stride


def context_lengths(n_targets: int, window: int, stride: int | None = None) -> NDArray[np.int32]:
    """How many ids, BOS included where it is in the window, each target is predicted from: [n_targets] int32.

    With window 2048 and stride 1024, target t (1-based) has t up to 2048, then (t - 1) mod 1024 + 1025
    (docs/methods.md §1).
    """
    stride = checked_stride(window, stride)
    target = np.arange(n_targets)
    later = (target - window) % stride + window - stride + 1
    return np.where(target < window, target + 1, later).astype(np.int32)
