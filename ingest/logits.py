"""What a checkpoint's logits are computed from: its final hidden states and its output head.

Tensors only; how states came to be and what becomes of logits is unknown here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from warehouse.errors import WarehouseError

#: Rows of hidden states that are looked at together.
_ROWS = 8192
#: Entries of the head multiplied at a time on a CPU: a few rows of states by this many stay in its cache.
_ENTRIES = 1024


class NonFiniteLogits(WarehouseError):
    """A checkpoint gives a logit that is NaN or infinite."""

    def __init__(self, readout: int | None, token: int | None) -> None:
        """readout: its index, None when it was checked alone; token: the first bad target, 0-based, None if unknown."""
        self.readout, self.token = readout, token
        which = "The checkpoint" if readout is None else f"Readout {readout}"
        where = "" if token is None else f" at token {token} of the corpus"
        super().__init__(f"{which} gives NaN or infinite logits{where}: its weights are damaged, leave it out.")


class Rows(Protocol):
    """Rows of a [T, d] float32 tensor: in memory, or read from a file when asked for, by several threads at once."""

    def __len__(self) -> int:
        """T."""
        ...

    def __getitem__(self, rows: slice, /) -> Tensor:
        """Some consecutive rows, [n, d]."""
        ...


def pieces_of(rows: Rows) -> Iterator[tuple[int, Tensor]]:
    """All rows, some thousand at a time, each time with the number of the first."""
    for start in range(0, len(rows), _ROWS):
        yield start, rows[start : start + _ROWS]


@dataclass(frozen=True)
class Readout:
    """All that one checkpoint's distributions depend on: final hidden states and output head.

    hidden: [T, d] float32, row t predicts target t. head: [W, d] float32, W the width of the model. bias: [W] float32.
    Logits are (hidden @ head.T + bias) * scale, then softcap * tanh(. / softcap) where the architecture has one.
    """

    hidden: Rows
    head: Tensor
    bias: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None

    @property
    def width(self) -> int:
        """W, the number of logits per token."""
        return self.head.shape[0]

    def logits(self, rows: slice = slice(None)) -> Tensor:
        """Logits of the targets in `rows`, [len(rows), W] float32."""
        return self.project(self.hidden[rows])

    def project(self, states: Tensor, entries: slice = slice(None)) -> Tensor:
        """Logits of [n, d] hidden states for some entries of the vocabulary, by default all W: [n, entries] float32."""
        bias = None if self.bias is None else self.bias[entries]
        return self._finish(torch.nn.functional.linear(states, self.head[entries], bias))

    def write_logits(self, states: Tensor, into: Tensor) -> None:
        """Write the logits of [n, d] hidden states for the first V entries into a [n, V] float32 tensor."""
        for start in range(0, into.shape[1], _ENTRIES):
            part = into[:, start : start + _ENTRIES]
            entries = slice(start, start + part.shape[1])
            torch.mm(states, self.head[entries].T, out=part)
            if self.bias is not None:
                part += self.bias[entries]
        self._finish(into)

    def _finish(self, logits: Tensor) -> Tensor:
        if self.scale != 1.0:
            logits *= self.scale
        if self.softcap is not None:
            logits.div_(self.softcap).tanh_().mul_(self.softcap)
        return logits

    def check_finite(self) -> None:
        """Raise NonFiniteLogits if a logit could be NaN or infinite, without computing any.

        By Cauchy-Schwarz a logit is at most |h| |w| + |b| in size, so finite norms with a finite product are enough.
        Sums over the vocabulary of how far logits lie apart must stay finite too.
        """
        longest = 0.0
        for start, states in pieces_of(self.hidden):
            norms = states.norm(dim=-1)
            if not norms.isfinite().all():
                raise NonFiniteLogits(None, start + int(norms.isfinite().logical_not().nonzero()[0, 0]))
            longest = max(longest, float(norms.max()))
        bound = longest * self.head.norm(dim=-1).max().double() * abs(self.scale)
        if self.bias is not None:
            bound = bound + self.bias.abs().max()
        if not 2 * self.width * bound < torch.finfo(torch.float32).max:
            raise NonFiniteLogits(None, None)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Matrix products in full float32: TF32 and bfloat16 shortcuts off inside, the caller's setting back after."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
