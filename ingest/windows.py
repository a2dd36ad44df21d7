"""Windows over a sequence of token ids: which inputs a forward pass sees, and which targets it contributes.

Index arithmetic only; models, tokenizers and the database are unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from warehouse.errors import WarehouseError

WindowPolicy = Literal["concatenated", "documents", "truncated"]


class InvalidWindow(WarehouseError):
    """A window or stride cannot cover a sequence."""


@dataclass(frozen=True)
class Window:
    """One forward pass. All ranges are half-open and 0-based.

    Input i is the i-th id of the sequence, the first being BOS; target i is the id after it, which input i predicts.
    bos: the pass sees BOS first, and then its range of inputs.
    """

    input_start: int
    input_end: int
    first_target: int
    end_target: int
    bos: bool = False

    @property
    def n_inputs(self) -> int:
        """How many ids the forward pass sees."""
        return self.input_end - self.input_start + self.bos

    @property
    def kept_rows(self) -> slice:
        """Rows of this window's hidden states that predict the targets it contributes."""
        before = self.bos - self.input_start
        return slice(self.first_target + before, self.end_target + before)


def passes(
    policy: WindowPolicy,
    n_targets: int,
    document_lengths: Sequence[int],
    window: int,
    stride: int | None = None,
    *,
    bos: bool = True,
) -> list[Window]:
    """The forward passes of a policy (docs/methods.md §1), which together contribute every `measured` target once.

    document_lengths: targets of each document, in order; only policy `documents` looks at them. window: inputs of the
    longest pass, BOS included. stride: as for `windows`. bos: whether sequences, or truncated windows, begin with BOS.
    Raises InvalidWindow for sizes that leave targets out.
    """
    if policy == "truncated":
        return _truncated_windows(n_targets, window, bos=bos)
    if policy == "concatenated" and bos:
        return windows(n_targets, window, stride)
    lengths = document_lengths if policy == "documents" else [n_targets]
    parts = _document_windows(n_targets, lengths, window, stride, bos=bos)
    if not parts:
        raise InvalidWindow("Without BOS no token has one before it; give documents of at least two tokens.")
    return parts


def measured(
    policy: WindowPolicy, n_targets: int, document_lengths: Sequence[int], *, bos: bool = True
) -> NDArray[np.bool_]:
    """[n_targets] the targets that some window predicts: all but the first of a sequence that begins without BOS.

    Truncated windows show BOS before the first target in any case.
    """
    known = np.ones(n_targets, bool)
    if not bos and policy != "truncated":
        lengths = np.asarray(document_lengths if policy == "documents" else [n_targets], np.int64)
        known[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
    return known


def windows(n_targets: int, window: int, stride: int | None = None) -> list[Window]:
    """Windows of policy `concatenated` (docs/methods.md §1) over `n_targets` targets, so `n_targets + 1` ids with BOS.

    window: inputs per forward pass; stride: inputs between the starts of two, by default half the window.
    The first window contributes all its targets, a later one only those after its overlap with the one before, so that
    each target comes from exactly one window. The last window holds what is left, unpadded, and may be shorter.
    Raises InvalidWindow for sizes that leave targets out.
    """
    stride = checked_stride(window, stride)
    _require_targets(n_targets)
    return list(_windows(n_targets, window, stride))


def _require_targets(n_targets: int) -> None:
    if n_targets < 1:
        raise InvalidWindow("The sequence has no token to predict; give at least one token after BOS.")


def _windows(n_targets: int, window: int, stride: int) -> Iterator[Window]:
    start = done = 0
    while done < n_targets:
        end = min(start + window, n_targets)
        yield Window(start, end, first_target=done, end_target=end)
        start, done = start + stride, end


def _document_windows(
    n_targets: int, document_lengths: Sequence[int], window: int, stride: int | None, *, bos: bool
) -> list[Window]:
    stride = checked_stride(window, stride)
    _require_targets(n_targets)
    starts = [0, *accumulate(document_lengths)]
    if starts[-1] != n_targets:
        raise InvalidWindow(f"The documents hold {starts[-1]} tokens and the sequence {n_targets}; they must agree.")
    if not bos:
        # As if the first token of each document were the BOS of a sequence one shorter.
        return [
            _moved(part, start + 1, first=False)
            for start, length in zip(starts[:-1], document_lengths, strict=True)
            for part in _windows(length - 1, window, stride)
        ]
    return [
        _moved(part, start, first=part.input_start == 0)
        for start, length in zip(starts[:-1], document_lengths, strict=True)
        for part in _windows(length, window, stride)
    ]


def _moved(part: Window, start: int, *, first: bool) -> Window:
    """A window over a document as one over the sequence; first: it begins with BOS, which does not stand there."""
    return Window(
        start + part.input_start + first,
        start + part.input_end,
        start + part.first_target,
        start + part.end_target,
        bos=first,
    )


def _truncated_windows(n_targets: int, window: int, *, bos: bool) -> list[Window]:
    """The first pass contributes every target whose context it holds whole, each later one its last."""
    shortest = 1 + bos
    if window < shortest:
        raise InvalidWindow(
            f"A window of {window} inputs shows no token before its target; choose at least {shortest}."
        )
    _require_targets(n_targets)
    first = Window(0, min(window, n_targets), 0, min(window, n_targets))
    later = (Window(t + 1 - window + bos, t + 1, t, t + 1, bos=bos) for t in range(window, n_targets))
    return [first, *later]


def checked_stride(window: int, stride: int | None = None) -> int:
    """The stride in inputs, half the window unless given. Raises InvalidWindow unless 1 <= stride <= window."""
    stride = max(window // 2, 1) if stride is None else stride
    if not 1 <= stride <= window:
        raise InvalidWindow(
            f"A window of {window} inputs with stride {stride} leaves tokens unscored; choose 1 <= stride <= window."
        )
    return stride


def context_lengths(
    policy: WindowPolicy,
    n_targets: int,
    document_lengths: Sequence[int],
    window: int,
    stride: int | None = None,
    *,
    bos: bool = True,
) -> NDArray[np.int32]:
    """How many ids, BOS included where it is in the window, each target is predicted from: [n_targets] int32.

    With windows of 2048 inputs 1024 apart, the t-th target (from 1) of the sequence, or of its document under policy
    `documents`, has t up to 2048, then (t - 1) mod 1024 + 1025. A truncated one has t, at most the window, with BOS in
    each window or only in the first (docs/methods.md §1). Without BOS the others have one less, the first target none.
    """
    if policy == "documents":
        parts = [np.arange(length) for length in document_lengths]
        target = np.concatenate(parts) if parts else np.arange(0)
    else:
        target = np.arange(n_targets)
    if policy == "truncated":
        return np.minimum(target + 1, window).astype(np.int32)
    stride, target = checked_stride(window, stride), target - (not bos)
    later = (target - window) % stride + window - stride + 1
    return np.where(target < window, target + 1, later).astype(np.int32)
