"""Checkpoints on the Hugging Face hub: fetched into the client's cache, and deleted there after use.

The client (`huggingface_hub`) does the downloading, resumes what was interrupted, and keeps its own folders; HF_HOME,
HF_HUB_CACHE, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE mean what they mean to it. What is in the files is unknown here.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import huggingface_hub
from huggingface_hub import constants
from huggingface_hub.errors import (
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from ingest.hub_cache import evict, free_bytes, snapshot, weight_names
from ingest.locations import CheckpointLocation, MissingCheckpoint, MissingRevision, nearest
from ingest.study import LearningRateSpec
from ingest.suite import Suite
from ingest.weight_files import UnsafeWeights, weight_files
from warehouse.errors import RunFailed, WarehouseError

log = logging.getLogger(__name__)
T = TypeVar("T")

TOKENIZER_FILES = ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
#: Everything that is ever downloaded; no code, no other framework's weights.
SMALL_FILES = ["config.json", "vocab.json", "merges.txt", "tokenizer.model", *TOKENIZER_FILES]
SAFETENSORS = ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"]
PICKLES = ["pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"]
#: Seconds between attempts; a download that was cut off goes on where it stopped.
PAUSES = (1.0, 4.0, 16.0)
_BUSY = 429


class NotCached(WarehouseError):
    """A checkpoint is not in the cache of the hub's client, and the network is not to be used."""


class HubUnreachable(RunFailed):
    """The hub does not answer: no fault of any checkpoint."""


class HubRefused(WarehouseError):
    """The hub does not give a checkpoint out."""


class CacheFull(RunFailed):
    """The disk of the hub's cache has no room for a checkpoint."""


