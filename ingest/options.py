"""How an ingestion runs: nothing here changes what is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RunOptions:
    """Where and how the work is done.

    device: cpu, cuda or auto. reserve: bytes that must stay free on the embedded server's disk. memory: bytes of
    readouts held in memory, the rest lies on disk; None chooses. keep_readouts: keep them for later pairs and
    references. evict: delete a downloaded checkpoint's weights after use. allow_pickle: read `.bin` files, tensors
    only. rank, world_size: do every world_size-th block, beginning with number rank. compiled: use compiled kernels
    where they pay.
    """

    device: str = "auto"
    reserve: int = 1_000_000_000
    memory: int | None = None
    keep_readouts: bool = False
    evict: bool = False
    allow_pickle: bool = False
    rank: int = 0
    world_size: int = 1
    compiled: bool = True
