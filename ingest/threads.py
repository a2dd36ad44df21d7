"""How torch's threads are shared out among pieces of work that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

A = TypeVar("A")
B = TypeVar("B")


@contextmanager
def side_by_side(
    device: torch.device, n_pieces: int, *, share: int | None = None
) -> Iterator[Callable[[Callable[[A], B], Iterable[A]], Iterator[B]]]:
    """Something like `map` for so many pieces: on a CPU side by side, on a GPU one after another.

    n_pieces: how many there are, or may be at work at once. share: threads of each; by default, where there are fewer
    pieces than threads, each gets as many as every other. Threads that share a piece wait for each other after every
    operation, and on a busy machine wait long.
    """
    threads = torch.get_num_threads()
    workers = min(threads, n_pieces)
    share = share or threads // workers
    if device.type != "cpu" or threads == share:
        yield map
        return
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(share,)) as pool:
            try:
                yield pool.map
            finally:
                pool.shutdown(cancel_futures=True)  # after Ctrl-C nobody waits for the pieces not begun
    finally:
        torch.set_num_threads(threads)
