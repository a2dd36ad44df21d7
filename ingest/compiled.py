"""Which way tiles are reduced: compiled loops where they pay and can be had, else the eager reference.

Knows torch.compile; what the loops compute is `ingest.kernels`' matter, and when they run `ingest.reduction`'s.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from ingest.kernels import RowSums, entropy_sums, normalise, pair_sums, reference_sums, row_sums

Path = Literal["compiled", "eager"]

#: Tokens per tile by device class. Another tile changes the last bits, so it is part of an evaluation's environment.
TILES = {"cpu": 64, "cuda": 512}
#: Tokens times vocabulary from which compiling, about a minute on a machine that never did, is soon made up for.
PAYS_FROM = 100_000_000
#: Rows that are normalised together before their pairs are summed.
BLOCK_ROWS = 8
#: Entries of a row that are summed over all pairs while they are in cache, for ten readouts or so.
PIECE = 512
#: Rows of logits begin at multiples of this many float32, a cache line.
_LINE = 16

_log = logging.getLogger(__name__)


def choose_path(device: str, n_targets: int, width: int, *, allowed: bool = True) -> Path:
    """How a corpus of `n_targets` tokens is measured over `width` entries: the same for every checkpoint and rerun.

    Compiled on a CPU with a working C++ compiler, where it is allowed and the work is large enough to pay for it. One
    notice is logged where it would pay and cannot be had. The first call for a width compiles.
    """
    pays = torch.device(device).type == "cpu" and n_targets * width >= PAYS_FROM
    return "compiled" if allowed and pays and _compiles(TILES["cpu"], width) else "eager"


@cache
def _compiles(tile: int, width: int) -> bool:
    try:
        compiled_kernels(tile, width)
    except Exception as error:  # whatever compilers, caches and their versions raise
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        _log.warning("Measuring several times slower, without compiled loops: %s. Is there a C++ compiler?", reason)
        return False
    return True


@cache
def compiled_kernels(tile: int, width: int) -> CompiledKernels:
    """The loops for tiles of `tile` tokens, rounded up to blocks, over `width` entries, all compiled and tried.

    Raises what torch.compile raises.
    """
    kernels = CompiledKernels(-(-tile // BLOCK_ROWS) * BLOCK_ROWS, width)
    with _one_thread(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, of its older parts
        kernels.try_all()
    return kernels


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function as a loop of its own, for one thread; every new shape is compiled anew.

    C++ calls it, not Python, so that it does not hold the interpreter's lock and tiles run side by side.
    """
    options: dict[str, Any] = {"cpp_wrapper": True, "cpp.threads": 1}
    # Not with fullgraph: torch 2.13 then counts frames in one variable of the process, so that on a busy machine one
    # thread in many thousand calls finds the count of another, and fails. `try_all` looks for graph breaks instead.
    return torch.compile(function, dynamic=False, options=options)


class CompiledKernels:
    """The functions of `ingest.kernels`, compiled for tiles of one shape; the numbers of readouts and pairs may vary.

    To be called without gradients, by threads that compute with one thread each.
    """

    def __init__(self, tile: int, width: int) -> None:
        """tile: rows of logits at a time, a multiple of BLOCK_ROWS. width: V, the entries that are scored."""
        self.tile, self.width = tile, width
        self._stride = -(-width // _LINE) * _LINE

    def logits(self, n: int) -> Tensor:
        """Room for logits of n readouts, [n, tile, V] float32; only in such do the loops take logits."""
        return torch.empty(n, self.tile, self._stride)[..., : self.width]

    def blocks(self, n: int) -> Tensor:
        """Room for log-probabilities or probabilities of n readouts: [n, BLOCK_ROWS, K, PIECE] float32 zeros.

        A row's V entries fill K pieces; what lies past them must stay zero. The loops are compiled for n of 2 or more.
        """
        return torch.zeros(max(n, 2) if n else 0, BLOCK_ROWS, -(-self.width // PIECE), PIECE)

    def rows_of(self, block: Tensor) -> Tensor:
        """The block of one readout as rows: [BLOCK_ROWS, V]."""
        return block.flatten(1)[:, : self.width]

    def row_sums(self, logits: Tensor, targets: Tensor, masks: Tensor) -> RowSums:
        """As `kernels.row_sums` for a whole tile."""
        return RowSums(*_compiled(row_sums)(logits, targets, masks))

    def reference_sums(self, logits: Tensor, *arguments: Tensor) -> Tensor:
        """As `kernels.reference_sums` for a whole tile."""
        sums: Tensor = _compiled(reference_sums)(logits, *arguments)
        return sums

    def normalise(self, logits: Tensor, *arguments: Tensor) -> None:
        """As `kernels.normalise` for BLOCK_ROWS rows of a tile."""
        _compiled(normalise)(logits, *arguments)

    def pair_sums(self, log_p: Tensor, p: Tensor, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """As `kernels.pair_sums` for what `blocks` gives and at least two pairs."""
        for tensor in (log_p, p, left, right):
            torch._dynamo.mark_dynamic(tensor, 0)
        forward, backward = _compiled(pair_sums)(log_p, p, left, right)
        return forward, backward

    def entropy_sums(self, p: Tensor) -> Tensor:
        """As `kernels.entropy_sums` for the rows of a block, zeros past V included."""
        sums: Tensor = _compiled(entropy_sums)(p)
        return sums

    def try_all(self) -> None:
        """Call everything once, which compiles it. Raises RuntimeError if some of it stayed Python."""
        breaks = torch._dynamo.utils.counters["graph_break"]
        before = breaks.total()
        logits, log_p, p = self.logits(1)[0].zero_(), self.blocks(3), self.blocks(3)
        self.row_sums(logits, torch.zeros(self.tile, dtype=torch.int64), torch.zeros(2, self.width))
        zeros = torch.zeros(self.tile, 1)
        self.reference_sums(
            logits, zeros, zeros.clone(), zeros.clone(), torch.zeros(self.width), torch.zeros(self.width)
        )
        rows = slice(0, BLOCK_ROWS)
        self.normalise(logits[rows], zeros[rows], zeros[rows], zeros[rows], self.rows_of(log_p[0]), self.rows_of(p[0]))
        self.pair_sums(log_p, p, torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]))
        self.entropy_sums(p[0].flatten(1))
        if breaks.total() > before:
            raise RuntimeError("some loops cannot be compiled whole")
