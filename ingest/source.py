"""Where a study's checkpoints come from: a local folder, or the hub.

A source says which checkpoints there are and puts one into a folder on request; what is done with it is unknown here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ingest.locations import CheckpointLocation, find_checkpoints
from ingest.study import LearningRateSpec, Study
from ingest.suite import load_suite
from ingest.weight_files import read_json, weight_files
from warehouse.errors import WarehouseError

#: What different architectures call the size of their hidden states.
_HIDDEN_SIZE_NAMES = ("hidden_size", "n_embd", "d_model")


class NoRoot(WarehouseError):
    """The study does not say where its checkpoints are."""


class Source(Protocol):
    """Checkpoints, by location. outliers: notes on runs that statistics leave out, by (model, seed)."""

    name: str
    family: str
    outliers: Mapping[tuple[str, int], str]

    def locate(self) -> list[CheckpointLocation]:
        """Every checkpoint there is, in order of model, seed and step. Asks no network."""
        ...

    def fetch(self, location: CheckpointLocation) -> Path:
        """A folder with the checkpoint in Hugging Face format, after a download if need be; may run in a thread.

        Raises MissingCheckpoint, MissingRevision, UnsafeWeights, NotCached or HubRefused; HubUnreachable and CacheFull
        where no other checkpoint could be fetched either.
        """
        ...

    def done(self, location: CheckpointLocation) -> None:
        """The checkpoint's files are not needed any more."""
        ...

    def tokenizer(self, locations: Sequence[CheckpointLocation]) -> Path:
        """A folder with the tokenizer of these checkpoints, one model's, in the order in which to try them.

        Raises what `fetch` raises.
        """
        ...

    def tokenizer_here(self, locations: Sequence[CheckpointLocation]) -> Path | None:
        """The same without asking the network; None where no folder of this machine has it."""
        ...

    def is_here(self, location: CheckpointLocation) -> bool:
        """Whether the checkpoint could be read without a network, as far as names of files tell."""
        ...

    def n_bytes(self, location: CheckpointLocation) -> int | None:
        """Bytes of its weights; None where nobody knows."""
        ...

    def head_shape(self, location: CheckpointLocation) -> tuple[int, int] | None:
        """Rows and columns of its output head: logits, and hidden size; None where nobody knows."""
        ...

    def tokens_seen(self, model: str, step: int) -> int | None:
        """Training tokens of a model up to a step; None where nobody knows."""
        ...

    def learning_rate(self, model: str, step: int) -> float | None:
        """The learning rate of a model at a step; None where nobody knows."""
        ...


class FolderSource:
    """Checkpoints below a root folder, laid out as `{model}/seed{n}/step{n}`."""

    name = "folder"

    def __init__(
        self,
        root: Path,
        family: str | None = None,
        tokens_per_step: int | None = None,
        learning_rate: LearningRateSpec | None = None,
    ) -> None:
        self.root = root
        self.family = family or root.resolve().name
        self.outliers: Mapping[tuple[str, int], str] = {}
        self._tokens_per_step, self._learning_rate = tokens_per_step, learning_rate

    def locate(self) -> list[CheckpointLocation]:
        """What is found. Raises MissingCheckpoint when there is nothing."""
        return find_checkpoints(self.root)

    def fetch(self, location: CheckpointLocation) -> Path:
        """The checkpoint's folder, looked at by whoever reads it."""
        return location.path or self.root / location.revision

    def done(self, location: CheckpointLocation) -> None:
        """Nothing: the files are the user's."""

    def tokenizer(self, locations: Sequence[CheckpointLocation]) -> Path:
        """The first folder that holds a tokenizer.json: a checkpoint may be without what its neighbours have."""
        return self.tokenizer_here(locations) or self.fetch(locations[0])

    def tokenizer_here(self, locations: Sequence[CheckpointLocation]) -> Path | None:
        """The first folder that holds a tokenizer.json."""
        folders = (self.fetch(location) for location in locations)
        # Of `os.path`, which takes a folder that must not be read for one without the file.
        return next((folder for folder in folders if os.path.isfile(folder / "tokenizer.json")), None)

    def is_here(self, location: CheckpointLocation) -> bool:
        """Whether its folder is there."""
        return self.fetch(location).is_dir()

    def n_bytes(self, location: CheckpointLocation) -> int | None:
        """Bytes of the files of weights in its folder that would be read; what is not there has none."""
        try:
            files = weight_files(self.fetch(location), allow_pickle=True)
        except WarehouseError:
            return 0
        return sum(file.stat().st_size for file in files if file.is_file())

    def head_shape(self, location: CheckpointLocation) -> tuple[int, int] | None:
        """As its config states."""
        try:
            stated = read_json(self.fetch(location) / "config.json")
        except WarehouseError:
            return None
        width = stated.get("vocab_size")
        hidden_size = next((stated[name] for name in _HIDDEN_SIZE_NAMES if name in stated), None)
        return (width, hidden_size) if isinstance(width, int) and isinstance(hidden_size, int) else None

    def tokens_seen(self, model: str, step: int) -> int | None:
        """By the study's tokens per step."""
        return None if self._tokens_per_step is None else step * self._tokens_per_step

    def learning_rate(self, model: str, step: int) -> float | None:
        """By the study's schedule."""
        return None if self._learning_rate is None else self._learning_rate.at(step)


def open_source(study: Study, *, evict: bool = False, allow_pickle: bool = False, reserve: int = 0) -> Source:
    """The source that a study names.

    evict: delete the weights of a downloaded checkpoint after use. allow_pickle: fetch `.bin` files where there is
    nothing else. reserve: bytes that downloads leave free on their disk. Raises NoRoot for a local suite without a
    root folder, and BadSuite.
    """
    suite = load_suite(study.suite)
    if not suite.is_local:
        from ingest.hub import HubSource

        return HubSource(
            suite,
            family=study.family,
            tokens_per_step=study.tokens_per_step,
            learning_rate=study.learning_rate,
            evict=evict,
            allow_pickle=allow_pickle,
            reserve=reserve,
        )
    if study.root is None:
        raise NoRoot(f"Study {study.name} names no folder of checkpoints: set root in it, or pass --root FOLDER.")
    return FolderSource(study.root, study.family, study.tokens_per_step, study.learning_rate)
