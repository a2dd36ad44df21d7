"""The cache of the hub's client: where a revision lies in it, and deleting a revision's weights.

Knows the client's layout, `models--OWNER--NAME/{blobs,refs,snapshots}`; asks no network and reads no weights.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
from huggingface_hub import constants

from ingest.locations import CheckpointLocation

_WEIGHTS = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")


def snapshot(location: CheckpointLocation) -> Path | None:
    """The folder of a revision in the cache, complete or not; None where there is none."""
    repository = _repository(location)
    try:
        commit = (repository / "refs" / location.revision).read_text().strip()
    except OSError:
        return None
    folder = repository / "snapshots" / commit
    return folder if folder.is_dir() else None


def free_bytes() -> int:
    """Bytes free on the disk of the cache, which may be still to be made."""
    cache = Path(constants.HF_HUB_CACHE).absolute()
    return shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.is_dir())).free


def weight_names(folder: Path, suffix: str) -> list[str]:
    """The files of weights with a suffix, `.safetensors` or `.bin`, in a snapshot."""
    return sorted(entry.name for entry in _weights(folder) if entry.suffix == suffix)


def evict(location: CheckpointLocation) -> int:
    """Delete the weights of a revision from the cache; returns the bytes that became free.

    Files that another revision in the cache refers to stay, and so do config and tokenizer.
    """
    folder = snapshot(location)
    if folder is None or _is_shared(location, folder.name):
        return 0
    entries = set(_weights(folder))
    kept = {_blob(entry) for other in folder.parent.iterdir() if other != folder for entry in _weights(other)}
    blobs = {_blob(entry) for entry in entries} - kept
    freed = sum(blob.stat().st_size for blob in blobs if blob.exists())
    huggingface_hub.DeleteCacheStrategy(
        expected_freed_size=freed,
        blobs=frozenset(blobs - entries),
        refs=frozenset(),
        repos=frozenset(),
        snapshots=frozenset(),
        files=frozenset(entries),
        cache_dir=Path(constants.HF_HUB_CACHE),
    ).execute()
    return freed


def _weights(folder: Path) -> Iterator[Path]:
    return (entry for entry in folder.iterdir() if _WEIGHTS.fullmatch(entry.name))


def _repository(location: CheckpointLocation) -> Path:
    return Path(constants.HF_HUB_CACHE) / f"models--{location.source.replace('/', '--')}"


def _is_shared(location: CheckpointLocation, commit: str) -> bool:
    """Whether another branch in the cache stands at the same commit."""
    refs = _repository(location) / "refs"
    others = (file for file in refs.rglob("*") if file.is_file() and file != refs / location.revision)
    return any(file.read_text().strip() == commit for file in others)


def _blob(entry: Path) -> Path:
    """The file that an entry of a snapshot links to; itself where the file system knows no links.

    One link and no further: the blob may be a link too, into the store that the client shares between repositories.
    """
    return Path(os.path.abspath(entry.parent / entry.readlink())) if entry.is_symlink() else entry
