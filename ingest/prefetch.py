"""Reading checkpoints ahead: while one is computed with, a thread fetches, reads and hashes the next.

Knows locations and weights; what is done with them is unknown here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from types import TracebackType

import torch

from ingest.locations import CheckpointLocation, MissingCheckpoint
from ingest.upload import upload
from ingest.weight_files import LostWeights
from ingest.weights import Weights, read_weights

#: Seconds that closing waits for a read under way; a longer one, a download, is left to end with the process.
_PATIENCE = 10.0


class Prefetch:
    """Weights of checkpoints in the order in which they are expected; use as a context manager.

    fetch: gives a checkpoint's folder, after a download if need be; called in the thread. done: called once for each
    location that was tried, when its files are needed no more: for weights in use, when the next are asked for.
    allow_pickle: as for `read_weights`. ahead: how many are read before they are asked for.
    device: where their tensors are wanted; the thread brings them there.
    """

    def __init__(
        self,
        fetch: Callable[[CheckpointLocation], Path],
        *,
        done: Callable[[CheckpointLocation], None] | None = None,
        allow_pickle: bool = False,
        ahead: int = 1,
        device: str = "cpu",
    ) -> None:
        self.n_read, self._device = 0, torch.device(device)
        self._fetch, self._done, self._allow_pickle, self._ahead = fetch, done, allow_pickle, ahead
        self._expected: deque[CheckpointLocation] = deque()
        self._begun: dict[CheckpointLocation, Future[Weights]] = {}
        self._in_use: CheckpointLocation | None = None
        self._orders: SimpleQueue[tuple[CheckpointLocation, Future[Weights]] | None] = SimpleQueue()
        # A daemon, so that after Ctrl-C nobody has to wait for a download.
        self._thread = Thread(target=self._work, name="prefetch", daemon=True)

    def __enter__(self) -> Prefetch:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.expect(())
        self._orders.put(None)
        self._thread.join(_PATIENCE)
        self._finish(None)

    def expect(self, locations: Iterable[CheckpointLocation]) -> None:
        """Say which weights will be asked for, in this order; what was expected before is not any more."""
        self._expected = deque(locations)
        self._forget({location for location in self._begun if location not in self._expected})
        self._order()

    def weights(self, location: CheckpointLocation) -> Weights:
        """The weights of a checkpoint, waiting until they are read; whatever was expected before them is skipped.

        Raises what fetching or reading raised.
        """
        self._finish(location)
        if location in self._expected:
            skipped = {self._expected.popleft() for _ in range(self._expected.index(location))}
            self._expected.popleft()
            self._forget(skipped)
        reading = self._begun.pop(location, None) or self._begin(location)
        self._order()
        return reading.result()

    def _finish(self, following: CheckpointLocation | None) -> None:
        """Give back the files of the weights in use, unless the same are asked for again."""
        before, self._in_use = self._in_use, following
        if before is not None and before != following and self._done is not None:
            self._done(before)

    def _forget(self, locations: set[CheckpointLocation]) -> None:
        """Let go of weights that nobody will ask for; one that is being read gives its files back when it is."""
        for location in locations:
            reading = self._begun.pop(location, None)
            if reading is not None and not reading.cancel():
                reading.add_done_callback(partial(self._give_back, location))

    def _give_back(self, location: CheckpointLocation, _: Future[Weights]) -> None:
        if self._done is not None:
            self._done(location)

    def _order(self) -> None:
        """Have the next ones read, as far ahead as allowed."""
        waiting = [location for location in self._expected if location not in self._begun]
        for location in waiting[: max(self._ahead - len(self._begun), 0)]:
            self._begun[location] = self._begin(location)

    def _begin(self, location: CheckpointLocation) -> Future[Weights]:
        reading: Future[Weights] = Future()
        self._orders.put((location, reading))
        return reading

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            location, reading = order
            if reading.set_running_or_notify_cancel():
                try:
                    reading.set_result(self._read(location))
                except BaseException as error:  # whoever asks for the weights shall see it
                    reading.set_exception(error)
            # The weights belong to whoever takes them.
            del order, reading

    def _read(self, location: CheckpointLocation) -> Weights:
        try:
            weights = self._read_files(location)
        except (MissingCheckpoint, LostWeights):
            # Another process that shares the cache may have evicted what was just fetched.
            weights = self._read_files(location)
        self.n_read += 1
        return upload(weights, self._device)

    def _read_files(self, location: CheckpointLocation) -> Weights:
        return read_weights(self._fetch(location), allow_pickle=self._allow_pickle)
