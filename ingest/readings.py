"""Checkpoints of a cohort as readouts: each read once, and kept while some pair needs it.

Knows where checkpoints come from and what may be wrong with them; what is computed from readouts is unknown here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import Connection

from ingest.architecture import check_vocabulary
from ingest.checkpoints import CheckpointReader, LoadedCheckpoint
from ingest.cohort import Cohort
from ingest.compiled import Path
from ingest.divergence import mean_ranks
from ingest.geometry import anisotropy, head_singular_values
from ingest.locations import CheckpointLocation, MissingCheckpoint, MissingRevision
from ingest.plan import Cell
from ingest.prefetch import Prefetch
from ingest.progress import Meter
from ingest.readout import read
from ingest.setting import Setting
from ingest.shelf import Shelf
from ingest.shelved import Shelved
from ingest.study import Study
from ingest.weights import Weights
from ingest.windows import passes
from warehouse.dimensions import ConflictingInputs
from warehouse.errors import RunFailed, WarehouseError
from warehouse.ledger import record_failure

T = TypeVar("T")


class OtherArchitecture(WarehouseError):
    """A checkpoint has other sizes than its model."""


class Commit(Protocol):
    """Runs a function in one transaction, again if the server was lost; returns what it returns."""

    def __call__(self, work: Callable[[Connection], T], /) -> T:
        """Run work."""
        ...


@dataclass
class Outcome:
    """What became of an ingestion: counts of what was written, and the reasons of what was not.

    kept: checkpoints that were not read because an earlier run had kept their readouts. extended: evaluations that
    were there and got references or top entries.
    """

    checkpoints: int = 0
    kept: int = 0
    evaluations: int = 0
    extended: int = 0
    pairs: int = 0
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tools:
    """What an ingestion works with."""

    commit: Commit
    reader: CheckpointReader
    prefetch: Prefetch
    shelf: Shelf
    meter: Meter
    outcome: Outcome
    device: str
    environment_id: int
    path: Path


@dataclass
class Held:
    """A checkpoint whose readout is on the shelf under its digest, with the scores that statistics of pairs need."""

    digest: str
    surprisal: NDArray[np.float32] | None = None
    top_vocab_id: NDArray[np.int32] | None = None

    @cached_property
    def surprisal_ranks(self) -> NDArray[np.float64]:
        """[T] mean ranks of the surprisals, which must be there; those of unmeasured tokens come last."""
        assert self.surprisal is not None
        return mean_ranks(self.surprisal)


class Readings:
    """The readouts of a cohort that are at hand."""

    def __init__(self, study: Study, setting: Setting, cohort: Cohort, tools: Tools) -> None:
        self._study, self._setting, self._tools = study, setting, tools
        self.cohort = cohort
        self.failed: set[Cell] = set()
        self._held: dict[Cell, Held] = {}
        self._upcoming: list[Cell] = []
        self._facts = dict(cohort.facts)
        self._ids = torch.tensor([setting.vocabulary.bos_id, *setting.corpus.ids.tolist()], dtype=torch.int64)

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._held

    def __getitem__(self, cell: Cell) -> Held:
        return self._held[cell]

    def shelved(self, cell: Cell) -> Shelved:
        """The readout of a cell that is held, and what was found out when it was read."""
        return self._tools.shelf.get(self._held[cell].digest)

    def at(self, model: str, step: int) -> tuple[Cell, ...]:
        """What is held of a model at a step, in order of seeds."""
        return tuple(sorted(cell for cell in self._held if cell.model == model and cell.step == step))

    def expect(self, groups: Iterable[Collection[Cell]]) -> None:
        """What will surely be wanted, group after group, so that files are read ahead of time."""
        self._upcoming = list(dict.fromkeys(cell for cells in groups for cell in sorted(cells, key=_by_step)))

    def hold(self, cells: Collection[Cell]) -> int:
        """Read those cells that are not held and were not tried; returns how many were read. Failures are recorded."""
        wanted = sorted((cell for cell in cells if self._is_new(cell)), key=_by_step)
        # Once asked for they are not upcoming, also when they are forgotten.
        self._upcoming = [cell for cell in self._upcoming if cell not in cells]
        if wanted:
            coming = dict.fromkeys([*wanted, *filter(self._is_new, self._upcoming)])
            locations = [self.cohort.grids[cell.model].locations.get(cell) for cell in coming if not self._kept(cell)]
            self._tools.prefetch.expect([location for location in locations if location is not None])
        for cell in wanted:
            self._hold(cell)
        return sum(cell in self._held for cell in wanted)

    def _is_new(self, cell: Cell) -> bool:
        return cell not in self._held and cell not in self.failed

    def keep(self, cells: Collection[Cell], *, readouts: Collection[Cell]) -> None:
        """Forget everything but these cells, and the readouts of those others, which stay on the shelf."""
        kept = {cell: held for cell, held in self._held.items() if cell in cells}
        kept |= {cell: Held(self._held[cell].digest) for cell in readouts if cell in self._held and cell not in kept}
        # Two checkpoints with the same weights share a readout.
        for digest in {held.digest for held in self._held.values()} - {held.digest for held in kept.values()}:
            self._tools.shelf.drop(digest)
        self._held = kept

    def _kept(self, cell: Cell) -> str | None:
        """The digest of a cell whose readout an earlier run left on the shelf."""
        digest = self.cohort.entries[cell].input_digest
        return digest if digest is not None and digest in self._tools.shelf else None

    def _hold(self, cell: Cell) -> None:
        kept = self._kept(cell)
        if kept is not None:
            self._held[cell] = Held(kept)
            self._tools.outcome.kept += 1
            return
        try:
            self._held[cell] = Held(self._read(cell))
        except (ConflictingInputs, RunFailed):
            raise  # no fault of the checkpoint
        except WarehouseError as error:
            missing = isinstance(error, MissingCheckpoint | MissingRevision)
            self.fail(cell, "missing" if missing else "failed", str(error))
        else:
            self._tools.outcome.checkpoints += 1
            self._tools.meter.checkpoint(str(cell))

    def fail(self, cell: Cell, status: str, reason: str) -> None:
        """Record why a checkpoint could not be read or measured; the work goes on without it."""
        self.failed.add(cell)
        self._held.pop(cell, None)
        self._tools.outcome.failures.append(f"{cell}: {reason}")
        self._tools.meter.note(f"Left out {cell}: {reason}")
        identity = self.cohort.checkpoint_ids[cell]
        self._tools.commit(lambda connection: record_failure(connection, identity, status, reason))

    def _read(self, cell: Cell) -> str:
        """Read a checkpoint and put its readout on the shelf; returns its digest."""
        started = time.monotonic()
        weights = self._tools.prefetch.weights(self._location(cell))
        self._setting.require_tokenizer(weights.path)
        loaded = self._tools.reader.load(weights)
        check_vocabulary(loaded.facts, self._setting.vocabulary.length, weights.path)
        self._require_known(cell, weights, loaded)
        protocol, limit = self._study.protocol, loaded.facts.context_length
        window = min(protocol.window, limit) if limit else protocol.window
        self._setting.require_context(cell.model, window)
        lengths = [document.n_tokens for document in self._setting.corpus.documents]
        parts = passes(protocol.windows, len(self._ids) - 1, lengths, window, bos=protocol.bos)
        readout = read(loaded.model, self._ids, parts, measured=self._setting.measured)
        digest = self._setting.input_digest(self._study, loaded.sha256)
        self._facts[cell.model] = loaded.facts
        shelved = Shelved(
            readout,
            loaded.sha256,
            loaded.facts,
            window,
            time.monotonic() - started,
            anisotropy(readout.hidden),
            head_singular_values(readout.head),
        )
        self._tools.shelf.put(digest, shelved)
        return digest

    def _location(self, cell: Cell) -> CheckpointLocation:
        grid = self.cohort.grids[cell.model]
        location = grid.locations.get(cell)
        if location is None:
            where = next(iter(grid.locations.values())).source
            raise MissingRevision(f"{where} has no such checkpoint: add it, or drop it from the study.")
        return location

    def _require_known(self, cell: Cell, weights: Weights, loaded: LoadedCheckpoint) -> None:
        """Refuse a checkpoint that is not what was measured before, or is no checkpoint of its model."""
        known = self.cohort.weights.get(cell)
        if known is not None and known != loaded.sha256:
            raise ConflictingInputs(
                f"{weights.path} holds other weights than were measured before (sha256 {loaded.sha256[:12]}, in "
                f"the warehouse {known[:12]}): restore its files, or ingest them under another family."
            )
        facts = self._facts.get(cell.model)
        if facts is not None and facts != loaded.facts:
            ours, theirs = vars(loaded.facts), vars(facts)
            differing = [f"{key} {ours[key]}, not {theirs[key]}" for key in ours if ours[key] != theirs[key]]
            raise OtherArchitecture(
                f"{weights.path} is not like the other checkpoints of {cell.model} ({'; '.join(differing)}): "
                "put it into the folder of its own model."
            )


def _by_step(cell: Cell) -> tuple[int, str, int]:
    return (cell.step, cell.model, cell.seed)