class HubSource:
    """Checkpoints that a suite names on the hub.

    evict: `done` deletes a checkpoint's weights from the cache. allow_pickle: fetch `.bin` files where a revision has
    nothing else. reserve: bytes that stay free on the cache's disk. pause: waits between attempts, in seconds.
    """

    def __init__(
        self,
        suite: Suite,
        *,
        family: str | None = None,
        tokens_per_step: int | None = None,
        learning_rate: LearningRateSpec | None = None,
        evict: bool = False,
        allow_pickle: bool = False,
        reserve: int = 0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = suite.name
        self.family = family or suite.family or suite.name
        self.outliers: Mapping[tuple[str, int], str] = suite.outliers or {}
        self._suite, self._tokens_per_step, self._learning_rate = suite, tokens_per_step, learning_rate
        self._evict, self._allow_pickle, self._reserve, self._pause = evict, allow_pickle, reserve, pause

    def locate(self) -> list[CheckpointLocation]:
        """Every checkpoint that the suite names; whether the hub has it shows when it is fetched."""
        return list(self._suite.locations())

    def tokens_seen(self, model: str, step: int) -> int | None:
        """By the study's tokens per step, or else the suite's."""
        per_step = self._tokens_per_step or self._suite.model(model).tokens_per_step
        return None if per_step is None else step * per_step

    def learning_rate(self, model: str, step: int) -> float | None:
        """By the study's schedule, or else the suite's."""
        own = self._learning_rate
        return self._suite.learning_rate(model, step) if own is None else own.at(step)

    def n_bytes(self, location: CheckpointLocation) -> int | None:
        """As published for the model."""
        return self._suite.model(location.model).bytes

    def head_shape(self, location: CheckpointLocation) -> tuple[int, int] | None:
        """As published for the model."""
        model = self._suite.model(location.model)
        return None if model.width is None or model.hidden_size is None else (model.width, model.hidden_size)

    def is_here(self, location: CheckpointLocation) -> bool:
        """Whether all files of the checkpoint are in the cache."""
        return self._is_complete(snapshot(location))

    def fetch(self, location: CheckpointLocation) -> Path:
        """The checkpoint's folder in the cache; what is there already is not asked for again.

        Raises NotCached offline, MissingRevision or MissingCheckpoint where the hub has none, UnsafeWeights where it
        has pickles only and they are not allowed, HubRefused, HubUnreachable and CacheFull.
        """
        folder = snapshot(location)
        if folder is not None and self._is_complete(folder):
            return folder
        if constants.is_offline_mode():
            raise self._not_cached(location, folder)
        self._require_room(location)
        folder = self._download(location, [*SMALL_FILES, *SAFETENSORS])
        if self._allow_pickle and not weight_names(folder, ".safetensors"):
            folder = self._download(location, [*SMALL_FILES, *PICKLES])
        if not self._is_complete(folder):
            raise self._no_weights(location)
        return folder

    def tokenizer(self, locations: Sequence[CheckpointLocation]) -> Path:
        """A folder with the tokenizer of a model: one in the cache, or else the first that the hub has.

        Raises NotCached offline, MissingRevision or MissingCheckpoint where none of the locations has one.
        """
        if here := self.tokenizer_here(locations):
            return here
        if constants.is_offline_mode():
            raise self._not_cached(locations[0], None, what="The tokenizer")
        missing: WarehouseError | None = None
        for location in locations:
            try:
                folder = self._download(location, [*TOKENIZER_FILES, "config.json"])
            except (MissingRevision, MissingCheckpoint) as error:
                missing = missing or error
                continue
            if (folder / "tokenizer.json").is_file():
                return folder
        raise missing or MissingCheckpoint(
            f"{locations[0].source} has no tokenizer.json at {locations[0].revision} or any other step of the study."
        )

    def tokenizer_here(self, locations: Sequence[CheckpointLocation]) -> Path | None:
        """A folder in the cache with the tokenizer of a model; None where there is none."""
        cached = (snapshot(location) for location in locations)
        return next((folder for folder in cached if folder and (folder / "tokenizer.json").is_file()), None)

    def done(self, location: CheckpointLocation) -> None:
        """With evict, delete the checkpoint's weights from the cache, but for what another revision refers to."""
        if self._evict:
            with suppress(FileNotFoundError):  # another process is deleting the same
                evict(location)

    # --- the hub ------------------------------------------------------------------------------------------------

    def _download(self, location: CheckpointLocation, patterns: list[str]) -> Path:
        def download() -> str:
            with _no_bars():
                return huggingface_hub.snapshot_download(
                    location.source, revision=location.revision, allow_patterns=patterns
                )

        return Path(self._asked(download, location))

    def _asked(self, question: Callable[[], T], location: CheckpointLocation) -> T:
        """What the hub answers, asked again where it did not; its refusals as errors of ours."""
        for pause in (*PAUSES, None):
            try:
                return question()
            except RevisionNotFoundError:
                raise self._missing(location) from None
            except RepositoryNotFoundError as error:
                raise MissingRevision(
                    f"There is no repository {location.source} on the hub, or it is closed to you: drop seed "
                    f"{location.seed} of {location.model} from the study, or log in with `hf auth login`."
                ) from error
            except Exception as error:
                if _is_full(error):
                    raise _cache_full(location, "is full") from error
                if not _is_passing(error):
                    raise _refused(location, error) from error
                if pause is None:
                    raise _unreachable(location, error) from error
                log.info("The hub does not answer for %s (%s): asking again.", location, _reason(error))
                self._pause(pause)
        raise AssertionError("the last attempt returns or raises")

    def _missing(self, location: CheckpointLocation) -> MissingRevision:
        near = nearest(location.step, self._steps_on_hub(location))
        return MissingRevision(
            f"{location.source} has no revision {location.revision}; {near}. Drop step {location.step} from the study."
        )

    def _steps_on_hub(self, location: CheckpointLocation) -> set[int]:
        try:
            branches = huggingface_hub.HfApi().list_repo_refs(location.source).branches
        except Exception:  # what is missing is said without them
            return set()
        names = {branch.name for branch in branches}
        model = self._suite.model(location.model)
        return {step for step in model.steps if self._suite.revision_of(model, step) in names}

    def _no_weights(self, location: CheckpointLocation) -> WarehouseError:
        """Why a revision without readable weights cannot be read."""
        files = self._asked(
            lambda: huggingface_hub.HfApi().list_repo_files(location.source, revision=location.revision), location
        )
        if not self._allow_pickle and any(name.endswith(".bin") for name in files):
            return _pickles_only(f"{location.source} at {location.revision}")
        return MissingCheckpoint(
            f"{location.source} has no weights at {location.revision}: drop step {location.step} of seed "
            f"{location.seed} from the study."
        )

    # --- the cache ----------------------------------------------------------------------------------------------

    def _require_room(self, location: CheckpointLocation) -> None:
        """Raise CacheFull where a checkpoint would not leave the reserve free; of unknown size it counts as nothing."""
        if free_bytes() < (self.n_bytes(location) or 0) + self._reserve:
            why = f"has too little room, {self._reserve / 1e9:.1f} GB of which must stay free"
            raise _cache_full(location, why, "lower --reserve, ")

    def _is_complete(self, folder: Path | None) -> bool:
        if folder is None or not (folder / "config.json").is_file():
            return False
        try:
            return all(file.is_file() for file in weight_files(folder, allow_pickle=self._allow_pickle))
        except WarehouseError:
            return False

    def _not_cached(
        self, location: CheckpointLocation, folder: Path | None, what: str = "The checkpoint"
    ) -> WarehouseError:
        if folder is not None and weight_names(folder, ".bin") and not weight_names(folder, ".safetensors"):
            return _pickles_only(str(folder))
        part = "is only in part" if folder is not None else "is not"
        return NotCached(
            f"{what} of {location.source} at {location.revision} {part} in the cache {constants.HF_HUB_CACHE}, and "
            "HF_HUB_OFFLINE is set: unset it to download, or set HF_HOME to the folder that has it."
        )


@contextmanager
def _no_bars() -> Iterator[None]:
    """The client shows no progress inside: an ingestion shows its own."""
    before = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not before:
            enable_progress_bars()


def _is_passing(error: Exception) -> bool:
    """Whether asking again may help: no connection, a time-out, a busy or broken server."""
    if isinstance(error, LocalEntryNotFoundError):  # what the client makes of any answer but the one it wants
        cause = error.__cause__
        return not isinstance(cause, Exception) or _is_passing(cause)
    if isinstance(error, HfHubHTTPError):
        status = getattr(error.response, "status_code", None)
        return status is None or status == _BUSY or status >= 500
    # Connections are made by httpx, whose errors are no OSError, or by the client's transfer library, which has no
    # class for a lost one.
    if isinstance(error, RuntimeError):
        return "request" in str(error).lower()
    return isinstance(error, ConnectionError | TimeoutError) or type(error).__module__.startswith(("httpx", "httpcore"))


def _is_full(error: Exception) -> bool:
    """Whether a disk has no room; the client's transfer library has no class for that either."""
    return (isinstance(error, OSError) and error.errno == errno.ENOSPC) or f"(os error {errno.ENOSPC})" in str(error)


def _pickles_only(where: str) -> UnsafeWeights:
    return UnsafeWeights(
        f"{where} holds pickled weights (.bin) only, which could run code: pass --allow-pickle to read tensors from "
        "them and nothing else."
    )


def _cache_full(location: CheckpointLocation, why: str, way_out: str = "") -> CacheFull:
    return CacheFull(
        f"The disk of the cache {constants.HF_HUB_CACHE} {why}, and {location.source} at {location.revision} is not "
        f"fetched: free some space, {way_out}set HF_HOME to another disk, or pass --evict."
    )


def _unreachable(location: CheckpointLocation, error: Exception) -> HubUnreachable:
    return HubUnreachable(
        f"The hub did not answer for {location.source} at {location.revision} ({_reason(error)}): run the same command "
        "again when it does, or set HF_HUB_OFFLINE=1 to use what is in the cache."
    )


def _refused(location: CheckpointLocation, error: Exception) -> HubRefused:
    return HubRefused(
        f"The hub's client could not fetch {location.source} at {location.revision} ({_reason(error)}): "
        "see that the repository is open to you and the cache can be written."
    )


def _reason(error: Exception) -> str:
    """The first line of what the client says, or of what made it say so."""
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
    line = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return line.strip().rstrip(".")[:200]
